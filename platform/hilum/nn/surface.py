"""How far two outlines lie apart: areas of their surfaces, how much lies within a tolerance, and HD95.

A surface is cut into the elements of marching cubes, one at each corner that eight voxels share (four
pixels in an image), with the area (length) that it has at the grid's spacing, as Nikolov et al. did
(2018, https://arxiv.org/abs/1809.04430): a voxel counted as one element would weigh thick slices wrongly.
The area of each of the 256 elements is MONAI's. MONAI's own whole metrics are not called: they hold a
volume and its float copies at once, cannot leave elements beside unknown voxels out, and warn of themselves.

Shape letters: Z, Y, X = space, S = surface elements.
"""

import importlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_PERCENTILE = 0.95
_VOXELS_PER_SLAB = 4_000_000
# Distances come from sums of squares: two that are equal on paper differ in the last digits.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class SurfaceMatch:
    """Areas in mm² (lengths in mm in an image) of both surfaces, and of what lies within the tolerance of the other.

    ``hd95_mm`` is the larger of the two distances within which 95 % of a surface's area lies of the
    other surface; NaN where either has no surface.
    """

    true_area: float
    answered_area: float
    true_area_within: float
    answered_area_within: float
    hd95_mm: float


def match_surfaces(
    truth_ZYX: Bools,
    answer_ZYX: Bools,
    known_ZYX: Bools,
    spacing_mm_zyx: Sequence[float],
    *,
    tolerance_mm: float,
) -> SurfaceMatch:
    """Compare the surfaces of two masks. Elements that touch a voxel that is not ``known`` are left out."""
    box = _box_of(truth_ZYX | answer_ZYX)
    if box is None:
        return SurfaceMatch(0.0, 0.0, 0.0, 0.0, float("nan"))
    spacing, squeeze = in_plane(truth_ZYX.shape, spacing_mm_zyx)
    truth, answer = (_framed(mask, box, filled=False).squeeze(squeeze) for mask in (truth_ZYX, answer_ZYX))
    known = _framed(known_ZYX, box, filled=True).squeeze(squeeze)
    true_points, true_areas = surface_elements(truth, known, spacing)
    answered_points, answered_areas = surface_elements(answer, known, spacing)
    true_area, answered_area = float(true_areas.sum()), float(answered_areas.sum())
    if not len(true_points) or not len(answered_points):
        return SurfaceMatch(true_area, answered_area, 0.0, 0.0, float("nan"))
    to_answer = KDTree(answered_points).query(true_points)[0]
    to_truth = KDTree(true_points).query(answered_points)[0]
    near = tolerance_mm * (1 + _ROUNDING)
    return SurfaceMatch(
        true_area,
        answered_area,
        float(true_areas[to_answer <= near].sum()),
        float(answered_areas[to_truth <= near].sum()),
        max(_weighted_percentile(to_answer, true_areas), _weighted_percentile(to_truth, answered_areas)),
    )


def surface_elements(mask: Bools, known: Bools, spacing_mm: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Where the elements of a mask's surface are (S, axes) in mm, and the area of each (S). Slab by slab."""
    table, weights = _areas(spacing_mm)
    depth = max(1, _VOXELS_PER_SLAB // max(1, mask[0].size))
    points, areas = [], []
    for at in range(0, mask.shape[0] - 1, depth):
        slab = slice(at, at + depth + 1)
        codes = _codes(mask[slab], weights)
        on_surface = (codes > 0) & (codes < len(table) - 1) & (_codes(known[slab], weights) == len(table) - 1)
        index = np.argwhere(on_surface)
        areas.append(table[codes[on_surface]])
        index[:, 0] += at
        points.append(index * np.asarray(spacing_mm))
    return np.concatenate(points), np.concatenate(areas)


def _codes(mask: Bools, weights: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """For every corner, which of the voxels around it belong to the mask, one bit each."""
    codes = np.zeros([n - 1 for n in mask.shape], np.uint8)
    for corner in itertools.product((0, 1), repeat=mask.ndim):
        around = tuple(slice(c, n - 1 + c) for c, n in zip(corner, mask.shape, strict=True))
        codes += mask[around] * weights[corner]
    return codes


@lru_cache(maxsize=64)
def _areas(spacing_mm: tuple[float, ...]) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """The area of each kind of element, and the bit that each voxel around a corner has in its number."""
    # Half a gigabyte and seconds of import, for those only who measure surfaces.
    monai: Any = importlib.import_module("monai.metrics.utils")
    table, kernel = monai.get_code_to_measure_table(spacing_mm)
    return table.numpy().astype(np.float64), kernel[0, 0].numpy().astype(np.uint8)


def _weighted_percentile(distances_S: Floats, areas_S: Floats) -> float:
    order = np.argsort(distances_S)
    covered = np.cumsum(areas_S[order])
    place = int(np.searchsorted(covered, _PERCENTILE * covered[-1]))
    return float(distances_S[order[min(place, len(order) - 1)]])


def _box_of(mask: Bools) -> tuple[slice, ...] | None:
    found = ndimage.find_objects(mask.view(np.uint8), max_label=1)
    return found[0] if found else None


def _framed(array: Bools, box: tuple[slice, ...], *, filled: bool) -> Bools:
    """The box and one voxel around it; beyond the image's border is ``filled``. Axes of one voxel stay so."""
    inside, missing = [], []
    for part, size in zip(box, array.shape, strict=True):
        wanted = (part.start, part.stop) if size == 1 else (part.start - 1, part.stop + 1)
        start, stop = max(0, wanted[0]), min(size, wanted[1])
        inside.append(slice(start, stop))
        missing.append((start - wanted[0], wanted[1] - stop))
    return np.pad(array[tuple(inside)], missing, constant_values=filled)


def in_plane(shape_zyx: Sequence[int], spacing_mm_zyx: Sequence[float]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The spacing along the axes that an outline has, and the axis of one voxel that an image lacks."""
    thin = tuple(axis for axis, size in enumerate(shape_zyx) if size == 1)[:1]
    return tuple(float(s) for axis, s in enumerate(spacing_mm_zyx) if axis not in thin), thin
