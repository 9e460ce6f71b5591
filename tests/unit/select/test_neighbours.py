"""Who is nearest: against a table of all distances, and nearly so in groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.select.neighbours import distances_to, nearest_neighbours, probable_neighbours


def grouped(num, num_groups=60, size=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_groups, size))
    return (centres[rng.integers(0, num_groups, num)] + 0.2 * rng.standard_normal((num, size))).astype(np.float32)


def table(points):
    points = points.astype(float)
    lengths = (points**2).sum(axis=1)
    return np.maximum(lengths[:, None] + lengths - 2 * points @ points.T, 0)


def recall(found, points):
    apart = table(points)
    np.fill_diagonal(apart, np.inf)
    farthest = np.sort(apart, axis=1)[:, found.shape[1] - 1]
    return (apart[np.arange(len(points))[:, None], found] <= farthest[:, None] + 1e-6).mean()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(1, 90), st.integers(1, 9), st.integers(0, 12))
def test_the_nearest_are_those_a_table_of_distances_shows(seed, num, size, num_neighbours):
    points = np.random.default_rng(seed).standard_normal((num, size)).astype(np.float32)
    found = nearest_neighbours(points, num_neighbours)
    apart = table(points)
    np.fill_diagonal(apart, np.inf)
    expected = np.sort(apart, axis=1)[:, : min(num_neighbours, num - 1)]
    assert found.shape == expected.shape
    np.testing.assert_allclose(apart[np.arange(num)[:, None], found], expected, rtol=1e-4)
    assert all(len(set(row)) == len(row) for row in found.tolist())


def test_distances_come_nearest_first_and_are_those_of_the_points():
    points = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    found = nearest_neighbours(points, 6)
    expected = np.sort(table(points)[np.arange(50)[:, None], found], axis=1)
    np.testing.assert_allclose(distances_to(points, found), expected, rtol=1e-5)


def test_points_far_from_the_origin_keep_their_neighbours():
    near = grouped(300, size=4)
    far = near + np.float32(1000)
    assert recall(nearest_neighbours(far, 8), far) > 0.999


def test_points_in_one_place_are_at_no_distance_at_all():
    points = np.repeat(np.random.default_rng(0).standard_normal((1, 5)), 9, axis=0).astype(np.float32)
    assert not distances_to(points, nearest_neighbours(points, 4)).any()


@pytest.mark.parametrize("seed", range(3))
def test_nearly_all_neighbours_are_found_among_groups(seed):
    points = grouped(1500, seed=seed)
    found = probable_neighbours(points, 10, rng=np.random.default_rng(seed))
    assert recall(found, points) >= 0.99
    assert all(n not in row for n, row in enumerate(found.tolist()))


def test_without_groups_more_cells_are_read_until_nearly_all_are_found():
    points = np.random.default_rng(1).standard_normal((1200, 24)).astype(np.float32)
    assert recall(probable_neighbours(points, 10, rng=np.random.default_rng(0)), points) >= 0.99


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(0, 60), st.integers(0, 70))
def test_few_points_are_no_trouble(seed, num, num_neighbours):
    points = np.random.default_rng(seed).integers(0, 3, (num, 2)).astype(np.float32)
    found = probable_neighbours(points, num_neighbours, rng=np.random.default_rng(seed))
    assert found.shape == (num, min(num_neighbours, max(num - 1, 0)))
    assert all(len({*row, n}) == len(row) + 1 for n, row in enumerate(found.tolist()))


def test_the_same_seed_finds_the_same():
    points = grouped(2000)
    one, other = (probable_neighbours(points, 5, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
