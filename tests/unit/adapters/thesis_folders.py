"""Miniatures of the sets of Models Genesis: the true folder layouts, a few cases, voxels that say where they are."""

import csv
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813 (its own name for itself)

MARKED_HU = 777
FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def image_of(array_zyx, *, spacing_xyz=(0.7, 0.8, 1.25), origin=(-30.5, 12.25, -101.0), direction=UPRIGHT):
    """An ITK image: LPS millimetres, X first."""
    image = sitk.GetImageFromArray(array_zyx)
    image.SetSpacing(spacing_xyz)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def lung(seed, shape_zyx=(40, 52, 48)):
    """Hounsfield units of nothing in particular, with padding and metal beyond what is kept."""
    voxels = np.random.default_rng(seed).integers(-900, 500, shape_zyx).astype(np.int16)
    voxels[0, 0, 0], voxels[0, 0, 1] = -3024, 3071
    return voxels


@dataclass(frozen=True)
class Candidate:
    """A line of a table, and the voxel (X, Y, Z of the file) that it points at."""

    scan: str
    index_xyz: tuple[int, int, int]
    place_lps: tuple[float, float, float]
    kind: int


def uid(number):
    return f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{number}"


def luna16(folder, *, subsets=range(10), direction=lambda number: FLIPPED if number % 2 else UPRIGHT):
    """subsetN/UID.mhd with UID.raw, one scan each, and the candidates; returns the images by their series."""
    images = {}
    for number in subsets:
        image = image_of(lung(number), direction=direction(number), origin=(-30.5 + number, 12.25, -101.0))
        (folder / f"subset{number}").mkdir(parents=True)
        sitk.WriteImage(image, str(folder / f"subset{number}" / f"{uid(number)}.mhd"))
        images[uid(number)] = image
    return images


def candidates(images, *, num_negatives=6, seed=0):
    """In each scan a nodule, a corner of the scan, and other places between voxels."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, image in images.items():
        size = np.array(image.GetSize())
        indices = [(24, 20, 19), (0, 0, 0), *(tuple(rng.integers(0, size).tolist()) for _ in range(num_negatives - 1))]
        for place, index in enumerate(indices):
            between = rng.uniform(-0.4, 0.4, 3)
            point = image.TransformContinuousIndexToPhysicalPoint([float(v) for v in np.array(index) + between])
            rows.append(Candidate(name, index, point, int(place == 0)))
    return rows


def write_candidates(path, rows, *, scan_column="seriesuid", more=()):
    """The table as LUNA16 has it; ``more`` are further columns, each a name and a function of the candidate."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([scan_column, "coordX", "coordY", "coordZ", "class", *(name for name, _ in more)])
        for row in rows:
            writer.writerow([row.scan, *row.place_lps, row.kind, *(of(row) for _, of in more)])


def lidc(folder, num=4, *, suffix=".nii.gz"):
    """images/ and labels/: in each scan two nodules, one of them in a corner; returns their middles (LPS)."""
    middles = {}
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number in range(num):
        name = f"LIDC-IDRI-{number + 1:04d}"
        mask = np.zeros((40, 90, 80), np.uint8)
        mask[16:25, 38:49, 28:39] = 1
        mask[0:3, 0:3, 0:3] = 2
        voxels = np.where(mask == 0, lung(number, mask.shape), MARKED_HU).astype(np.int16)
        scan, outline = image_of(voxels), image_of(mask)
        sitk.WriteImage(scan, str(folder / "images" / f"{name}{suffix}"))
        sitk.WriteImage(outline, str(folder / "labels" / f"{name}{suffix}"))
        middles[name] = [
            scan.TransformContinuousIndexToPhysicalPoint(index) for index in ((1.0, 1.0, 1.0), (33.0, 43.0, 20.0))
        ]
    return middles


def lits(folder, numbers=(0, 1, 99, 100, 114, 115, 130)):
    """Training Batch N/volume-N.nii and segmentation-N.nii, liver 1 and tumour 2."""
    outlines = {}
    for number in numbers:
        batch = folder / f"Training Batch {1 if number < 28 else 2}"
        batch.mkdir(parents=True, exist_ok=True)
        drawn = np.zeros((20, 24, 22), np.uint8)
        drawn[5:12, 6:15, 4:18] = 1
        drawn[7:9, 8:11, 6:9] = 2
        sitk.WriteImage(image_of(lung(number, drawn.shape)), str(batch / f"volume-{number}.nii"))
        sitk.WriteImage(image_of(drawn), str(batch / f"segmentation-{number}.nii"))
        outlines[number] = drawn
    return outlines


def brats(folder, num_high=6, num_low=3):
    """HGG/ and LGG/ with a folder each, four sequences and the outline; no skull, so nothing but 0 around."""
    for seed, (grade, num) in enumerate((("HGG", num_high), ("LGG", num_low))):
        for number in range(num):
            name = f"Brats18_{grade}_{number}_1"
            (folder / grade / name).mkdir(parents=True)
            rng = np.random.default_rng([seed, number])
            drawn = np.zeros((16, 20, 18), np.uint8)
            drawn[4:9, 5:12, 6:10] = 2
            drawn[5:7, 7:9, 7:9] = 4
            for place, part in enumerate(("t1", "t1ce", "t2", "flair")):
                brain = np.zeros(drawn.shape, np.int16)
                brain[2:14, 2:18, 2:16] = rng.integers(1, 100, (12, 16, 14)) * 10**place
                image = image_of(brain, spacing_xyz=(1.0, 1.0, 1.0), origin=(0.0, -239.0, 0.0))
                sitk.WriteImage(image, str(folder / grade / name / f"{name}_{part}.nii.gz"))
            outline = image_of(drawn, spacing_xyz=(1.0, 1.0, 1.0), origin=(0.0, -239.0, 0.0))
            sitk.WriteImage(outline, str(folder / grade / name / f"{name}_seg.nii.gz"))


def embolism(folder, *, more=(), num=4):
    """Scans as MetaImage, NIfTI and NRRD below scans/, with a table of candidates."""
    images = {}
    (folder / "scans").mkdir(parents=True)
    for number in range(num):
        image = image_of(lung(number), direction=FLIPPED if number % 2 else UPRIGHT)
        kind = (".mhd", ".nii.gz", ".nrrd", ".mha")[number % 4]
        sitk.WriteImage(image, str(folder / "scans" / f"pe{number}{kind}"))
        images[f"pe{number}"] = image
    rows = candidates(images)
    write_candidates(folder / "candidates.csv", rows, scan_column="scan", more=more)
    return images, rows
