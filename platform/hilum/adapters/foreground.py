"""What is the patient and what is air: a grey level between them, and the box that the body fills.

Shape letters: Z, Y, X = space. A body is the largest connected thing that stands out. That is
a good guess and no more: a table that touches the patient belongs to it, and where a field
of view shows two legs only the larger is sure to be inside.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hilum.core.errors import DataError
from hilum.core.geometry import Zyx
from hilum.core.recipes import BodyCropRecipe
from hilum.core.sources import ReadImage
from hilum.nn.parts import Mask, largest_part

Box = tuple[Zyx, Zyx]
"""Start and stop (Z, Y, X)."""

SKIN_HU = -300.0
LOOK_MM, LOOK_VOXELS = 3.0, 64
"""A body is looked for on a grid this fine, or of this many voxels a side; its box is grown by what lies between."""


def body_box(image: ReadImage, crop: BodyCropRecipe) -> Box:
    """The box of the body and of every labelled voxel, with the margin, cut to the image."""
    body = _body_box(image, crop)
    margins = [int(np.ceil(crop.margin_mm / mm)) for mm in image.grid.spacing_mm_zyx]
    labelled = None if image.label_map_zyx is None else _box_of(image.label_map_zyx > 0)
    boxes = [body] if labelled is None else [body, labelled]
    starts = [min(box[0][axis] for box in boxes) - margins[axis] for axis in range(3)]
    stops = [max(box[1][axis] for box in boxes) + margins[axis] for axis in range(3)]
    depth, height, width = image.grid.shape_zyx
    start = (max(0, starts[0]), max(0, starts[1]), max(0, starts[2]))
    return start, (min(depth, stops[0]), min(height, stops[1]), min(width, stops[2]))


def foreground_level(image_ZYX: npt.NDArray[Any]) -> float:
    """The grey level that parts background from what is shown; lower than Otsu's where skin is dim beside fat."""
    return _otsu(image_ZYX) * 0.6 if image_ZYX.min() >= 0 else _otsu(image_ZYX)


def _body_box(image: ReadImage, crop: BodyCropRecipe) -> Box:
    sides = zip(image.grid.shape_zyx, image.grid.spacing_mm_zyx, strict=True)
    every = [max(1, min(round(LOOK_MM / mm), size // LOOK_VOXELS)) for size, mm in sides]
    small_ZYX = image.image_czyx[0, :: every[0], :: every[1], :: every[2]].astype(np.float32)
    found = _box_of(_body(small_ZYX > _level(image, small_ZYX, crop)))
    if found is None:
        raise DataError("No body stands out of the background, so there is nothing to crop to; leave crop_to_body out.")
    starts = [max(0, (a - 1) * n + 1) for a, n in zip(found[0], every, strict=True)]
    stops = [min(b * n, size) for b, n, size in zip(found[1], every, image.grid.shape_zyx, strict=True)]
    return (starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2])


def _level(image: ReadImage, small_ZYX: npt.NDArray[np.float32], crop: BodyCropRecipe) -> float:
    if crop.above is not None:
        return crop.above
    return SKIN_HU if image.modality == "CT" else foreground_level(small_ZYX)


def _body(mask_ZYX: Mask) -> Mask:
    """The largest part once thin bridges, to a table or a blanket, are cut; with its own thin ends again."""
    edged = np.pad(mask_ZYX, 1, mode="edge")
    opened = ndimage.binary_opening(edged)[1:-1, 1:-1, 1:-1]
    largest = largest_part(opened if opened.any() else mask_ZYX)
    return np.asarray(ndimage.binary_dilation(largest, iterations=2, mask=mask_ZYX)) if largest.any() else largest


def _box_of(mask_ZYX: Mask) -> Box | None:
    ends = []
    for axis in range(3):
        there = np.flatnonzero(mask_ZYX.any(axis=tuple(a for a in range(3) if a != axis)))
        if not there.size:
            return None
        ends.append((int(there[0]), int(there[-1]) + 1))
    (z, z_stop), (y, y_stop), (x, x_stop) = ends
    return (z, y, x), (z_stop, y_stop, x_stop)


def _otsu(image: npt.NDArray[Any]) -> float:
    """The grey level that parts two heaps best (Otsu, https://doi.org/10.1109/TSMC.1979.4310076)."""
    low, high = (float(v) for v in np.percentile(image, (0, 99.5)))
    if high <= low:
        return high
    counts, edges = np.histogram(image, bins=128, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
    return float(middles[int(np.nan_to_num(below * above * gap**2).argmax())])
