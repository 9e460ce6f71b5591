"""Another voxel size: SimpleITK interpolates, along the array's own axes, so that shear and tilt stay what they are.

Shape letters: C = channels, Z, Y, X = space. The new grid has the old one's middle and
covers all of it. An image is blurred to the size of coarser voxels first: else what
lies between two of them is lost or becomes a pattern. A label map is interpolated class by
class, the strongest wins, and no class appears that was not there.
"""

import importlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hilum.adapters.hostile import in_words
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.sources import ReadImage, Voxels

Spacing = Sequence[float | None]

SAME = 1e-6
"""Of a spacing: a difference of less is none, and the voxels are left untouched."""

SLACK_VOXELS = 0.01
"""Less than this of a voxel more is not worth one, and keeps every new voxel's middle inside the old grid."""

SIGMA_PER_WIDTH = 1 / (2 * math.sqrt(2 * math.log(2)))
"""A voxel's width as the width at half height of a Gaussian (Cardoso et al., https://doi.org/10.1007/978-3-319-24574-4_81)."""

_SPLINE_BYTES = 8
_FLOAT32_HOLDS = 1 << 24


def resampled(image: ReadImage, spacing_mm_zyx: Spacing, *, spline: bool, max_bytes: int) -> ReadImage:
    """The image on a grid of this spacing; None keeps an axis, and so does an axis of one voxel."""
    old = image.grid
    new = resampled_grid(old, spacing_mm_zyx)
    if new == old:
        return image
    _check_size(image, new, spline=spline, max_bytes=max_bytes)
    voxels = np.stack([_of_channel(channel, old, new, spline=spline) for channel in image.image_czyx])
    labels = None if image.label_map_zyx is None else _of_labels(image.label_map_zyx, old, new)
    return replace(image, image_czyx=voxels, label_map_zyx=labels, grid=new, item_shape_zyx=new.shape_zyx)


def resampled_grid(grid: Grid, spacing_mm_zyx: Spacing) -> Grid:
    """The grid of another spacing about the same middle, large enough for all of the old one."""
    shape, spacing = list(grid.shape_zyx), list(grid.spacing_mm_zyx)
    for axis, wanted in enumerate(spacing_mm_zyx):
        size, now = grid.shape_zyx[axis], grid.spacing_mm_zyx[axis]
        if wanted is not None and size > 1 and abs(wanted - now) > SAME * now:
            shape[axis], spacing[axis] = max(1, math.ceil(size * now / wanted - SLACK_VOXELS)), wanted
    starts_mm = _starts_mm(grid, shape, spacing)
    x, y, z = (
        float(v)
        for v in grid.index_to_world([mm / now for mm, now in zip(starts_mm, grid.spacing_mm_zyx, strict=True)])
    )
    return Grid((shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]), (x, y, z), grid.direction)


def _starts_mm(grid: Grid, shape: Sequence[int], spacing: Sequence[float]) -> list[float]:
    """How far along each axis the first new voxel lies from the first old one, both grids having one middle."""
    return [
        ((n_old - 1) * mm_old - (n - 1) * mm) / 2
        for n_old, mm_old, n, mm in zip(grid.shape_zyx, grid.spacing_mm_zyx, shape, spacing, strict=True)
    ]


def _check_size(image: ReadImage, new: Grid, *, spline: bool, max_bytes: int) -> None:
    num_channels, *_ = image.image_czyx.shape
    voxel_bytes = num_channels * max(4, image.image_czyx.dtype.itemsize) + (0 if image.label_map_zyx is None else 2)
    needed = math.prod(new.shape_zyx) * voxel_bytes
    if spline:
        needed = max(needed, math.prod(image.grid.shape_zyx) * _SPLINE_BYTES)
    if needed > max_bytes:
        shape = " × ".join(map(str, new.shape_zyx))
        raise DataError(
            f"Resampled to {shape} voxels (Z, Y, X) it would need {in_words(needed)}; at most "
            f"{in_words(max_bytes)} are given (--max-gib). Give a coarser ingest.prepare.spacing_mm_zyx."
        )


def _of_channel(channel_ZYX: Voxels, old: Grid, new: Grid, *, spline: bool) -> Voxels:
    least, most = float(channel_ZYX.min()), float(channel_ZYX.max())
    is_whole = np.issubdtype(channel_ZYX.dtype, np.integer)
    as_float = np.float64 if is_whole and max(-least, most) > _FLOAT32_HOLDS else np.float32
    blurred = _blurred(channel_ZYX.astype(as_float), old, new)
    found = _splined(blurred, old, new) if spline else _interpolated(blurred, old, new, "Linear")
    # A spline overshoots beside an edge: never beyond what was measured.
    np.clip(found, least, most, out=found)
    return np.rint(found, out=found).astype(channel_ZYX.dtype) if is_whole else found


def _of_labels(label_map_ZYX: npt.NDArray[np.uint16], old: Grid, new: Grid) -> npt.NDArray[np.uint16]:
    return _interpolated(label_map_ZYX, old, new, "LabelLinear").astype(np.uint16)


def _blurred(channel_ZYX: Voxels, old: Grid, new: Grid) -> Voxels:
    for axis, (before, after) in enumerate(zip(old.spacing_mm_zyx, new.spacing_mm_zyx, strict=True)):
        if after > before:
            sigma = math.sqrt((after / before) ** 2 - 1) * SIGMA_PER_WIDTH
            channel_ZYX = ndimage.gaussian_filter1d(channel_ZYX, sigma, axis=axis, mode="nearest")
    return channel_ZYX


def _splined(channel_ZYX: Voxels, old: Grid, new: Grid) -> Voxels:
    # ITK mirrors a spline at its ends once; of two voxels it would then read beyond them.
    around = [1 if size == 2 else 0 for size in old.shape_zyx]
    return _interpolated(np.pad(channel_ZYX, [(n, n) for n in around], mode="edge"), old, new, "BSpline", around)


def _interpolated(array_ZYX: Voxels, old: Grid, new: Grid, how: str, around_zyx: Sequence[int] = (0, 0, 0)) -> Voxels:
    """SimpleITK on the array's own axes: which way they run in the patient does not matter to it.

    ``around_zyx`` is by how many voxels the array is larger, on either side, than ``old``.
    """
    # Takes a fifth of a second to import, so only when something is resampled.
    sitk: Any = importlib.import_module("SimpleITK")
    given = sitk.GetImageFromArray(array_ZYX)
    given.SetSpacing(old.spacing_mm_zyx[::-1])
    given.SetOrigin([-n * mm for n, mm in zip(around_zyx, old.spacing_mm_zyx, strict=True)][::-1])
    resample = sitk.ResampleImageFilter()
    resample.SetNumberOfThreads(1)  # a worker has the cores that its resources say
    resample.SetInterpolator(getattr(sitk, f"sitk{how}"))
    resample.SetSize(new.shape_zyx[::-1])
    resample.SetOutputSpacing(new.spacing_mm_zyx[::-1])
    resample.SetOutputOrigin(_starts_mm(old, new.shape_zyx, new.spacing_mm_zyx)[::-1])
    found: Voxels = sitk.GetArrayFromImage(resample.Execute(given))
    return found
