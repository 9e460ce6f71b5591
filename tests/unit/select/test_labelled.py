"""The nearest labelled candidate of each pick, exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.select.labelled import nearest_labelled


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 40), st.integers(1, 9))
def test_nobody_labelled_is_nearer_than_the_one_named(seed, num, num_labelled, size):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(num, size)).astype(np.float16)
    labelled = rng.normal(size=(num_labelled, size)).astype(np.float16)
    rows, apart = nearest_labelled(points, labelled)
    every = np.linalg.norm(points[:, None].astype(float) - labelled[None].astype(float), axis=2)
    np.testing.assert_allclose(apart, every.min(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(every[np.arange(num), rows], every.min(axis=1), rtol=1e-5, atol=1e-6)


def test_of_equally_near_ones_the_lower_row_is_named():
    labelled = np.array([[5, 5], [1, 0], [-1, 0], [1, 0]], np.float32)
    rows, apart = nearest_labelled(np.zeros((2, 2), np.float32), labelled)
    assert rows.tolist() == [1, 1]
    assert apart.tolist() == [1, 1]


def test_the_same_place_is_no_distance_away():
    points = np.random.default_rng(0).normal(0, 300, (8, 64)).astype(np.float16)
    rows, apart = nearest_labelled(points[::-1], points)
    assert rows.tolist() == list(range(8))[::-1]
    assert apart.tolist() == [0] * 8


@pytest.mark.parametrize(("points", "labelled"), [((3, 4), (0, 4)), ((3, 0), (2, 0)), ((0, 4), (2, 4))])
def test_nothing_labelled_or_nothing_embedded_is_no_neighbour(points, labelled):
    rows, apart = nearest_labelled(np.empty(points, np.float32), np.empty(labelled, np.float32))
    assert (len(rows), len(apart)) == (0, 0)
