"""The same volume with fewer and larger voxels, for viewers that want to see all of it at once.

Shape letters: C = channels, Z, Y, X = space. Each level halves the one before: an image by the
mean of a block of voxels, a label map by its commonest label, so that no class appears that
was not there. hilum itself reads the full level only.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.asking import LabelMap
from hilum.core.geometry import Grid
from hilum.core.imaging import Volume

MOST_VOXELS_WITHOUT = 512**3
"""A volume of more than these has coarser levels without being asked."""

LONGEST_SIDE = 256
"""Of the coarsest level, where nobody says how many levels there should be."""

Voxels = npt.NDArray[Any]


def level_grids(volume: Volume, num_coarser: int | None) -> list[Grid]:
    """The grids of all levels, the volume's own first. Without a number: as many as a large volume needs, else none.

    No more than there are to halve: a level is never the same as the one before.
    """
    if num_coarser is None:
        is_large = math.prod(volume.grid.shape_zyx) > MOST_VOXELS_WITHOUT
        most, longest = (32, LONGEST_SIDE) if is_large else (0, 0)
    else:
        most, longest = num_coarser, 0
    grids = [volume.grid]
    while len(grids) <= most and max(grids[-1].shape_zyx) > longest:
        axes = _halved_axes(grids[-1], is_stack=volume.num_items > 1)
        if not any(axes):
            break
        grids.append(_halved_grid(grids[-1], axes))
    return grids


def coarser_images(image_CZYX: Voxels, grids: list[Grid]) -> Iterator[Voxels]:
    """The image on every grid but the first, in the type it has."""
    for fine, coarse in itertools.pairwise(grids):
        image_CZYX = np.stack([_means(channel, _factors(fine, coarse)) for channel in image_CZYX])
        yield image_CZYX


def coarser_label_maps(label_map_ZYX: LabelMap, grids: list[Grid]) -> Iterator[LabelMap]:
    """The label map on every grid but the first."""
    for fine, coarse in itertools.pairwise(grids):
        label_map_ZYX = _commonest(label_map_ZYX, _factors(fine, coarse))
        yield label_map_ZYX


def _halved_axes(grid: Grid, *, is_stack: bool) -> tuple[bool, bool, bool]:
    """Axes that are halved: long enough, and not coarser already than twice the finest. Items are never mixed."""
    long_enough = [size > 1 and not (axis == 0 and is_stack) for axis, size in enumerate(grid.shape_zyx)]
    finest = min((mm for mm, is_long in zip(grid.spacing_mm_zyx, long_enough, strict=True) if is_long), default=0.0)
    z, y, x = (is_long and mm < 2 * finest for mm, is_long in zip(grid.spacing_mm_zyx, long_enough, strict=True))
    return z, y, x


def _halved_grid(grid: Grid, axes: tuple[bool, bool, bool]) -> Grid:
    z, y, x = (-(-size // 2) if is_halved else size for size, is_halved in zip(grid.shape_zyx, axes, strict=True))
    mm_z, mm_y, mm_x = (mm * (2 if is_halved else 1) for mm, is_halved in zip(grid.spacing_mm_zyx, axes, strict=True))
    # A large voxel lies in the middle of those it is made of.
    middle = [0.5 if is_halved else 0.0 for is_halved in axes]
    origin_x, origin_y, origin_z = (float(v) for v in grid.index_to_world(middle))
    return Grid((z, y, x), (mm_z, mm_y, mm_x), (origin_x, origin_y, origin_z), grid.direction)


def _factors(fine: Grid, coarse: Grid) -> list[int]:
    return [1 if a == b else 2 for a, b in zip(fine.shape_zyx, coarse.shape_zyx, strict=True)]


def _means(channel_ZYX: Voxels, factors: list[int]) -> Voxels:
    # float32 holds a sum of eight voxels of 16 bits to the last bit.
    is_narrow = channel_ZYX.dtype.itemsize <= 2
    total = np.zeros([-(-n // f) for n, f in zip(channel_ZYX.shape, factors, strict=True)], np.float64)
    total = total.astype(np.float32) if is_narrow else total
    for part in _parts(channel_ZYX, factors):
        total += part
    total /= math.prod(factors)
    if np.issubdtype(channel_ZYX.dtype, np.integer):
        np.rint(total, out=total)
    return total.astype(channel_ZYX.dtype)


def _commonest(label_map_ZYX: LabelMap, factors: list[int]) -> LabelMap:
    """The commonest label of each block; of labels equally common the highest, so that a structure outlives its rim."""
    ordered = np.sort(np.stack(list(_parts(label_map_ZYX, factors))), axis=0)
    best: LabelMap = ordered[0].copy()
    most = np.ones(ordered.shape[1:], np.uint8)
    run = most.copy()
    for before, here in itertools.pairwise(ordered):
        run = np.where(here == before, run + np.uint8(1), np.uint8(1))
        is_best = run >= most
        best[is_best], most[is_best] = here[is_best], run[is_best]
    return best


def _parts(array_ZYX: Voxels, factors: list[int]) -> Iterator[Voxels]:
    """The voxels at each place of a block, block by block; the last voxel of an odd axis stands for its missing one."""
    for place in itertools.product(*(range(factor) for factor in factors)):
        part = array_ZYX
        for axis, (offset, factor) in enumerate(zip(place, factors, strict=True)):
            if factor == 1:
                continue
            along = np.minimum(np.arange(0, array_ZYX.shape[axis], 2) + offset, array_ZYX.shape[axis] - 1)
            is_even = array_ZYX.shape[axis] % 2 == 0
            part = part[(slice(None),) * axis + ((slice(offset, None, 2) if is_even else along),)]
        yield part
