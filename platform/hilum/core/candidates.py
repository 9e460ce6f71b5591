"""Which patches of a volume may be asked about: its items whole, patches that tile them, or their slices.

A slice is one voxel thick along whichever array axis lies across its plane. Networks see it as
an image: its thin axis first (`as_image`), and what they answer is laid back (`from_image`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.errors import RecipeError
from hilum.core.geometry import Patch, Zyx, tile
from hilum.core.imaging import Volume
from hilum.core.recipes import Plane, PoolRecipe

_ACROSS: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The patient's axis (x, y, z) that a plane is cut across."""


def patch_shape_in(volume: Volume, pool: PoolRecipe) -> Zyx:
    """The shape of this volume's candidates: an axis that is shorter than the patch is taken whole."""
    if pool.slices is None:
        wanted, given = pool.patch_shape_zyx or volume.item_shape_zyx, volume.item_shape_zyx
        # But not an image's one slice: a block of it would be no block.
        z, y, x = (min(want, have) if have > 1 else want for want, have in zip(wanted, given, strict=True))
        return z, y, x
    shape = list(volume.item_shape_zyx)
    shape[_axis_across(volume, pool.slices.plane)] = 1
    if sorted(shape)[1] == 1:
        raise RecipeError(
            f"Volume {volume.volume_id}: a {pool.slices.plane} slice of an item of {volume.item_shape_zyx} voxels "
            "(Z, Y, X) would be a line. Ask for the plane that its images lie in, or ingest scans only."
        )
    return shape[0], shape[1], shape[2]


def candidate_patches(volume: Volume, pool: PoolRecipe) -> tuple[Patch, ...]:
    """Every candidate of a volume. None straddles two items."""
    shape = patch_shape_in(volume, pool)
    return tuple(Patch(volume.volume_id, (z, y, x), shape) for z, y, x in candidate_starts(volume, pool).tolist())


def candidate_starts(volume: Volume, pool: PoolRecipe) -> npt.NDArray[np.int32]:
    """Where every candidate of a volume begins, (N, 3) in Z, Y, X. They are all of one shape (`patch_shape_in`)."""
    shape = patch_shape_in(volume, pool)
    try:
        starts = (
            _slice_starts(volume, pool) if pool.slices else tile(volume.item_shape_zyx, shape, _stride(pool, shape))
        )
    except RecipeError as error:
        raise RecipeError(f"Volume {volume.volume_id}: {error}") from None
    of_item = np.array(starts, np.int32).reshape(-1, 3)
    first_zyx = np.zeros((volume.num_items, 1, 3), np.int32)
    first_zyx[:, 0, 0] = np.arange(volume.num_items) * volume.item_shape_zyx[0]
    return (first_zyx + of_item).reshape(-1, 3)


def image_shape(shape_zyx: Zyx) -> Zyx:
    """The shape in which networks see a patch: that of an image (Z = 1) where it is one voxel thick."""
    z, y, x = np.moveaxis(np.empty(shape_zyx, np.bool_), _thin_axis(shape_zyx), 0).shape
    return z, y, x


def as_image(array_ZYX: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(…, Z, Y, X) of a patch as networks see it; a block of voxels, or a slice along Z, as it is."""
    return np.moveaxis(array_ZYX, _thin_axis(array_ZYX.shape[-3:]) - 3, -3)


def from_image(array_ZYX: npt.NDArray[Any], shape_zyx: Zyx) -> npt.NDArray[Any]:
    """What was answered of `as_image`, laid back as a patch of ``shape_zyx`` lies."""
    return np.moveaxis(array_ZYX, -3, _thin_axis(shape_zyx) - 3)


def _thin_axis(shape_zyx: Sequence[int]) -> int:
    """The axis that an image has no extent along: the first of one voxel, Z where there is none."""
    return next((axis for axis in range(3) if shape_zyx[axis] == 1), 0)


def _axis_across(volume: Volume, plane: Plane) -> int:
    return volume.grid.anatomical_axes()[_ACROSS[plane]][0]


def _slice_starts(volume: Volume, pool: PoolRecipe) -> list[Zyx]:
    """Every n-th slice of an item, as far from its first as from its last."""
    assert pool.slices is not None
    axis = _axis_across(volume, pool.slices.plane)
    size, every = volume.item_shape_zyx[axis], pool.slices.every
    starts = []
    for place in range((size - 1) % every // 2, size, every):
        start = [0, 0, 0]
        start[axis] = place
        starts.append((start[0], start[1], start[2]))
    return starts


def _stride(pool: PoolRecipe, shape: Zyx) -> Zyx:
    if pool.stride_zyx is None or pool.patch_shape_zyx is None:
        return pool.stride_zyx or shape
    pairs = zip(pool.stride_zyx, pool.patch_shape_zyx, shape, strict=True)
    z, y, x = (min(stride, cut) if cut < patch else stride for stride, patch, cut in pairs)
    return z, y, x
