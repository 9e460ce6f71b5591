"""Unpacking stops at its limit, and whatever a parser does becomes one kind of refusal."""

import gzip
import pickle
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.hostile import (
    MAX_RATIO,
    RATIO_COUNTS_FROM_BYTES,
    check_ratio,
    check_size,
    gunzip,
    gunzip_start,
    label_map,
    refusing,
    storable,
)
from hilum.core.errors import DataError


@given(st.binary(max_size=5000), st.integers(1, 9))
def test_what_was_packed_is_unpacked(payload, level):
    packed = gzip.compress(payload, level)
    assert gunzip(packed, at_most=len(payload)) == payload
    assert payload.startswith(gunzip_start(packed, 10)[:10])


@given(st.binary(min_size=1, max_size=2000), st.integers(0, 2**32 - 1))
def test_a_stream_cut_short_or_with_a_wrong_checksum_is_refused(payload, seed):
    packed = gzip.compress(payload, mtime=0)
    keep = seed % len(packed)
    damaged = bytearray(packed)
    damaged[len(packed) - 1 - seed % 8] ^= 0xFF
    for bad in (packed[:keep] or b"\x1f", bytes(damaged)):
        with pytest.raises(DataError):
            gunzip(bad, at_most=10_000)


def test_a_bomb_costs_no_more_memory_than_its_limit():
    bomb = gzip.compress(bytes(200 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match="more than"):
        gunzip(bomb, at_most=8 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20


def test_any_exception_of_a_parser_becomes_a_refusal_that_repeats_nothing():
    for raised in (
        ValueError("Jane Doe"),
        MemoryError("Jane"),
        KeyError("Jane"),
        RecursionError("Jane"),
        OSError("Jane"),
    ):
        with pytest.raises(DataError) as caught, refusing("NIfTI"):
            raise raised
        assert "Jane" not in str(caught.value)
        assert type(raised).__name__ in str(caught.value)
        assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


def test_our_own_refusals_pass_and_interruptions_are_not_swallowed():
    with pytest.raises(DataError, match="as it was"), refusing("PNG"):
        raise DataError("as it was")
    with pytest.raises(KeyboardInterrupt), refusing("PNG"):
        raise KeyboardInterrupt


@given(st.lists(st.integers(-3, 10**6), max_size=7), st.integers(1, 16), st.integers(1, 2**40))
def test_a_size_is_allowed_exactly_when_all_axes_are_and_the_product_fits(shape, width, limit):
    needed = width
    for n in shape:
        needed *= n
    if shape and min(shape) >= 1 and needed <= limit:
        assert check_size(shape, width, limit) == needed
        return
    with pytest.raises(DataError):
        check_size(shape, width, limit)


@given(st.sampled_from(["?", "<i1", ">u2", "<i4", ">i8", "<u8", "<f2", ">f4", "<f8"]), st.integers(0, 100))
def test_values_survive_the_change_to_a_storable_type(dtype, value):
    array = np.full((2, 3), value).astype(dtype)
    kept = storable(array)
    assert kept.dtype.isnative
    assert kept.dtype.name in {"uint8", "int8", "uint16", "int32", "uint32", "float32"}
    assert np.array_equal(kept.astype(float), array.astype(float))


@given(st.integers(0, 65_534), st.sampled_from(["uint16", "int32", "float64", "uint32"]))
def test_every_label_from_0_to_65534_is_kept(label, dtype):
    assert label_map(np.full((1, 2, 2), label).astype(dtype))[0, 0, 0] == label


@pytest.mark.parametrize("bad", [65_535, -1, 0.25, np.nan, np.inf])
def test_what_is_no_label_is_refused(bad):
    with pytest.raises(DataError):
        label_map(np.full((1, 2, 2), bad))


def test_thousands_of_members_are_one_stream_and_thousands_of_nothing_are_refused():
    pieces = [np.random.default_rng(n).bytes(3000) for n in range(1200)]
    assert gunzip(b"".join(gzip.compress(p) for p in pieces), at_most=4 << 20) == b"".join(pieces)
    with pytest.raises(DataError, match="pieces of almost nothing"):
        gunzip(gzip.compress(b"") * 3000, at_most=4 << 20)


@pytest.mark.parametrize("after", [b"x", b"\0\0x", b"PK", bytes(200_000) + b"\1"])
def test_what_follows_a_stream_must_be_another_one_or_zeros(after):
    with pytest.raises(DataError):
        gunzip(gzip.compress(b"abc") + after, at_most=100)
    assert gunzip(gzip.compress(b"abc") + bytes(200_000), at_most=100) == b"abc"


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 40))
def test_only_what_is_both_large_and_packed_beyond_belief_is_taken_for_a_bomb(packed, unpacked):
    is_bomb = unpacked > RATIO_COUNTS_FROM_BYTES and unpacked > MAX_RATIO * packed
    if is_bomb:
        with pytest.raises(DataError, match="times its size"):
            check_ratio(packed, unpacked)
    else:
        check_ratio(packed, unpacked)


@pytest.mark.parametrize("trailer_begins", range(-9, 1))
def test_a_checksum_that_arrives_in_two_pieces_is_compared_to_its_last_bit(trailer_begins):
    """A stream is fed in pieces of 256 KiB; the eight bytes that end it may lie on both sides of such a border."""
    payload = np.random.default_rng(1).bytes((256 << 10) + trailer_begins - 10 - 4 * 5 - 5)
    packed = gzip.compress(payload, 0, mtime=0)
    assert -9 <= len(packed) - 8 - (256 << 10) <= 0
    assert gunzip(packed, at_most=len(payload)) == payload
    for bit in range(64):
        damaged = bytearray(packed)
        damaged[-1 - bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataError, match="damaged"):
            gunzip(bytes(damaged), at_most=len(payload))
    for missing in range(1, 9):
        with pytest.raises(DataError, match="cut short"):
            gunzip(packed[:-missing], at_most=len(payload))


@given(st.binary(max_size=400), st.binary(max_size=400), st.data())
def test_what_pythons_own_reader_makes_of_a_damaged_stream_is_made_of_it_here(first, second, data):
    packed = bytearray(gzip.compress(first * 3, mtime=0) + gzip.compress(second, mtime=0))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        expected = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        with pytest.raises(DataError):
            gunzip(bytes(packed), at_most=10_000)
    else:
        assert gunzip(bytes(packed), at_most=10_000) == expected
