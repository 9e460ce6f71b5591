"""Flips: crop and target alike, so that left and right, up and down teach the same.

Shape letters: C = channels, Z, Y, X = space.
"""

import numpy as np

from hilum.nn.pretext.pretext import Floats

MOST_FLIPS = 3


def random_flips(crop_CZYX: Floats, *, rng: np.random.Generator, probability: float = 0.4) -> Floats:
    """Up to three flips, each of an axis at random, going on with ``probability`` each time.

    All three axes of space can be flipped; the original's code never flips the third and counts
    flips of the channel axis, which do nothing. An axis of one voxel is passed over.
    """
    return np.ascontiguousarray(np.flip(crop_CZYX, drawn_flips(crop_CZYX.shape[1:], rng=rng, probability=probability)))


def drawn_flips(shape_zyx: tuple[int, ...], *, rng: np.random.Generator, probability: float) -> tuple[int, ...]:
    """The axes of a crop (1 = Z) that end up flipped: those drawn an odd number of times."""
    axes = [axis + 1 for axis, size in enumerate(shape_zyx) if size > 1]
    goes_on, which = rng.random(MOST_FLIPS) < probability, rng.random(MOST_FLIPS)
    if not axes:
        return ()
    drawn = [axes[int(share * len(axes))] for share in which[: num_in_a_row(goes_on)]]
    return tuple(axis for axis in axes if drawn.count(axis) % 2)


def num_in_a_row(goes_on: np.typing.NDArray[np.bool_]) -> int:
    """How many come before the first that does not go on."""
    return int(np.logical_and.accumulate(goes_on).sum())
