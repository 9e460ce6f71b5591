"""Scans made alike before they are stored: turned, cropped, resampled and windowed, their place in space kept.

Shape letters: C = channels, Z, Y, X = space. Turning and cropping lose no voxel that they keep
and move none; resampling keeps the middle of the scan where it is. A window changes no voxel.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hilum.adapters.foreground import body_box
from hilum.adapters.resampling import resampled
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.imaging import HOUNSFIELD
from hilum.core.recipes import ORIENTATION_PAIRS, WINDOWS_HU, PrepareRecipe, WindowRecipe
from hilum.core.sources import ReadImage, Voxels

AS_IT_IS = PrepareRecipe()

_WORLD_AXES = "xyz"
_RISING = "RAS"
"""Letters of the sides to which x, y and z grow."""


def prepared(image: ReadImage, recipe: PrepareRecipe, *, max_bytes: int) -> ReadImage:
    """The image as the recipe wants it. DataError when it cannot be, or would hold more than ``max_bytes``."""
    if recipe == AS_IT_IS:
        return image
    image.check_finite()
    if recipe.orientation or recipe.crop_to_body or recipe.spacing_mm_zyx:
        _check_is_a_scan(image)
    if recipe.orientation is not None:
        image = reoriented(image, recipe.orientation)
    if recipe.crop_to_body is not None:
        image = cropped(image, *body_box(image, recipe.crop_to_body))
    if recipe.spacing_mm_zyx is not None:
        image = resampled(image, recipe.spacing_mm_zyx, spline=recipe.interpolation == "bspline", max_bytes=max_bytes)
    return image if recipe.window == AS_IT_IS.window else replace(image, window=window_of(image, recipe.window))


def reoriented(image: ReadImage, orientation: str) -> ReadImage:
    """The image with its array axes X, Y, Z running to these sides of the patient, as nearly as they can."""
    unknown = sorted({"no_orientation", "position_unknown"} & {*image.flags})
    if unknown:
        raise DataError(
            f"It does not say how it lies in the patient ({unknown[0]}), so it cannot be turned to {orientation}. "
            "Ingest it apart, without ingest.prepare.orientation."
        )
    order, flipped = _turns(image.grid, orientation)
    labels = None if image.label_map_zyx is None else _turned(image.label_map_zyx, order, flipped)
    return _placed(image, _turned(image.image_czyx, order, flipped), labels, _turned_grid(image.grid, order, flipped))


def cropped(image: ReadImage, start_zyx: tuple[int, int, int], stop_zyx: tuple[int, int, int]) -> ReadImage:
    """The voxels of a box, where they were."""
    box = tuple(slice(a, b) for a, b in zip(start_zyx, stop_zyx, strict=True))
    z, y, x = (b - a for a, b in zip(start_zyx, stop_zyx, strict=True))
    labels = None if image.label_map_zyx is None else np.ascontiguousarray(image.label_map_zyx[box])
    voxels = np.ascontiguousarray(image.image_czyx[(slice(None), *box)])
    return _placed(image, voxels, labels, image.grid.cropped(start_zyx, (z, y, x)))


def window_of(image: ReadImage, window: WindowRecipe) -> tuple[float, float]:
    """The grey levels that become 0 and 1. Refused where a window cannot mean this image."""
    if window.percentiles is not None:
        return image.levels_at(window.percentiles)
    if window.preset is not None and (image.modality not in HOUNSFIELD or image.intensity == "photograph"):
        what = "a photograph" if image.intensity == "photograph" else image.modality
        raise DataError(f"The window '{window.preset}' is in Hounsfield units and this is {what}; give percentiles.")
    low, high = WINDOWS_HU[window.preset] if window.preset else (window.low, window.high)
    assert low is not None
    assert high is not None
    least, most = float(image.image_czyx.min()), float(image.image_czyx.max())
    if most <= low or least >= high:
        raise DataError(f"The window {low:g} to {high:g} shows nothing: the voxels are {least:g} to {most:g}.")
    return float(low), float(high)


def _check_is_a_scan(image: ReadImage) -> None:
    """Turning, cropping and resampling are for one scan whose millimetres are known."""
    advice = "Ingest it apart, without ingest.prepare.orientation, crop_to_body and spacing_mm_zyx."
    if image.num_items > 1:
        raise DataError(f"It is a stack of {image.num_items} images, not one scan. {advice}")
    if not image.measured_grid or "spacing_unknown" in image.flags:
        raise DataError(f"It does not say how many millimetres a voxel has. {advice}")


def _turns(grid: Grid, orientation: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each new axis (Z, Y, X) the old one; and the new axes that run against it."""
    nearest = grid.anatomical_axes()
    order, flipped = [], []
    for axis, letter in enumerate(reversed(orientation)):
        old_axis, sign = nearest[_WORLD_AXES.index(ORIENTATION_PAIRS[letter])]
        order.append(old_axis)
        if (sign > 0) != (letter in _RISING):
            flipped.append(axis)
    return tuple(order), tuple(flipped)


def _turned(array: Voxels, order: Sequence[int], flipped: Sequence[int]) -> Voxels:
    first = array.ndim - 3
    moved = array.transpose(*range(first), *(first + axis for axis in order))
    return np.ascontiguousarray(np.flip(moved, tuple(first + axis for axis in flipped)))


def _turned_grid(grid: Grid, order: Sequence[int], flipped: Sequence[int]) -> Grid:
    corner = [grid.shape_zyx[old] - 1 if new in flipped else 0 for new, old in enumerate(order)]
    # The voxel that comes first now, by its old index.
    x, y, z = (float(v) for v in grid.index_to_world([corner[order.index(old)] for old in range(3)]))
    depth, height, width = (grid.shape_zyx[old] for old in order)
    mm_z, mm_y, mm_x = (grid.spacing_mm_zyx[old] for old in order)
    signs = [-1.0 if new in flipped else 1.0 for new in range(3)]
    rows = [[signs[new] * row[old] + 0.0 for new, old in enumerate(order)] for row in grid.direction]
    direction = tuple((row[0], row[1], row[2]) for row in rows)
    return Grid((depth, height, width), (mm_z, mm_y, mm_x), (x, y, z), direction)


def _placed(image: ReadImage, voxels_CZYX: Voxels, labels_ZYX: Voxels | None, grid: Grid) -> ReadImage:
    return replace(image, image_czyx=voxels_CZYX, label_map_zyx=labels_ZYX, grid=grid, item_shape_zyx=grid.shape_zyx)
