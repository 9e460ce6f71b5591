"""The deformations of Models Genesis one at a time and each at its least, as Semantic Genesis takes them.

Shape letters: C = channels, Z, Y, X = space.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from hilum.nn.pretext.bezier import non_linear
from hilum.nn.pretext.cutouts import inner_boxes, outer_boxes
from hilum.nn.pretext.draws import noise
from hilum.nn.pretext.pretext import Floats
from hilum.nn.pretext.shuffling import local_pixel_shuffling

_NUM_WINDOWS = 5


def one_block(crop_CZYX: Floats, *, rng: np.random.Generator) -> Floats:
    """One block becomes noise."""
    boxes = inner_boxes(crop_CZYX.shape[1:], rng=rng, regime="code")
    while not boxes:  # Models Genesis may mask nothing; here one block is the deformation
        boxes = inner_boxes(crop_CZYX.shape[1:], rng=rng, regime="code")
    painted = crop_CZYX.copy()
    painted[:, *boxes[0]] = noise(tuple(side.stop - side.start for side in boxes[0]), rng)
    return painted


def one_window(crop_CZYX: Floats, *, rng: np.random.Generator) -> Floats:
    """All but one window becomes noise."""
    window, *_ = outer_boxes(crop_CZYX.shape[1:], rng=rng, regime="code")
    painted = np.empty_like(crop_CZYX, order="C")
    painted[:] = noise(crop_CZYX.shape[1:], rng)
    painted[:, *window] = crop_CZYX[:, *window]
    return painted


SINGLE_DEFORMATIONS: tuple[Callable[..., Floats], ...] = (
    partial(local_pixel_shuffling, num_windows=_NUM_WINDOWS),
    non_linear,
    one_block,
    one_window,
)
"""Each ``(crop, rng=…)``."""
