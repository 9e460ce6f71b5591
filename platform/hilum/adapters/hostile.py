"""Reading what strangers made: limits and one kind of refusal for every reader."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from hilum.core.errors import DataError

MAX_BYTES = 8 << 30
"""The most bytes that one file may hold once unpacked. A CT of 512 × 512 × 2,000 has 1 GiB."""

MAX_RATIO = 200
RATIO_COUNTS_FROM_BYTES = 256 << 20
"""Air packs well, but no image of this size and more packs to a two-hundredth: deflate makes that of zeros only."""

_GZIP = 16 + isal_zlib.MAX_WBITS
_BLOCK = 1 << 20
_FEED = 256 << 10
_MOST_INFLATED = 1_032
"""Deflate packs 258 bytes into two bits at best."""

_MEMBERS_FREE, _MEMBER_BYTES = 1_000, 1_024


@contextmanager
def refusing(kind: str) -> Iterator[None]:
    """Whatever a parser raises inside becomes a DataError that repeats nothing of the file, its name included."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        # A parser fed hostile bytes may raise anything at all, and quote them.
        raise DataError(
            f"Not a readable {kind} file: it is damaged, or of another kind ({type(error).__name__})."
        ) from None


def check_size(shape: Sequence[int], bytes_per_voxel: int, max_bytes: int) -> int:
    """The bytes that an image of this shape needs. Refused, before anything is allocated, above the cap."""
    if not shape or min(shape) < 1:
        raise DataError(f"Every axis needs at least one voxel; the file says {list(shape)}.")
    needed = math.prod(int(n) for n in shape) * bytes_per_voxel
    if needed > max_bytes:
        raise DataError(f"The file says it holds {in_words(needed)}; at most {in_words(max_bytes)} are read.")
    return needed


def in_words(num_bytes: int) -> str:
    """A size as one would say it.

    >>> in_words(10_000), in_words(5 << 20), in_words(3 << 30), in_words(70_000 << 40)
    ('10,000 bytes', '5 MiB', '3 GiB', '71,680,000 GiB')
    """
    if num_bytes < 0.01 * 2**20:
        return f"{num_bytes:,} bytes"
    size, unit = (num_bytes / 2**20, "MiB") if num_bytes < 0.01 * 2**30 else (num_bytes / 2**30, "GiB")
    return f"{size:,.0f} {unit}" if size >= 1000 else f"{size:.3g} {unit}"


def check_ratio(packed_bytes: int, unpacked_bytes: int) -> None:
    """Refuse what unpacks to far more than an image can honestly hold. Not for label maps: they are mostly zeros."""
    if unpacked_bytes > max(RATIO_COUNTS_FROM_BYTES, MAX_RATIO * packed_bytes):
        raise DataError(
            f"It unpacks to {unpacked_bytes / 2**20:,.0f} MiB, more than {MAX_RATIO} times its size, as files "
            "made to overflow a memory do; if it is sound, unpack it yourself and ingest that."
        )


def storable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array in a type a volume may have, in this machine's byte order; values never change beyond float32."""
    kind, width = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        return array.astype(np.uint8)
    if kind in "iu" and width <= 4:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if kind in "iu":
        low, high = int(array.min()), int(array.max())
        fitting = np.int32 if low < 0 else np.uint32
        if low < np.iinfo(fitting).min or high > np.iinfo(fitting).max:
            raise DataError(f"Integers of more than 32 bits cannot be stored; the file holds {low} to {high}.")
        return array.astype(fitting)
    if kind == "f":
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and ingest refuses that
            return array.astype(np.float32, copy=False)
    raise DataError(f"Voxels of type {array.dtype} cannot be stored; give integers or floating point numbers.")


def label_map(array_ZYX: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """A label map as uint16. Refused when a value is not a whole number from 0 to 65,534."""
    kind = array_ZYX.dtype.kind
    if kind not in "buif":
        raise DataError(f"A label map needs whole numbers; the file holds {array_ZYX.dtype}.")
    if kind == "f" and not (np.isfinite(array_ZYX).all() and (array_ZYX == np.rint(array_ZYX)).all()):
        raise DataError("A label map needs whole numbers; the file holds fractions or numbers that are not finite.")
    low, high = float(array_ZYX.min()), float(array_ZYX.max())
    if low < 0 or high > 65_534:
        raise DataError(f"Labels must be 0 to 65,534; the file holds {low:g} to {high:g}.")
    return array_ZYX.astype(np.uint16)


def gunzip(payload: bytes, *, at_most: int) -> memoryview:
    """Inflate all of ``payload``, every checksum compared. Refused when damaged, cut short or beyond ``at_most``.

    nibabel stops reading at the last voxel it needs and so never sees the checksum that follows.
    """
    packed, at, num_members, num_bytes = memoryview(payload), 0, 0, 0
    # NumPy asks for large pages, which makes writing into new memory several times cheaper.
    whole = np.empty(min(at_most, _MOST_INFLATED * len(packed)), np.uint8).data
    # Members may follow one another (bgzip makes thousands), and zeros may pad the end (RFC 1952, as gzip does).
    while at < len(packed) and (packed[at] != 0 or num_members == 0):
        at, num_bytes = _inflate_member(packed, at, whole, num_bytes)
        num_members += 1
        if num_members > _MEMBERS_FREE + num_bytes // _MEMBER_BYTES:
            raise DataError(f"The gzip stream is {num_members:,} pieces of almost nothing; pack the file again.")
    if bytes(packed[at:]).strip(b"\0"):
        raise DataError("Something that is no gzip follows the gzip stream.")
    return whole[:num_bytes]


def _inflate_member(packed: memoryview, at: int, whole: memoryview, num_bytes: int) -> tuple[int, int]:
    """Add what one member holds to the ``num_bytes`` of ``whole``; returns where the next begins, and their number."""
    inflater = isal_zlib.decompressobj(_GZIP)
    feed: bytes | memoryview = b""
    while not inflater.eof:
        if not feed:
            feed = packed[at : at + _FEED]
            at += len(feed)
        try:
            block = inflater.decompress(feed, _BLOCK)
        except isal_zlib.IsalError:
            raise DataError("The gzip stream is damaged: its checksum or its structure is wrong.") from None
        if num_bytes + len(block) > len(whole):
            raise DataError(f"The gzip stream holds more than the {len(whole):,} bytes that its header announces.")
        whole[num_bytes : num_bytes + len(block)] = block
        num_bytes += len(block)
        feed = inflater.unconsumed_tail
        if not block and not feed and not inflater.eof and at >= len(packed):
            raise DataError("The gzip stream is cut short.")
    return at - len(inflater.unused_data), num_bytes


def gunzip_start(payload: bytes, num_bytes: int) -> bytes:
    """The first bytes of a gzip stream, without unpacking the rest."""
    try:
        return bytes(isal_zlib.decompressobj(_GZIP).decompress(payload[:_FEED], num_bytes))
    except isal_zlib.IsalError:
        raise DataError("The gzip stream is damaged.") from None


def is_gzip(payload: bytes) -> bool:
    return payload[:2] == b"\x1f\x8b"
