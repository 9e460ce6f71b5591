"""Intensities end between 0 and 1 whatever they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import DataError
from hilum.nn.normalise import normalise


@given(st.integers(0, 2**32 - 1), st.sampled_from(["uint8", "int16", "uint16", "float32"]))
def test_every_intensity_ends_between_nothing_and_one(seed, dtype):
    image = (np.random.default_rng(seed).random((1, 2, 3, 4)) * 250).astype(dtype)
    before = image.copy()
    scaled = normalise(image, 20, 200)
    assert scaled.dtype == np.float32
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    assert np.array_equal(image, before)


def test_low_becomes_nothing_and_high_becomes_one():
    scaled = normalise(np.array([-1000, -160, 40, 240, 3000], dtype=np.int16).reshape(1, 1, 1, 5), -160, 240)
    assert np.allclose(scaled.ravel(), [0, 0, 0.5, 1, 1])


def test_an_empty_window_is_refused():
    with pytest.raises(DataError, match="high must be above low"):
        normalise(np.zeros((1, 1, 1, 1)), 3, 3)


@given(st.lists(st.integers(-2000, 4000), min_size=2, max_size=30), st.integers(-1000, 0), st.integers(1, 3000))
def test_no_two_intensities_change_places(values, low, high):
    ordered = np.sort(np.array(values, np.int16)).reshape(1, 1, 1, -1)
    scaled = normalise(ordered, low, high).ravel()
    assert (np.diff(scaled) >= 0).all()
    exact = np.clip((ordered.ravel() - low) / (high - low), 0, 1)
    np.testing.assert_allclose(scaled, exact, atol=1e-5)


def test_large_integers_do_not_wrap_around():
    scaled = normalise(np.array([0, 65535], np.uint16).reshape(1, 1, 1, 2), 100, 65535)
    assert scaled.ravel().tolist() == [0, 1]


def test_a_window_upside_down_is_refused_with_both_ends():
    with pytest.raises(DataError, match="low 7 and high 3"):
        normalise(np.zeros((1, 1, 1, 1)), 7, 3)
