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
