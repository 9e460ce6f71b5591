import contextlib
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.adapters.label_studio.masks import any_small_mask, mask, random_masks, thousand_masks

from hilum.adapters.label_studio import brush_rle
from hilum.core.errors import DataError


def _sdk_masks():
    y, x = np.mgrid[:96, :128]
    return {
        "empty": np.zeros((16, 24), bool),
        "full": np.ones((300, 300), bool),
        "corner": np.pad(np.ones((1, 1), bool), ((6, 0), (8, 0))),
        "disk": (y - 40) ** 2 + (x - 70) ** 2 < 30**2,
        "stripes": (np.arange(64 * 64).reshape(64, 64) // 3) % 2 == 0,
    }


# SHA-256 of what label_studio_sdk 2.1.2's mask2rle gives for these masks, times 255.
SDK_DIGESTS = {
    "empty": "19420ed5412a286f",
    "full": "2a27cc7e1c71f064",
    "corner": "f64dbae1ae9697dc",
    "disk": "b2489779a6454e71",
    "stripes": "3ab7d4774eeb446c",
}


@pytest.mark.parametrize("name", SDK_DIGESTS)
def test_the_bits_are_those_of_the_sdk_but_for_its_spare_byte(name):
    encoded = brush_rle.encode(_sdk_masks()[name])
    digests = [hashlib.sha256(bytes(given)).hexdigest()[:16] for given in (encoded, [*encoded, 0])]
    assert SDK_DIGESTS[name] in digests


def test_an_encoded_mask_is_seen_on_the_screen():
    # 255 in every channel: alpha 1 of 255 would be invisible.
    assert _values(brush_rle.encode(np.ones((1, 1), bool)))[-1] == 255


@given(st.one_of(any_small_mask, random_masks()))
def test_every_mask_comes_back_exactly(given_mask):
    encoded = brush_rle.encode(given_mask)
    assert np.array_equal(brush_rle.decode(encoded, given_mask.shape), given_mask)
    assert np.array_equal(brush_rle.decode([*encoded, 0], given_mask.shape), given_mask)


def test_a_thousand_masks_up_to_2048_come_back_exactly():
    for number, given_mask in enumerate(thousand_masks()):
        decoded = brush_rle.decode(brush_rle.encode(given_mask), given_mask.shape)
        assert np.array_equal(decoded, given_mask), number


@given(st.lists(st.integers(0, 255), min_size=1, max_size=40))
def test_literal_values_are_read_and_alpha_from_128_on_is_paint(alphas):
    values = [v for alpha in alphas for v in (9, 9, 9, alpha)]
    assert brush_rle.decode(_literal(values), (1, len(alphas))).tolist() == [[alpha >= 128 for alpha in alphas]]


def test_a_mask_that_is_no_view_of_its_own_memory_is_encoded_as_it_looks():
    turned = mask("organ", (40, 60), 3).T[::-1, ::2]
    assert np.array_equal(brush_rle.decode(brush_rle.encode(turned), turned.shape), turned)


@given(random_masks(), st.integers(1, 3), st.integers(-3, 3))
def test_another_size_is_refused(given_mask, more_rows, more_columns):
    shape = (given_mask.shape[0] + more_rows, max(1, given_mask.shape[1] + more_columns))
    if shape[0] * shape[1] != given_mask.size:
        with pytest.raises(DataError, match="run-length code is of"):
            brush_rle.decode(brush_rle.encode(given_mask), shape)


@given(random_masks(), st.data())
def test_a_truncated_code_is_refused(given_mask, data):
    encoded = brush_rle.encode(given_mask)
    kept = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(DataError, match=r"no list of bytes|damaged"):
        brush_rle.decode(encoded[:kept], given_mask.shape)


@given(st.lists(st.integers(0, 255), max_size=80))
def test_whatever_bytes_come_they_are_a_mask_or_a_refusal(noise):
    for rle in (noise, brush_rle.encode(np.zeros((4, 4), bool))[:7] + noise):
        with contextlib.suppress(DataError):
            assert brush_rle.decode(rle, (4, 4)).shape == (4, 4)


def test_an_absurd_size_is_refused_before_memory_is_taken():
    huge = [255, 255, 255, 252, *brush_rle.encode(np.zeros((4, 4), bool))[4:]]
    with pytest.raises(DataError, match="4,294,967,292 values"):
        brush_rle.decode(huge, (4, 4))
    with pytest.raises(DataError, match="16777216"):
        brush_rle.decode(huge, (1 << 20, 1 << 20))
    with pytest.raises(DataError, match="at most"):
        brush_rle.decode([0] * 100_000, (4, 4))


@pytest.mark.parametrize("rle", [None, 5, "rle", b"rle", {}, [], [1.5] * 9, [256] * 9, [-1] * 9, [[0]] * 9, [None] * 9])
def test_what_is_no_list_of_bytes_is_refused(rle):
    with pytest.raises(DataError, match="no list of bytes"):
        brush_rle.decode(rle, (4, 4))


def test_runs_past_the_end_and_leftovers_are_refused():
    one = brush_rle.encode(np.ones((1, 2), bool))
    with pytest.raises(DataError, match="past the end"):
        brush_rle.decode([0, 0, 0, 4, *one[4:]], (1, 1))
    with pytest.raises(DataError, match="follows the end"):
        brush_rle.decode([*one, 1], (1, 2))


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 2, 2)])
def test_a_mask_that_is_no_page_cannot_be_encoded(shape):
    with pytest.raises(DataError, match="cannot be a page"):
        brush_rle.encode(np.zeros(shape, bool))


def _bits_to_bytes(bits: str) -> list[int]:
    padded = bits + "0" * (-len(bits) % 8)
    return [int(padded[k : k + 8], 2) for k in range(0, len(padded), 8)]


def _header(num_values: int) -> str:
    return f"{num_values:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"


def _literal(values: list[int]) -> list[int]:
    """One packet of values as they are."""
    body = f"{0:01b}{3:02b}{len(values) - 1:016b}" + "".join(f"{v:08b}" for v in values)
    return _bits_to_bytes(_header(len(values)) + body)


def _values(rle: list[int]) -> list[int]:
    """Decoded by the definition, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    num, sizes, at = int(bits[:32], 2), [3, 4, 8, 16], 53
    values: list[int] = []
    while len(values) < num:
        is_run, size = bits[at] == "1", sizes[int(bits[at + 1 : at + 3], 2)]
        run = int(bits[at + 3 : at + 3 + size], 2) + 1
        at += 3 + size
        for _ in range(1 if is_run else run):
            values += [int(bits[at : at + 8], 2)] * (run if is_run else 1)
            at += 8
    return values


@given(any_small_mask)
def test_the_code_says_what_its_definition_says(given_mask):
    expected = np.repeat(np.where(given_mask, 255, 0).ravel(), 4)
    assert _values(brush_rle.encode(given_mask)) == expected.tolist()
