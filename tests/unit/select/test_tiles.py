"""Inner products tile by tile are inner products, whatever the sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.select.tiles import dots_of_four, pack, unit_length


@settings(deadline=None)
@given(st.integers(1, 11), st.integers(1, 20), st.integers(1, 9), st.data())
def test_every_product_of_four_points_with_a_tile_is_that_of_numpy(num, num_others, size, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    points, others = (rng.integers(-9, 9, (n, size)).astype(np.float32) for n in (num, num_others))
    first_of_four, first_of_tile = data.draw(st.integers(0, num - 1)), data.draw(st.integers(0, num_others - 1))
    rows = rng.permutation(num_others)
    tile, dots = np.full((size, 16), np.nan, np.float32), np.full((4, 16), np.nan, np.float32)
    num_packed = pack(others, rows, first_of_tile, tile)
    num_there = dots_of_four(points, first_of_four, tile, dots)
    assert num_packed == min(16, num_others - first_of_tile)
    assert num_there == min(4, num - first_of_four)
    expected = points[first_of_four : first_of_four + 4] @ others[rows[first_of_tile : first_of_tile + 16]].T
    np.testing.assert_array_equal(dots[:num_there, :num_packed], expected)
    assert not dots[:, num_packed:].any()


def test_a_direction_has_length_one_and_nothing_has_none():
    points = unit_length(np.array([[3, 4], [0, 0], [0, -2]], np.float16))
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, [[0.6, 0.8], [0, 0], [0, -1]], atol=1e-7)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_no_points_have_no_directions(shape):
    assert unit_length(np.empty(shape)).shape == shape
