"""Public image sets: home, licence, citation, checksum, and how to get one ready for ingest.

A set comes from ``HILUM_DATA_MIRROR`` (a folder in the prepared layout) where that is set, else
from its home on the internet. Either way it is checked, prepared into a folder that `hilum
ingest` reads as it is, and its licence is written beside it.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from hilum.adapters import downloads, own_sets
from hilum.adapters.licences import read_card, write_licence
from hilum.adapters.public_sets import SETS, PublicSet
from hilum.core.errors import CorruptionError, NotFoundError, RecipeError, RequestError, unknown_name

MIRROR = "HILUM_DATA_MIRROR"


def entries() -> list[PublicSet]:
    """Every set hilum knows, by name."""
    return [SETS[name] for name in sorted(SETS)]


def entry(name: str) -> PublicSet:
    """The set called ``name``; an unknown name is a RecipeError that guesses."""
    if name not in SETS:
        by_hand = own_sets.OWN_SETS.get(name)
        if by_hand is not None:
            raise RecipeError(
                f"hilum may not fetch '{name}'. Get it from {by_hand.home} and type: "
                f"hilum data prepare {name} FOLDER OUT"
            )
        raise RecipeError(unknown_name("data set", name, SETS))
    return SETS[name]


def where(name: str, *, mirror: str | None = None) -> str:
    """Where `fetch` would take a set from: 'installed packages', a folder of the mirror, or a URL."""
    wanted = entry(name)
    if wanted.is_packaged:
        return "installed packages"
    folder = _mirrored(wanted, mirror)
    if folder is not None:
        return str(folder)
    return wanted.download.url if wanted.download else f"{wanted.home} (by hand)"


def fetch(name: str, destination: str | Path, *, preparation: str | None = None, mirror: str | None = None) -> Path:
    """Get a set, check it, and make it ready at ``destination``. A second call finds it there and does nothing."""
    wanted = entry(name)
    return fetch_entry(wanted, destination, preparation=preparation, mirror=mirror)


def fetch_entry(
    wanted: PublicSet, destination: str | Path, *, preparation: str | None = None, mirror: str | None = None
) -> Path:
    """`fetch` for an entry of one's own, with the same checks."""
    chosen = preparation or next(iter(wanted.preparations))
    if chosen not in wanted.preparations:
        raise RecipeError(unknown_name(f"preparation of {wanted.name}", chosen, wanted.preparations))
    target = Path(destination)
    if _is_ready(target, wanted, chosen):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _beside(target, "partial") as partial, _beside(target, "download") as scratch:
        wanted.preparations[chosen].prepare(_original(wanted, mirror, scratch), partial)
        how = {"preparation": chosen, "question": wanted.preparations[chosen].question}
        write_licence(partial, wanted, how)
        partial.rename(target)
    return target


def _is_ready(target: Path, wanted: PublicSet, chosen: str) -> bool:
    if not target.exists():
        return False
    found = read_card(target)
    if (found.get("name"), found.get("preparation")) == (wanted.name, chosen):
        return True
    raise RequestError(f"{target} exists and is not '{wanted.name}' prepared as '{chosen}'; name another folder.")


def _original(wanted: PublicSet, mirror: str | None, scratch: Path) -> Path:
    """The folder of the set in the prepared layout, checked."""
    if wanted.is_packaged:
        return scratch
    folder = _mirrored(wanted, mirror)
    if folder is not None:
        found = _tree_digest(folder)
        if found != wanted.digest:
            raise CorruptionError(
                f"{folder} is not the '{wanted.name}' that hilum knows: its checksum is {found[:12]}…, not "
                f"{wanted.digest[:12]}…. Copy the set again."
            )
        return folder
    if wanted.download is None:
        raise NotFoundError(
            f"'{wanted.name}' cannot be downloaded by hilum. Get it from {wanted.home}, or name a folder that holds "
            f"'{wanted.name}/' in the prepared layout in {MIRROR}."
        )
    downloads.download(wanted.download, scratch, otherwise=f"name a folder that holds '{wanted.name}/' in {MIRROR}")
    return scratch


def _mirrored(wanted: PublicSet, mirror: str | None) -> Path | None:
    root = mirror or os.environ.get(MIRROR)
    if not root:
        return None
    folder = Path(root) / wanted.name
    if not folder.is_dir():
        raise NotFoundError(f"The mirror {root} has no folder '{wanted.name}'; unset {MIRROR} to download the set.")
    return folder


def _tree_digest(folder: Path) -> str:
    """SHA-256 of the lines ``<sha256>  <relative path>``, sorted by path."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextmanager
def _beside(target: Path, what: str) -> Iterator[Path]:
    folder = target.with_name(f".{target.name}.{uuid4().hex}.{what}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
