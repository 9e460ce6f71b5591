"""NCS: lung nodules of LIDC-IDRI that somebody outlined, a crop of 64 × 64 × 32 mm around each.

Shape letters: Z, Y, X = space.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from hilum.adapters.blocks import AIR_HU, clipped_hu, cut, laid_lps, start_around
from hilum.adapters.hostile import MAX_BYTES
from hilum.adapters.own_cases import Case, Made, Wishes, dealt, found_scans, paths_of
from hilum.adapters.own_files import write_nifti
from hilum.adapters.reading import GRID_TOLERANCE_MM, read_label_map, read_scan
from hilum.adapters.resampling import resampled
from hilum.core.errors import DataError
from hilum.core.geometry import Zyx
from hilum.core.imaging import Side
from hilum.core.sources import ReadImage, SourceItem

SHAPE_ZYX: Zyx = (32, 64, 64)
SPACING_MM = 1.0
CLASS_NAMES = ("background", "nodule")
EXPECTS = (
    "'images/' and 'labels/' (or 'imagesTr/' and 'labelsTr/') with a CT and a mask of all its nodules each, of one "
    "name and on one grid, such as images/LIDC-IDRI-0001.nii.gz and labels/LIDC-IDRI-0001.nii.gz"
)
SHARES: Mapping[Side, float] = {"test": 408 / 1018, "validation": 100 / 1018}
"""The thesis parts 1,018 scans into 510, 100 and 408."""

_PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
_EDGE_VOXELS = 2
"""Of the scan's own, around a crop: so that interpolation at its border knows what lies beyond."""


def cases(folder: Path, wishes: Wishes) -> list[Case]:
    """Each scan with a mask; one file of voxels and one of labels for each nodule."""
    pair = next((p for p in _PAIRS if all((folder / part).is_dir() for part in p)), None)
    if pair is None:
        raise DataError(f"{folder} is not a set of outlined nodules. Expected: {EXPECTS}.")
    scans, masks = (found_scans(folder, below=part) for part in pair)
    if not masks:
        raise DataError(f"There is no mask in '{pair[1]}/'. Expected: {EXPECTS}.")
    patients = {name: name.split("_")[0] for name in masks}
    sides = dealt(sorted(set(patients.values())), SHARES, seed=wishes.seed)
    return [
        Case(
            name,
            patients[name],
            sides[patients[name]],
            (*paths_of(folder, mask), *(paths_of(folder, scans[name]) if name in scans else ())),
            partial(_write_crops, folder, name, scans.get(name), mask),
        )
        for name, mask in sorted(masks.items())
    ]


def _write_crops(folder: Path, name: str, item: SourceItem | None, mask: SourceItem, target: Path) -> list[Made]:
    if item is None:
        raise DataError("There is no scan of the mask's name.")
    scan = clipped_hu(laid_lps(_outlined(folder, item, mask)))
    made = []
    for number, centre_mm in enumerate(_centres_mm(scan), start=1):
        crop = crop_around(scan, centre_mm)
        assert crop.label_map_zyx is not None
        file = f"{name}-nodule-{number}.nii.gz"
        write_nifti(target / "images" / file, crop.image_czyx, crop.grid)
        write_nifti(target / "labels" / file, crop.label_map_zyx[np.newaxis].astype(np.uint8), crop.grid)
        made.append(Made(f"images/{file}", f"labels/{file}"))
    return made


def crop_around(scan: ReadImage, centre_mm_ras: Sequence[float]) -> ReadImage:
    """The block around a place of the scan with voxels of 1 mm, image and mask; air beyond the scan."""
    spacing = scan.grid.spacing_mm_zyx
    half = [math.ceil(size * SPACING_MM / 2 / mm) + _EDGE_VOXELS for size, mm in zip(SHAPE_ZYX, spacing, strict=True)]
    depth, height, width = (2 * n + 1 for n in half)
    around = _cut_out(scan, start_around(scan.grid, centre_mm_ras, (depth, height, width)), (depth, height, width))
    fine = resampled(around, (SPACING_MM,) * 3, spline=False, max_bytes=MAX_BYTES)
    return _cut_out(fine, start_around(fine.grid, centre_mm_ras, SHAPE_ZYX), SHAPE_ZYX)


def _cut_out(scan: ReadImage, start_zyx: Zyx, shape_zyx: Zyx) -> ReadImage:
    assert scan.label_map_zyx is not None
    return replace(
        scan,
        image_czyx=cut(scan.image_czyx[0], start_zyx, shape_zyx, outside=AIR_HU)[np.newaxis],
        label_map_zyx=cut(scan.label_map_zyx, start_zyx, shape_zyx, outside=0),
        grid=scan.grid.cropped(start_zyx, shape_zyx),
        item_shape_zyx=shape_zyx,
    )


def _outlined(folder: Path, item: SourceItem, mask: SourceItem) -> ReadImage:
    """The scan with its nodules marked 1."""
    scan, drawn = read_scan(str(folder), item), read_label_map(str(folder), mask.image)
    assert drawn.label_map_zyx is not None
    if scan.image_czyx.shape[0] != 1:
        raise DataError(f"A CT has one channel; this scan has {scan.image_czyx.shape[0]}.")
    if scan.grid.shape_zyx != drawn.grid.shape_zyx or scan.grid.apart_mm(drawn.grid) > GRID_TOLERANCE_MM:
        raise DataError("The mask is not on the grid of its scan: both must have the same shape and affine.")
    return replace(scan, label_map_zyx=(drawn.label_map_zyx > 0).astype(np.uint16))


def _centres_mm(scan: ReadImage) -> list[tuple[float, ...]]:
    """The middle of each nodule (RAS+): of the box around everything that touches, corners included."""
    assert scan.label_map_zyx is not None
    nodules_ZYX, num = ndimage.label(scan.label_map_zyx, structure=np.ones((3, 3, 3)))
    if num == 0:
        raise DataError("The mask marks nothing.")
    boxes = ndimage.find_objects(nodules_ZYX)
    middles_zyx = [[(part.start + part.stop - 1) / 2 for part in box] for box in boxes]
    return [tuple(scan.grid.index_to_world(middle).tolist()) for middle in middles_zyx]
