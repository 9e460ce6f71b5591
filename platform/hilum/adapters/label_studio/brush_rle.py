"""Label Studio's brush regions: the run-length code of a picture whose fourth channel is the mask.

The code is thi.ng's rle-pack (https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack): bytes of an
RGBA picture, row by row, as packets of bits. Encoding gives the very bits of the SDK (which adds one zero byte
where the last packet ends on a byte).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError
from hilum.nn.compiled import compiled

PAINTED = 128
"""A pixel is painted from this alpha upwards: brushes have soft edges."""

MAX_PIXELS = 1 << 24
"""The largest page that is read (4,096 × 4,096)."""

Mask = npt.NDArray[np.bool_]

_CHANNELS = 4
_HEADER_BITS = 32 + 5 + 4 * 4
_MOST_BITS_PER_RUN = 3 + 16 + 8
_MOST_BYTES_PER_VALUE = 2
_RUNS = ((3, 1 << 3), (4, 1 << 4), (8, 1 << 8), (16, 1 << 16))
"""Bits of a run's length, and the longest run they can say."""

_GOOD, _TRUNCATED, _TOO_LONG, _TRAILING = range(4)
_PROBLEMS = {
    _TRUNCATED: "it ends before the picture does",
    _TOO_LONG: "a run goes past the end of the picture",
    _TRAILING: "something follows the end of the picture",
}


