"""Patch shuffling: patches change places in pairs, and the network puts them back.

Shape letters: C = channels, Z, Y, X = space. From "Self-supervised learning for medical image analysis using image
context restoration" (https://doi.org/10.1016/j.media.2019.101539). The paper swaps isolated pairs of one size in 2D;
the patches' size, drawn anew along every axis, is that of the 3D comparison in https://arxiv.org/abs/2004.07882.
"""

import numpy as np
from pydantic import Field, model_validator

from hilum.core.registry import Params, pretexts
from hilum.nn.pretext.pretext import Floats
from hilum.nn.pretext.restoring import Restoring


class PatchShufflingParams(Params):
    """``num_swaps`` pairs change places, of patches between these shares of the crop's sides."""

    num_swaps: int = Field(default=10, ge=1)
    least_share: float = Field(default=0.25, gt=0, le=0.5)
    most_share: float = Field(default=0.5, gt=0, le=0.5)

    @model_validator(mode="after")
    def _least_is_below_most(self) -> "PatchShufflingParams":
        if self.least_share > self.most_share:
            raise ValueError(f"least_share {self.least_share} must not be above most_share {self.most_share}")
        return self


@pretexts.register("patch_shuffling", params=PatchShufflingParams)
class PatchShuffling(Restoring):
    """Swapped, the voxels are all still there: only where they belong has to be known."""

    def __init__(self, *, num_swaps: int, least_share: float, most_share: float) -> None:
        self._num_swaps, self._shares = num_swaps, (least_share, most_share)

    def damaged(self, crop_CZYX: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, None]:
        shuffled = crop_CZYX.copy()
        for _ in range(self._num_swaps):
            swap_patches(shuffled, rng, shares=self._shares)
        return shuffled, crop_CZYX, None


def swap_patches(crop_CZYX: Floats, rng: np.random.Generator, *, shares: tuple[float, float]) -> None:
    """Swap, in place, two patches of one size that have no voxel in common; nothing in a crop of one voxel."""
    space = crop_CZYX.shape[1:]
    sizes = [_size(length, rng, shares) for length in space]
    roomy = [axis for axis, (length, size) in enumerate(zip(space, sizes, strict=True)) if 2 * size <= length]
    if not roomy:
        return
    one, other = ([int(rng.integers(have - size + 1)) for have, size in zip(space, sizes, strict=True)] for _ in "ab")
    # Apart along one axis is apart; drawn so, and not by trial and error, it takes one draw.
    apart = roomy[int(rng.integers(len(roomy)))]
    first, second = sorted(rng.integers(space[apart] - 2 * sizes[apart] + 1, size=2).tolist())
    one[apart], other[apart] = first, second + sizes[apart]
    here, there = (
        (slice(None), *(slice(start, start + size) for start, size in zip(starts, sizes, strict=True)))
        for starts in (one, other)
    )
    kept = crop_CZYX[here].copy()
    crop_CZYX[here] = crop_CZYX[there]
    crop_CZYX[there] = kept


def _size(length: int, rng: np.random.Generator, shares: tuple[float, float]) -> int:
    least, most = max(1, int(np.ceil(shares[0] * length))), max(1, int(shares[1] * length))
    return int(rng.integers(min(least, most), most + 1))
