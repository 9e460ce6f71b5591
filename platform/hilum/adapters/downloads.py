"""Archives from the internet: checked against a published checksum, unpacked member by member."""

import hashlib
import io
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
from PIL import Image

from hilum.core.errors import CorruptionError, RequestError

MEDNIST_FILE = "mednist_6000x64x64.npz"
MEDNIST_PER_CLASS = 1_000
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Download:
    """Where an archive is, the MD5 its publisher states, and how it becomes the prepared layout."""

    url: str
    md5: str
    unpack: Callable[[Path, Path], None]


def download(wanted: Download, folder: Path, *, otherwise: str) -> None:
    """Fetch, check and unpack into ``folder``. ``otherwise`` says what to do on a machine without internet."""
    archive = folder / "archive.partial"
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with fsspec.open(wanted.url, "rb") as source, archive.open("wb") as copy:
            while block := source.read(_BLOCK):
                digest.update(block)
                copy.write(block)
    except Exception as error:
        # fsspec's drivers each have their own ways to say that there is no way through.
        raise RequestError(
            f"Cannot download {wanted.url} ({type(error).__name__}). Without internet, {otherwise}."
        ) from None
    if digest.hexdigest() != wanted.md5:
        raise CorruptionError(f"{wanted.url} came with MD5 {digest.hexdigest()}, not {wanted.md5}. Try again later.")
    wanted.unpack(archive, folder)
    archive.unlink()


def unpack_as(name: str) -> Callable[[Path, Path], None]:
    """The archive is the one file of the set."""

    def unpack(archive: Path, folder: Path) -> None:
        shutil.copyfile(archive, folder / name)

    return unpack


def unpack_tar(*patterns: tuple[str, str]) -> Callable[[Path, Path], None]:
    """Take the regular files whose whole name matches a pattern, to the place that its second half says.

    Names in an archive are anyone's to choose: they are matched, never used as paths.
    """

    def unpack(archive: Path, folder: Path) -> None:
        with tarfile.open(archive) as tar:
            for member in tar:
                place = next((re.sub(p, to, member.name) for p, to in patterns if re.fullmatch(p, member.name)), None)
                content = tar.extractfile(member) if place and member.isfile() else None
                if place and content is not None:
                    target = folder / place
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("wb") as file:
                        shutil.copyfileobj(content, file)

    return unpack


def unpack_mednist(archive: Path, folder: Path) -> None:
    """1,000 images of each of the six classes, evenly spaced by name, as one stack."""
    with tarfile.open(archive) as tar:
        pattern = re.compile(r"MedNIST/([A-Za-z]+)/(\d+)\.jpeg")
        members = {m.name: m for m in tar if m.isfile() and pattern.fullmatch(m.name)}
        by_class: dict[str, list[str]] = {}
        for name in sorted(members):
            by_class.setdefault(name.split("/")[1], []).append(name)
        images, labels = [], []
        for number, names in enumerate(by_class.values()):
            num = min(MEDNIST_PER_CLASS, len(names))
            for name in (names[place * len(names) // num] for place in range(num)):
                content = tar.extractfile(members[name])
                with Image.open(io.BytesIO(content.read() if content else b""), formats=("JPEG",)) as image:
                    images.append(np.asarray(image.convert("L")))
                labels.append(number)
    stack = {
        "images": np.stack(images),
        "labels": np.array(labels, dtype=np.uint8),
        "classes": np.array(list(by_class)),
    }
    np.savez(folder / MEDNIST_FILE, **stack)  # type: ignore[arg-type]  # three arrays