def encode(mask_YX: Mask) -> list[int]:
    """A mask as Label Studio's ``rle``: 255 in all channels where it is true, 0 elsewhere."""
    if mask_YX.ndim != 2 or not 1 <= mask_YX.size <= MAX_PIXELS:
        raise DataError(f"A mask of shape {mask_YX.shape} cannot be a page; give rows × columns, 1 to {MAX_PIXELS}.")
    pixels_N = np.ascontiguousarray(mask_YX, dtype=bool).ravel().view(np.uint8)
    num_runs = int(np.count_nonzero(pixels_N[1:] != pixels_N[:-1])) + 1
    num_runs += pixels_N.size * _CHANNELS // _RUNS[-1][1]
    packed = np.zeros((_HEADER_BITS + num_runs * _MOST_BITS_PER_RUN) // 8 + 2, np.uint8)
    num_bytes = _pack(pixels_N, packed)
    encoded: list[int] = packed[:num_bytes].tolist()
    return encoded


def decode(rle: object, shape_yx: tuple[int, int]) -> Mask:
    """The mask that an ``rle`` paints on a page of ``shape_yx``; DataError where it is none of that size.

    The size is compared before anything is allocated. Alpha from `PAINTED` upwards is painted.
    """
    num_pixels = shape_yx[0] * shape_yx[1]
    if not 1 <= num_pixels <= MAX_PIXELS:
        raise DataError(f"the page of {shape_yx[0]} × {shape_yx[1]} pixels is not 1 to {MAX_PIXELS} pixels")
    packed = _as_bytes(rle, num_pixels)
    num_values, word_bits, sizes = _header(packed)
    if num_values != num_pixels * _CHANNELS:
        raise DataError(
            f"its run-length code is of {num_values:,} values; "
            f"a page of {shape_yx[0]} × {shape_yx[1]} pixels has {num_pixels * _CHANNELS:,}"
        )
    if word_bits != 8:
        raise DataError(f"its run-length code has {word_bits} bits a value; allowed are 8")
    alpha_N = np.zeros(num_pixels, np.uint8)
    problem = _unpack(packed, np.asarray(sizes, np.int64), alpha_N)
    if problem != _GOOD:
        raise DataError(f"its run-length code is damaged: {_PROBLEMS[problem]}")
    return painted(alpha_N.reshape(shape_yx))


def painted(alpha_YX: npt.NDArray[np.uint8]) -> Mask:
    """Where alpha counts as paint."""
    is_painted: Mask = alpha_YX >= PAINTED
    return is_painted


def _as_bytes(rle: object, num_pixels: int) -> npt.NDArray[np.uint8]:
    if not isinstance(rle, list) or not rle:
        raise DataError("its run-length code is no list of bytes")
    longest = _HEADER_BITS + num_pixels * _CHANNELS * _MOST_BYTES_PER_VALUE
    if len(rle) > longest:
        raise DataError(f"its run-length code has {len(rle):,} bytes; a page of this size needs {longest:,} at most")
    try:
        raw = bytes(rle)
    except (TypeError, ValueError):
        raise DataError("its run-length code is no list of bytes (whole numbers from 0 to 255)") from None
    if len(raw) * 8 < _HEADER_BITS:
        raise DataError("its run-length code is damaged: it ends before the picture begins")
    return np.frombuffer(raw, np.uint8)


def _header(packed: npt.NDArray[np.uint8]) -> tuple[int, int, Sequence[int]]:
    """How many values, of how many bits, and the four sizes that a run's length may have."""
    bits = int.from_bytes(packed[: (_HEADER_BITS + 7) // 8].tobytes(), "big") >> (-_HEADER_BITS % 8)
    sizes = [(bits >> shift & 15) + 1 for shift in (12, 8, 4, 0)]
    return bits >> 21, (bits >> 16 & 31) + 1, sizes


@compiled
def _pack(pixels_N: Any, packed: Any) -> int:  # pragma: no cover (machine code)
    """Write header and packets; how many bytes there are."""
    num = pixels_N.size * 4
    packed[0], packed[1], packed[2], packed[3] = num >> 24 & 255, num >> 16 & 255, num >> 8 & 255, num & 255
    # Five bits say 8 − 1, four times four bits say 3 − 1, 4 − 1, 8 − 1, 16 − 1.
    packed[4], packed[5] = 0b00111001, 0b00011011
    pending, num_pending, at = 0b11111, 5, 6
    # Of header byte 6 five bits remain: 1 1111.
    start = 0
    while start < pixels_N.size:
        stop = start + 1
        while stop < pixels_N.size and pixels_N[stop] == pixels_N[start]:
            stop += 1
        value = 255 if pixels_N[start] else 0
        left = (stop - start) * 4
        while left > 0:
            run = min(left, 65536)
            left -= run
            kind, size = (0, 3) if run <= 8 else (1, 4) if run <= 16 else (2, 8) if run <= 256 else (3, 16)
            pending = (((pending << 3 | 4 | kind) << size) | (run - 1)) << 8 | value
            num_pending += 11 + size
            while num_pending >= 8:
                num_pending -= 8
                packed[at] = pending >> num_pending & 255
                at += 1
            pending &= (1 << num_pending) - 1
        start = stop
    if num_pending:
        packed[at] = pending << (8 - num_pending) & 255
        at += 1
    return at


@compiled
def _unpack(packed: Any, sizes: Any, alpha_N: Any) -> int:  # pragma: no cover (machine code)
    """Fill the alpha of every pixel; what is wrong with the packets, if anything."""
    num_bits = packed.size * 8
    num_values = alpha_N.size * 4
    at, done = 53, 0
    while done < num_values:
        if at + 3 > num_bits:
            return 1
        head = _bits(packed, at, 3)
        size = sizes[head & 3]
        at += 3
        if at + size + 8 > num_bits:
            return 1
        run = _bits(packed, at, size) + 1
        at += size
        if done + run > num_values:
            return 2
        if head & 4:
            value = _bits(packed, at, 8)
            at += 8
            # Value 4q + 3 is the alpha of pixel q.
            if value:
                for q in range(done // 4, (done + run) // 4):
                    alpha_N[q] = value
        else:
            if at + run * 8 > num_bits:
                return 1
            for q in range(done // 4, (done + run) // 4):
                alpha_N[q] = _bits(packed, at + (4 * q + 3 - done) * 8, 8)
            at += run * 8
        done += run
    # Spare bits and bytes are zero: the SDK adds one.
    while at < num_bits:
        step = min(8 - (at & 7), num_bits - at)
        if _bits(packed, at, step):
            return 3
        at += step
    return 0


@compiled
def _bits(packed: Any, at: int, num: int) -> int:  # pragma: no cover (machine code)
    """``num`` bits (16 at most) from bit ``at`` on, the highest first."""
    first = at >> 3
    window = 0
    for k in range(3):
        window <<= 8
        if first + k < packed.size:
            window |= packed[first + k]
    return window >> (24 - (at & 7) - num) & ((1 << num) - 1)
