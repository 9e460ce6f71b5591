"""From a voxel map to a candidate's score.

Shape letters: N = candidates; Z, Y, X = space. A reduction takes (N, Z, Y, X) to (N,).
"""

from collections.abc import Callable

import numpy as np
from pydantic import Field

from hilum.core.recipes import Choice, ShapeZyx
from hilum.core.registry import Params, Registry
from hilum.select.scored import Floats

_reductions = Registry("reduction")


def reduction(choice: Choice) -> Callable[[Floats], Floats]:
    """The chosen reduction with its checked parameters: 'mean', 'top_fraction' or 'box'."""
    return _reductions.bind(choice)


class TopFractionParams(Params):
    """``fraction`` of the voxels, the most uncertain ones."""

    fraction: float = Field(default=0.1, gt=0, le=1)


class BoxParams(Params):
    """Size in voxels of the box that is moved through the patch."""

    box_zyx: ShapeZyx


@_reductions.register("mean")
def mean(map_NZYX: Floats) -> Floats:
    """The mean over the whole patch: a large, mildly uncertain region outweighs a small, very uncertain one."""
    scores: Floats = map_NZYX.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)
    return scores


@_reductions.register("top_fraction", params=TopFractionParams)
def top_fraction(map_NZYX: Floats, *, fraction: float = 0.1) -> Floats:
    """The mean over the most uncertain ``fraction`` of the voxels (at least one)."""
    flat = map_NZYX.reshape(len(map_NZYX), -1)
    keep = max(1, round(fraction * flat.shape[1]))
    highest = np.partition(flat, flat.shape[1] - keep, axis=1)[:, flat.shape[1] - keep :]
    # Sorted before they are added: the order a partition leaves is nobody's promise.
    scores: Floats = np.sort(highest, axis=1).mean(axis=1, dtype=np.float64).astype(np.float32)
    return scores


@_reductions.register("box", params=BoxParams)
def box(map_NZYX: Floats, *, box_zyx: tuple[int, int, int]) -> Floats:
    """The mean over the most uncertain box of ``box_zyx`` voxels (the whole patch where it is smaller)."""
    return np.array([box_means(one, box_zyx).max() for one in map_NZYX], np.float32)


def box_means(map_ZYX: Floats, box_zyx: tuple[int, int, int]) -> Floats:
    """The exact mean of every box inside the map, one per possible start, from running sums.

    A box larger than the map on an axis is cut to the map.
    """
    sums = map_ZYX.astype(np.float64)
    num_voxels = 1
    for axis, wanted in enumerate(box_zyx):
        size = min(wanted, map_ZYX.shape[axis])
        num_voxels *= size
        running = np.cumsum(sums, axis=axis)
        running = np.concatenate([np.zeros_like(np.take(running, [0], axis=axis)), running], axis=axis)
        last = running.shape[axis]
        sums = np.take(running, range(size, last), axis=axis) - np.take(running, range(last - size), axis=axis)
    means: Floats = (sums / num_voxels).astype(np.float32)
    return means
