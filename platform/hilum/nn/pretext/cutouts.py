"""Painting: blocks of the crop become noise (in-painting), or everything but some windows does (out-painting).

Sizes go by the axis. ``regime`` "code" is what the original's code does, "paper" what its text says: up to ten
blocks, and less than a quarter of the voxels masked.
Shape letters: C = channels, Z, Y, X = space.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hilum.nn.pretext.draws import noise
from hilum.nn.pretext.flips import num_in_a_row
from hilum.nn.pretext.pretext import Floats
from hilum.nn.pretext.shuffling import Regime

Mask = npt.NDArray[np.bool_]
Box = tuple[slice, ...]
Sizes = npt.NDArray[np.int64]

GOES_ON = 0.95
MOST_BOXES: dict[Regime, int] = {"code": 5, "paper": 10}
MOST_MASKED = 0.25
BORDER = 3


def inner_cutout(crop_CZYX: Floats, *, rng: np.random.Generator, regime: Regime = "code") -> Floats:
    """Blocks of noise, the same in every channel, a sixth to a third of each axis long."""
    out_CZYX = crop_CZYX.copy()
    for box in inner_boxes(crop_CZYX.shape[1:], rng=rng, regime=regime):
        out_CZYX[:, *box] = noise(tuple(side.stop - side.start for side in box), rng)
    return out_CZYX


def outer_cutout(crop_CZYX: Floats, *, rng: np.random.Generator, regime: Regime = "code") -> Floats:
    """Noise, the same in every channel, with windows through which the crop is seen."""
    shape_zyx = crop_CZYX.shape[1:]
    boxes = outer_boxes(shape_zyx, rng=rng, regime=regime)
    out_CZYX = np.empty_like(crop_CZYX, order="C")
    out_CZYX[:] = noise(shape_zyx, rng)
    for box in boxes:
        out_CZYX[:, *box] = crop_CZYX[:, *box]
    return out_CZYX


def inner_boxes(shape_zyx: tuple[int, ...], *, rng: np.random.Generator, regime: Regime) -> list[Box]:
    """The blocks that are masked."""
    boxes = _drawn_boxes(shape_zyx, inner_sizes(shape_zyx), border=BORDER, num=MOST_BOXES[regime], rng=rng)
    wanted = boxes[: num_in_a_row(rng.random(len(boxes)) < GOES_ON)]
    if regime == "code":
        return wanted
    return [box for box, masked in zip(wanted, _shares(wanted, shape_zyx), strict=True) if masked < MOST_MASKED]


def outer_boxes(shape_zyx: tuple[int, ...], *, rng: np.random.Generator, regime: Regime) -> list[Box]:
    """The windows that are left: one, and more after it."""
    num, border = MOST_BOXES[regime], BORDER if regime == "code" else 0
    boxes = _drawn_boxes(shape_zyx, outer_sizes(shape_zyx, regime), border=border, num=num, rng=rng)
    if regime == "code":
        return boxes[: 1 + num_in_a_row(rng.random(num - 1) < GOES_ON)]
    # Ten windows that are too few for the paper's limit are hardly ever met with, and never in crops of a useful size.
    enough = [place for place, seen in enumerate(_shares(boxes, shape_zyx)) if seen > 1 - MOST_MASKED]
    return boxes[: enough[0] + 1] if enough else [tuple(slice(0, size) for size in shape_zyx)]


def inner_sizes(shape_zyx: tuple[int, ...]) -> tuple[Sizes, Sizes]:
    """The least and the most voxels of a masked block along each axis."""
    shape = np.array(shape_zyx)
    return np.maximum(1, shape // 6), np.maximum(1, shape // 3)


def outer_sizes(shape_zyx: tuple[int, ...], regime: Regime) -> tuple[Sizes, Sizes]:
    """The least and the most voxels of a window that is left.

    The code's windows, three to four sevenths long and off the border, mask two thirds of a cube and could never
    mask less than a quarter. For the paper's limit they are six sevenths long to one voxel short of all.
    """
    shape = np.array(shape_zyx)
    if regime == "code":
        return shape - 4 * shape // 7, shape - 3 * shape // 7
    return np.maximum(1, shape - -(-shape // 7)), np.maximum(1, shape - 1)


def _drawn_boxes(
    shape_zyx: tuple[int, ...], sizes: tuple[Sizes, Sizes], *, border: int, num: int, rng: np.random.Generator
) -> list[Box]:
    """Boxes that keep ``border`` voxels off the sides, as far as they have room to."""
    least, most = sizes
    shape = np.array(shape_zyx)
    drawn = rng.integers(least, most + 1, (num, len(shape)))
    kept = np.minimum(border, (shape - drawn) // 2)
    starts = rng.integers(kept, shape - drawn - kept + 1)
    return [
        tuple(slice(int(a), int(a + n)) for a, n in zip(*sides, strict=True))
        for sides in zip(starts, drawn, strict=True)
    ]


def _shares(boxes: list[Box], shape_zyx: tuple[int, ...]) -> Iterator[float]:
    """The share of voxels that are in a box or one before it."""
    inside = np.zeros(shape_zyx, np.bool_)
    for box in boxes:
        inside[box] = True
        yield float(inside.mean())
