"""Voxels of one file in the order of another grid's axes: axes turned, flipped or cropped, and never resampled.

Shape letters: Z, Y, X = the array's axes, whichever way they run in the patient.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError
from hilum.core.geometry import Grid

TOLERANCE_MM = 1e-2
_FARTHEST_MM = 1e9
ELSEWHERE = "it lies elsewhere in space than the image: its affine differs; save it on the image's grid"
Voxels = npt.NDArray[Any]
Whole = npt.NDArray[np.int64]


def on_grid(voxels_ZYX: Voxels, found: Grid, wanted: Grid) -> Voxels:
    """The voxels of ``found`` in the order of ``wanted``'s axes.

    DataError unless both are one grid, to a hundredth of a millimetre, whatever the order and direction of the axes.
    """
    turned_ZYX, first_3 = _turned(voxels_ZYX, found, wanted)
    if turned_ZYX.shape != wanted.shape_zyx:
        raise DataError(other_size(turned_ZYX.shape[::-1], wanted))
    if first_3.any():
        raise DataError(ELSEWHERE)
    return turned_ZYX


def within_grid(voxels_ZYX: Voxels, found: Grid, wanted: Grid) -> Voxels:
    """The same where ``found`` is any box of ``wanted``'s lattice: 0 where it does not reach.

    DataError, too, where something other than 0 lies outside ``wanted``.
    """
    turned_ZYX, first_3 = _turned(voxels_ZYX, found, wanted)
    if not first_3.any() and turned_ZYX.shape == wanted.shape_zyx:
        return turned_ZYX
    return _pasted(turned_ZYX, first_3, wanted)


def other_size(shape_xyz: Sequence[int], wanted: Grid) -> str:
    """What to say of voxels that are more, fewer or otherwise arranged than the image's."""
    sizes, asked = (" × ".join(map(str, each)) for each in (shape_xyz, wanted.shape_zyx[::-1]))
    return f"it has {sizes} voxels; the image has {asked} (X, Y, Z)"


def _turned(voxels_ZYX: Voxels, found: Grid, wanted: Grid) -> tuple[Voxels, Whole]:
    """The voxels along ``wanted``'s axes, and where in ``wanted`` the first of them lies."""
    if max(*np.abs(found.origin_mm_xyz), *found.spacing_mm_zyx) > _FARTHEST_MM:
        raise DataError(ELSEWHERE)
    turn_33 = _turn(found, wanted)
    start_3 = np.rint(wanted.world_to_index(found.origin_mm_xyz)).astype(np.int64)
    _check_corners(found, wanted, turn_33, start_3)
    signs_3 = turn_33.sum(axis=1)
    ordered_ZYX = voxels_ZYX.transpose(np.abs(turn_33).argmax(axis=1))
    turned_ZYX = np.flip(ordered_ZYX, axis=tuple(axis for axis in range(3) if signs_3[axis] < 0))
    return turned_ZYX, start_3 - np.where(signs_3 < 0, np.asarray(turned_ZYX.shape) - 1, 0)


def _turn(found: Grid, wanted: Grid) -> Whole:
    """The axes of ``found`` in those of ``wanted``: one 1 or −1 in each row and column, else 0."""
    axes_found, axes_wanted = _axes_mm(found), _axes_mm(wanted)
    turn_33: Whole = np.rint(np.linalg.solve(axes_wanted, axes_found)).clip(-2, 2).astype(np.int64)
    once = (np.abs(turn_33).sum(axis=0) == 1).all() and (np.abs(turn_33).sum(axis=1) == 1).all()
    # An axis of one voxel has no corners to compare, so the axes themselves are compared.
    if not once or np.abs(axes_wanted @ turn_33 - axes_found).max() >= TOLERANCE_MM:
        raise DataError(ELSEWHERE)
    return turn_33


def _axes_mm(grid: Grid) -> npt.NDArray[np.float64]:
    scaled: npt.NDArray[np.float64] = np.asarray(grid.direction, dtype=float) * np.asarray(grid.spacing_mm_zyx)
    return scaled


def _check_corners(found: Grid, wanted: Grid, turn_33: Whole, start_3: Whole) -> None:
    for corner in itertools.product(*((0, size - 1) for size in found.shape_zyx)):
        there = (turn_33 @ np.asarray(corner) + start_3).tolist()
        apart_mm: npt.NDArray[np.float64] = found.index_to_world(corner) - wanted.index_to_world(there)
        if np.abs(apart_mm).max() >= TOLERANCE_MM:
            raise DataError(ELSEWHERE)


def _pasted(voxels_ZYX: Voxels, first_3: Whole, wanted: Grid) -> Voxels:
    whole_ZYX = np.zeros(wanted.shape_zyx, voxels_ZYX.dtype)
    low_3 = np.maximum(first_3, 0)
    high_3 = np.minimum(first_3 + voxels_ZYX.shape, wanted.shape_zyx)
    inside = np.zeros((0, 0, 0), voxels_ZYX.dtype)
    if (low_3 < high_3).all():
        inside = voxels_ZYX[tuple(slice(a, b) for a, b in zip(low_3 - first_3, high_3 - first_3, strict=True))]
        whole_ZYX[tuple(slice(a, b) for a, b in zip(low_3, high_3, strict=True))] = inside
    num_outside = np.count_nonzero(voxels_ZYX) - np.count_nonzero(inside)
    if num_outside:
        raise DataError(f"{num_outside:,} of its voxels lie outside the image; erase what is beyond its edges")
    return whole_ZYX
