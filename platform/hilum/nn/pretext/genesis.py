"""Models Genesis: crops deformed in four ways at once, that a network restores (https://arxiv.org/abs/1908.06912).

What is wrong in the original is not repeated: every axis of space can be flipped, and what is wanted is the flipped
crop. That is so in both regimes, which differ in how much is shuffled and masked.
Shape letters: N = items, C = channels, Z, Y, X = space, S = space (Y, X or Z, Y, X).
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hilum.core.registry import Params, pretexts
from hilum.nn.pretext import batched
from hilum.nn.pretext.bezier import non_linear
from hilum.nn.pretext.cutouts import inner_boxes, inner_cutout, outer_cutout
from hilum.nn.pretext.draws import noise
from hilum.nn.pretext.flips import random_flips
from hilum.nn.pretext.pretext import Floats
from hilum.nn.pretext.restoring import Restoring
from hilum.nn.pretext.shuffling import Regime, local_pixel_shuffling, num_windows_for


class RegimeParams(Params):
    """``regime``: as much shuffled and masked as the original's "code" does, or as its "paper" says."""

    regime: Regime = "code"


class GenesisParams(RegimeParams):
    """How likely each deformation is.

    Flips go on with ``flip_probability``, at most three. Of the painted crops, ``in_paint_share`` are in-painted,
    the others out-painted.
    """

    flip_probability: float = Field(default=0.4, ge=0, le=1)
    shuffle_probability: float = Field(default=0.5, ge=0, le=1)
    non_linear_probability: float = Field(default=0.9, ge=0, le=1)
    paint_probability: float = Field(default=0.9, ge=0, le=1)
    in_paint_share: float = Field(default=0.2, ge=0, le=1)


@pretexts.register("genesis", params=GenesisParams)
class Genesis(Restoring):
    """Flipped, shuffled, its grey levels bent and painted over; the flipped crop is wanted.

    By default one crop in two hundred is not damaged: a network has to know that as well.
    """

    poses_batches = True

    def __init__(
        self,
        *,
        regime: Regime,
        flip_probability: float,
        shuffle_probability: float,
        non_linear_probability: float,
        paint_probability: float,
        in_paint_share: float,
    ) -> None:
        self._regime: Regime = regime
        self._flip, self._shuffle, self._non_linear = flip_probability, shuffle_probability, non_linear_probability
        self._paint, self._in_paint = paint_probability, in_paint_share

    def damaged(self, crop_CZYX: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, None]:
        wanted_CZYX = random_flips(crop_CZYX, rng=rng, probability=self._flip)
        shuffled, bent, painted, inner = rng.random(4)
        shown_CZYX = wanted_CZYX
        if shuffled < self._shuffle:
            num = num_windows_for(self._regime, crop_CZYX.shape[1:])
            shown_CZYX = local_pixel_shuffling(shown_CZYX, rng=rng, num_windows=num)
        if bent < self._non_linear:
            shown_CZYX = non_linear(shown_CZYX, rng=rng)
        if painted < self._paint:
            cutout = inner_cutout if inner < self._in_paint else outer_cutout
            shown_CZYX = cutout(shown_CZYX, rng=rng, regime=self._regime)
        return shown_CZYX, wanted_CZYX, None

    def pose_batch(self, crops_NCS: Tensor, rng: torch.Generator) -> tuple[Tensor, ...]:
        wanted_NCZYX = batched.random_flips(batched.with_depth(crops_NCS), rng=rng, probability=self._flip)
        shuffled, bent, painted, inner = torch.rand((4, len(crops_NCS)), generator=rng, device=rng.device)
        painted, inner = painted < self._paint, inner < self._in_paint
        num = num_windows_for(self._regime, tuple(wanted_NCZYX.shape[2:]))
        deformations: list[tuple[Tensor, Callable[[Tensor], Tensor]]] = [
            (shuffled < self._shuffle, partial(batched.local_pixel_shuffling, rng=rng, num_windows=num)),
            (bent < self._non_linear, partial(batched.non_linear, rng=rng)),
            (painted & inner, partial(batched.inner_cutout, rng=rng, regime=self._regime)),
            (painted & ~inner, partial(batched.outer_cutout, rng=rng, regime=self._regime)),
        ]
        shown_NCZYX = wanted_NCZYX.clone()
        for chosen_N, deformed in deformations:
            rows = chosen_N.nonzero()[:, 0].to(shown_NCZYX.device)
            if len(rows):
                shown_NCZYX[rows] = deformed(shown_NCZYX[rows])
        return shown_NCZYX.reshape(crops_NCS.shape), wanted_NCZYX.reshape(crops_NCS.shape)


@pretexts.register("in_painting", params=RegimeParams)
class InPainting(Restoring):
    """Blocks of noise as in Models Genesis, and only what they hide counts (the comparison's in-painting).

    A crop of which nothing is hidden, one in twenty, adds nothing to the loss.
    """

    poses_batches = True

    def __init__(self, *, regime: Regime) -> None:
        self._regime: Regime = regime

    def damaged(self, crop_CZYX: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        shown_CZYX, counted_CZYX = crop_CZYX.copy(), np.zeros_like(crop_CZYX)
        for box in inner_boxes(crop_CZYX.shape[1:], rng=rng, regime=self._regime):
            shown_CZYX[:, *box] = noise(tuple(side.stop - side.start for side in box), rng)
            counted_CZYX[:, *box] = 1
        return shown_CZYX, crop_CZYX, counted_CZYX

    def pose_batch(self, crops_NCS: Tensor, rng: torch.Generator) -> tuple[Tensor, ...]:
        crops_NCZYX = batched.with_depth(crops_NCS)
        hidden_N1ZYX = batched.inner_masks(crops_NCZYX, rng=rng, regime=self._regime)
        shown_NCZYX = batched.with_noise(crops_NCZYX, hidden_N1ZYX, rng=rng)
        counted_NCZYX = hidden_N1ZYX.expand_as(crops_NCZYX).float()
        return shown_NCZYX.reshape(crops_NCS.shape), crops_NCS, counted_NCZYX.reshape(crops_NCS.shape)
