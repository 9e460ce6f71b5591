"""Answers of a prepared image back on the grid that the image came with.

What ingest turned, cropped and resampled is undone in the world: every voxel of the first grid takes what is said at
its place. Where nothing was looked at (air that was cropped away) the answer is the background, class 0. Shape
letters: C = classes, Z, Y, X = space.
"""

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.asking import LabelMap
from hilum.core.geometry import Grid

Floats = npt.NDArray[np.float32]


def label_map_on(grid: Grid, probs_CZYX: Floats, known_on: Grid) -> LabelMap:
    """The likeliest class of every voxel of ``grid``, from probabilities known on another grid of the same place."""
    if grid == known_on:
        likeliest_ZYX: LabelMap = probs_CZYX.argmax(axis=0).astype(np.uint16)
        return likeliest_ZYX
    best_ZYX = values_on(grid, probs_CZYX[0], known_on, outside=1.0)
    label_map_ZYX: LabelMap = np.zeros(grid.shape_zyx, np.uint16)
    for class_id, probs_ZYX in enumerate(probs_CZYX[1:], start=1):
        placed_ZYX = values_on(grid, probs_ZYX, known_on)
        is_better = placed_ZYX > best_ZYX
        label_map_ZYX[is_better] = class_id
        best_ZYX[is_better] = placed_ZYX[is_better]
    return label_map_ZYX


def values_on(grid: Grid, values_ZYX: Floats, known_on: Grid, *, outside: float = 0.0) -> Floats:
    """Values interpolated linearly onto ``grid``; ``outside`` where they are not known."""
    if grid == known_on:
        return values_ZYX
    sitk: Any = importlib.import_module("SimpleITK")  # a fifth of a second, and only when something was prepared
    given = sitk.GetImageFromArray(np.ascontiguousarray(values_ZYX, np.float32))
    _place(given, known_on)
    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(sitk.sitkLinear)
    resample.SetDefaultPixelValue(outside)
    resample.SetSize(grid.shape_zyx[::-1])
    _place_output(resample, grid)
    found: Floats = sitk.GetArrayFromImage(resample.Execute(given))
    return found


def _place(image: Any, grid: Grid) -> None:
    image.SetSpacing(grid.spacing_mm_zyx[::-1])
    image.SetOrigin(grid.origin_mm_xyz)
    image.SetDirection(_direction(grid))


def _place_output(resample: Any, grid: Grid) -> None:
    resample.SetOutputSpacing(grid.spacing_mm_zyx[::-1])
    resample.SetOutputOrigin(grid.origin_mm_xyz)
    resample.SetOutputDirection(_direction(grid))


def _direction(grid: Grid) -> list[float]:
    """Row by row, its columns along X, Y, Z."""
    return [float(value) for row in grid.direction for value in reversed(row)]
