"""Masked autoencoder for convolutional networks: most cubes of the crop are blank, the network fills them in.

Shape letters: C = channels, Z, Y, X = space.

"Revisiting MAE pre-training for 3D medical image segmentation" (https://arxiv.org/abs/2410.23132) has it that whole
cubes are masked at once, that a share of 0.75 of them is, that a plain U-Net is shown the masked crop, and that mean
squared error counts on masked voxels alone. Ours are: grey levels between 0 and 1 (theirs are z-scores) and so a
sigmoid; the constant ``fill`` on masked voxels; cubes of 16 voxels, for crops far smaller than theirs of 160. Their
sparse convolutions and mask token, which keep masked voxels out of the encoder's features, are not here: every
architecture can be trained.
"""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hilum.core.geometry import Zyx
from hilum.core.registry import Params, pretexts
from hilum.nn.pretext.pretext import Floats
from hilum.nn.pretext.restoring import Restoring


class MaskedParams(Params):
    """``ratio`` of the cubes of ``cube`` voxels a side are masked, at least one and never all, by ``fill``."""

    ratio: float = Field(default=0.75, gt=0, lt=1)
    cube: int = Field(default=16, ge=1)
    fill: float = Field(default=0.0, ge=0, le=1)


@pretexts.register("masked", params=MaskedParams)
class Masked(Restoring):
    """What is missing is asked for, and nothing else."""

    def __init__(self, *, ratio: float, cube: int, fill: float) -> None:
        self._ratio, self._cube, self._fill = ratio, cube, fill

    def damaged(self, crop_CZYX: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        _, *shape_zyx = crop_CZYX.shape
        mask_ZYX = masked_voxels((shape_zyx[0], shape_zyx[1], shape_zyx[2]), rng, ratio=self._ratio, cube=self._cube)
        shown = np.where(mask_ZYX, np.float32(self._fill), crop_CZYX)
        return shown, crop_CZYX, np.broadcast_to(mask_ZYX, crop_CZYX.shape).astype(np.float32)


def masked_voxels(shape_zyx: Zyx, rng: np.random.Generator, *, ratio: float, cube: int) -> npt.NDArray[np.bool_]:
    """True where a voxel is masked. A cube is at most half as long as a side (or a voxel).

    The grid starts at the crop's corner; the last cubes are shorter where a side is no multiple.
    """
    sides = _sides(shape_zyx, cube)
    grid = [-(-length // side) for length, side in zip(shape_zyx, sides, strict=True)]
    num_cubes = int(np.prod(grid))
    num_masked = min(max(1, round(ratio * num_cubes)), max(1, num_cubes - 1))
    mask = np.zeros(num_cubes, np.bool_)
    mask[rng.permutation(num_cubes)[:num_masked]] = True
    voxels: npt.NDArray[np.bool_] = mask.reshape(grid)
    for axis, side in enumerate(sides):
        voxels = voxels.repeat(side, axis=axis)
    z, y, x = shape_zyx
    return voxels[:z, :y, :x]


def _sides(shape_zyx: Zyx, cube: int) -> list[int]:
    """A cube's sides: one slice of a 2D crop, else short enough that every axis has two."""
    return [max(1, min(cube, length // 2)) for length in shape_zyx]
