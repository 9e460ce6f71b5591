"""Local pixel shuffling: voxels change places within many small windows, so that texture must be mended.

Shape letters: C = channels, V = voxels in their order, Z, Y, X = space.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from hilum.nn.compiled import compiled
from hilum.nn.pretext.draws import high_below, key_from, low_below, word
from hilum.nn.pretext.pretext import Floats

Ints = npt.NDArray[np.integer]
Regime = Literal["code", "paper"]

NUM_WINDOWS: dict[Regime, int] = {"code": 10_000, "paper": 1_000}
"""In a cube of 64 × 64 × 32 they touch 82 % and 16 % of the voxels."""

SLICES_PER_WINDOW_OF_ONE = 16
"""Of the windows in such a cube, 2 of 32 slices deep on average, one in sixteen touches a given slice."""

_PARTS = 10


def local_pixel_shuffling(crop_CZYX: Floats, *, rng: np.random.Generator, num_windows: int = 10_000) -> Floats:
    """Windows of 1 voxel to a tenth of each axis, anywhere: what is in one in the crop is written back in random order.

    Later windows write over earlier ones; each takes from the crop as it was. Channels change places together.
    """
    out_CZYX = np.array(crop_CZYX, order="C")
    write_windows(crop_CZYX, out_CZYX, rng=rng, num_windows=num_windows)
    return out_CZYX


def write_windows(crop_CZYX: Floats, out_CZYX: Floats, *, rng: np.random.Generator, num_windows: int) -> None:
    """Write the windows of a crop, shuffled, into ``out_CZYX``, and leave there what is in none of them."""
    num_channels, *shape_zyx = crop_CZYX.shape
    flat_CV, out_CV = np.ascontiguousarray(crop_CZYX).reshape(num_channels, -1), out_CZYX.reshape(num_channels, -1)
    assert np.shares_memory(out_CV, out_CZYX), "contiguous"
    shape, largest = np.array(shape_zyx), np.array(most_zyx(shape_zyx))
    _shuffle(flat_CV, out_CV, shape, largest, num_windows, key=key_from(rng))


def most_zyx(shape_zyx: list[int] | tuple[int, ...]) -> list[int]:
    """The longest a window can be along each axis."""
    return [max(1, size // _PARTS) for size in shape_zyx]


def num_windows_for(regime: Regime, shape_zyx: tuple[int, ...]) -> int:
    """The regime's number; for a single slice, as many of them as touch a slice of a cube."""
    return NUM_WINDOWS[regime] // (SLICES_PER_WINDOW_OF_ONE if shape_zyx[0] == 1 else 1)


@compiled
def _shuffle(
    flat_CV: Floats, out_CV: Floats, shape_zyx: Ints, largest_zyx: Ints, num_windows: int, *, key: np.uint64
) -> None:
    size, start = np.empty(3, np.int64), np.empty(3, np.int64)
    into = np.empty(largest_zyx[0] * largest_zyx[1] * largest_zyx[2], np.int32)
    taken = np.empty_like(into)
    num_words = np.uint64(0)
    for _ in range(num_windows):
        for axis in range(3):
            bits = word(key, num_words)
            num_words += np.uint64(1)
            size[axis] = 1 + low_below(bits, largest_zyx[axis])
            start[axis] = high_below(bits, shape_zyx[axis] - size[axis] + 1)
        num_voxels = 0
        for z in range(start[0], start[0] + size[0]):
            for y in range(start[1], start[1] + size[1]):
                row = (z * shape_zyx[1] + y) * shape_zyx[2] + start[2]
                for x in range(row, row + size[2]):
                    into[num_voxels] = x
                    num_voxels += 1
        num_words = _in_random_order(into, taken, num_voxels, key, num_words)
        for channel in range(flat_CV.shape[0]):
            for place in range(num_voxels):
                out_CV[channel, into[place]] = flat_CV[channel, taken[place]]


@compiled
def _in_random_order(into: Ints, taken: Ints, num: int, key: np.uint64, num_words: np.uint64) -> np.uint64:
    """Fisher and Yates from the inside out, two places to a word; how many words have been used now."""
    for place in range(0, num - 1, 2):
        bits = word(key, num_words)
        num_words += np.uint64(1)
        other = low_below(bits, place + 1)
        taken[place] = taken[other]
        taken[other] = into[place]
        other = high_below(bits, place + 2)
        taken[place + 1] = taken[other]
        taken[other] = into[place + 1]
    if num % 2:
        other = low_below(word(key, num_words), num)
        num_words += np.uint64(1)
        taken[num - 1] = taken[other]
        taken[other] = into[num - 1]
    return num_words
