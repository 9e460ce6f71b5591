"""From a public set as it is kept to a folder that ingest reads: sides by patient, sizes a laptop can train on."""

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hilum.core.errors import DataError
from hilum.core.imaging import Side

SEED = 0
RARE, COMMON, NUM_TEST, NUM_VALIDATION = 40, 650, 150, 10
"""Images a class of MedNIST with rare classes: 3 × 650 + 3 × 40 = 2,070 in the pool."""

Arrays = dict[str, npt.NDArray[Any]]
_MEDMNIST_SIDES: dict[Side, str] = {"pool": "train", "validation": "val", "test": "test"}


def files_as_they_are(source: Path, destination: Path) -> None:
    """A plain copy, for sets that are to be looked at, or whose layout ingest reads already."""
    shutil.copytree(source, destination, dirs_exist_ok=True)


def mednist_rare(source: Path, destination: Path) -> None:
    """Six classes, three of them rare (40 images against 650), at 32 × 32. Test and validation are balanced."""
    _mednist(source, destination, rare=RARE)


def mednist_all(source: Path, destination: Path) -> None:
    """Six classes, equally common in the pool, at 32 × 32."""
    _mednist(source, destination, rare=None)


def medmnist(file: str, class_names: Sequence[str], *, halved: bool = False) -> Callable[[Path, Path], None]:
    """A MedMNIST archive with its own training, validation and test parts; ``halved`` in size on every axis."""

    def prepare(source: Path, destination: Path) -> None:
        parts = _loaded(source / file)
        images = [parts[f"{part}_images"] for part in _MEDMNIST_SIDES.values()]
        labels = [parts[f"{part}_labels"].reshape(-1) for part in _MEDMNIST_SIDES.values()]
        sides = [side for side, found in zip(_MEDMNIST_SIDES, labels, strict=True) for _ in found]
        stacked = np.concatenate(images)
        _save_stack(destination, _halved(stacked) if halved else stacked, np.concatenate(labels), sides, class_names)

    return prepare


def hippocampus(source: Path, destination: Path) -> None:
    """One patient a file; a fifth is tested on and a tenth validates, dealt by a hash of the number."""
    rows = []
    for image in sorted((source / "images").glob("*.nii.gz")):
        patient = image.name.removesuffix(".nii.gz")
        rows.append((f"images/{image.name}", f"labels/{image.name}", patient, _dealt(patient)))
    for part in ("images", "labels"):
        shutil.copytree(source / part, destination / part)
    write_index(destination, rows, ("background", "anterior", "posterior"))


def nuclei(source: Path, destination: Path) -> None:
    """Nuclei against background, all images grey; images of one size and colour mode stay on one side.

    Those in colour, stained tissue whose nuclei are the dark parts, stay in the pool: whoever has only seen bright
    nuclei finds none there (Dice 0.02).
    """
    (destination / "images").mkdir()
    (destination / "labels").mkdir()
    with (source / "index.csv").open(encoding="utf-8") as index:
        described = list(csv.DictReader(index))
    rows = []
    for row in described:
        name = f"{row['id']}.png"
        with Image.open(source / "images" / name) as image:
            image.convert("RGB").convert("L").save(destination / "images" / name)
        with Image.open(source / "labels" / name) as label:
            Image.fromarray((np.asarray(label) > 0).astype(np.uint8)).save(destination / "labels" / name)
        group = f"{row['height']}x{row['width']} {row['mode']}"
        rows.append((f"images/{name}", f"labels/{name}", group))
    sides = _dealt_groups(Counter(group for _, _, group in rows if not group.endswith("rgb")))
    indexed = [(image, label, group, sides.get(group, "pool")) for image, label, group in rows]
    write_index(destination, indexed, ("background", "nucleus"))


def paired_files(
    pairs: Sequence[tuple[str, str, str, Side | None]], class_names: Sequence[str]
) -> Callable[[Path, Path], None]:
    """Named images with their label maps: (image, label map, patient, side)."""

    def prepare(source: Path, destination: Path) -> None:
        for image, label, _, _ in pairs:
            for name in (image, label):
                (destination / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, destination / name)
        write_index(destination, pairs, class_names)

    return prepare


def write_index(
    destination: Path, rows: Iterable[tuple[str, str, str, Side | None]], class_names: Sequence[str]
) -> None:
    """``index.csv`` of (image, label map, patient, side), and ``labels.json``."""
    with (destination / "index.csv").open("w", newline="", encoding="utf-8") as index:
        writer = csv.writer(index, lineterminator="\n")
        writer.writerow(("image", "label", "patient", "side"))
        writer.writerows((image, label, patient, side or "") for image, label, patient, side in rows)
    names = {str(value): name for value, name in enumerate(class_names)}
    (destination / "labels.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")


def _mednist(source: Path, destination: Path, *, rare: int | None) -> None:
    found = _loaded(source / "mednist_6000x64x64.npz")
    images, labels, names = found["images"], found["labels"].astype(np.int64), [str(name) for name in found["classes"]]
    rng = np.random.default_rng(SEED)
    rare_classes = set(rng.choice(len(names), 3, replace=False).tolist()) if rare is not None else set()
    chosen: list[int] = []
    sides: list[Side] = []
    for number in range(len(names)):
        shuffled = rng.permutation(np.flatnonzero(labels == number))
        num_pool = rare if rare is not None and number in rare_classes else COMMON
        counts: dict[Side, int] = {"test": NUM_TEST, "validation": NUM_VALIDATION, "pool": num_pool}
        for side, count in counts.items():
            taken, shuffled = shuffled[:count], shuffled[count:]
            chosen += taken.tolist()
            sides += [side] * len(taken)
    _save_stack(destination, _halved(images[chosen]), labels[chosen], sides, names)


def _save_stack(
    destination: Path, images: npt.NDArray[Any], labels: npt.NDArray[Any], sides: Sequence[str], names: Sequence[str]
) -> None:
    # No file says whose image is whose: each side counts as one patient, and a patient is on one side.
    np.savez(
        destination / "images.npz",
        images=images,
        labels=labels.astype(np.int32),
        patients=np.array([f"unknown ({side})" for side in sides]),
        sides=np.array(sides),
        class_names=np.array(list(names)),
    )


def _halved(images: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(N, Y, X) or (N, Z, Y, X) at half the size: the mean of 2 × 2 (× 2), rounded the same on every machine."""
    total: npt.NDArray[np.uint16] = images.astype(np.uint16)
    for axis in range(1, images.ndim):
        if total.shape[axis] % 2:
            raise DataError(f"An image of {images.shape[1:]} cannot be halved; its sizes must be even.")
        even = [slice(None)] * images.ndim
        odd = list(even)
        even[axis], odd[axis] = slice(0, None, 2), slice(1, None, 2)
        total = total[tuple(even)] + total[tuple(odd)]
    num = 2 ** (images.ndim - 1)
    halved: npt.NDArray[np.uint8] = ((total + num // 2) // num).astype(np.uint8)
    return halved


def _loaded(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _dealt_groups(num_images: Mapping[str, int]) -> dict[str, Side]:
    """Few groups of very different sizes: the largest stays in the pool, the next is tested on, the next validates."""
    order = sorted(num_images, key=lambda group: (-num_images[group], group))
    dealt: dict[str, Side] = dict.fromkeys(order, "pool")
    return dealt | dict(zip(order[1:], ("test", "validation"), strict=False))


def _dealt(patient: str) -> Side:
    place = int(hashlib.sha256(patient.encode()).hexdigest(), 16) % 10
    return "test" if place < 2 else "validation" if place < 3 else "pool"
