"""Which crops of a CT scan are worth learning from: those that are not mostly solid tissue.

In the original this is the "air test". It finds crops rich in lung: of every voxel it asks whether it is solid, or
else the one behind it, and turns a crop down when too much is. Pure air it lets through.
Shape letters: Z, Y, X = space.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.nn.compiled import compiled

Voxels = npt.NDArray[np.float32] | npt.NDArray[np.int16]

SOLID_FROM_HU = -150
MOST_SOLID = 0.15


def weighted_solid_share(window_ZYX: Voxels, *, num_slices: int, solid_from: float) -> float:
    """How solid the first ``num_slices`` are, from 0 to 1: a voxel counts 1, or ½ if only the one behind it is solid.

    Solid is ``solid_from`` or more, in the window's own grey levels; float32 and int16 are read as they are. Of
    what lies behind those slices only the next is looked at; where the window ends, there is air behind it.
    """
    if window_ZYX.dtype not in (np.float32, np.int16):
        window_ZYX = window_ZYX.astype(np.float32)
    if window_ZYX.dtype == np.int16:
        # Whole numbers are at or above a threshold when they are at or above the next whole number.
        solid_from = min(max(np.ceil(solid_from), -(2.0**15)), 2.0**15)
        halves = _halves(_by_slice(window_ZYX), num_slices, np.int32(solid_from))
    else:
        halves = _halves(_by_slice(window_ZYX), num_slices, np.float32(solid_from))
    return float(halves / (2 * num_slices * window_ZYX[0].size))


def _by_slice(window_ZYX: Voxels) -> npt.NDArray[Any]:
    return np.ascontiguousarray(window_ZYX).reshape(len(window_ZYX), -1)


@compiled
def _halves(window_ZV: npt.NDArray[Any], num_slices: int, solid_from: np.float32 | np.int32) -> np.int64:
    """How many halves of a voxel count."""
    num_voxels, total = window_ZV.shape[1], np.int64(0)
    for z in range(num_slices):
        own = np.int32(0)
        behind = np.int32(0)
        here = window_ZV[z]
        for place in range(num_voxels):
            own += np.int32(here[place] >= solid_from)
        if z + 1 < window_ZV.shape[0]:
            following = window_ZV[z + 1]
            for place in range(num_voxels):
                behind += np.int32((here[place] < solid_from) & (following[place] >= solid_from))
        total += np.int64(2 * own + behind)
    return total
