"""k-means: blobs found, bounds kept, and always the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.select.clusters import k_means, nearest_centre


def blobs(num_blobs, per_blob, seed=0):
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(num_blobs), per_blob)
    return (50 * np.eye(num_blobs)[owner] + rng.standard_normal((len(owner), num_blobs))).astype(np.float32), owner


@pytest.mark.parametrize("seed", range(5))
def test_blobs_far_apart_are_told_apart(seed):
    points, owner = blobs(4, 20)
    cluster = k_means(points, 4, rng=np.random.default_rng(seed))
    assert len({(a, b) for a, b in zip(owner, cluster, strict=True)}) == 4


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 40))
def test_clusters_are_numbered_within_bounds(seed, num, num_clusters):
    points = np.random.default_rng(seed).standard_normal((num, 3)).astype(np.float32)
    cluster = k_means(points, num_clusters, rng=np.random.default_rng(seed))
    assert cluster.shape == (num,)
    assert all(0 <= c < num_clusters for c in cluster)


def test_the_same_seed_finds_the_same_clusters():
    points = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
    one, other = (k_means(points, 20, rng=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_points_in_one_place_are_one_cluster():
    assert set(k_means(np.ones((7, 2), np.float32), 3, rng=np.random.default_rng(0))) == {0}


def test_as_many_clusters_as_points_leaves_each_alone():
    points = np.arange(6, dtype=np.float32)[:, None]
    assert len(set(k_means(points, 6, rng=np.random.default_rng(0)))) == 6


def test_a_point_goes_to_the_lower_of_two_equal_centres():
    assert nearest_centre(np.zeros((1, 1), np.float32), np.array([[1.0], [-1.0]], np.float32)).tolist() == [0]


def test_more_points_than_are_fitted_all_get_a_cluster():
    points, owner = blobs(3, 17_000)
    cluster = k_means(points, 3, rng=np.random.default_rng(0))
    assert len({(a, b) for a, b in zip(owner, cluster, strict=True)}) == 3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 6))
def test_every_point_is_with_the_nearest_mean(seed, num, num_clusters):
    points = np.random.default_rng(seed).standard_normal((num, 2)).astype(np.float32)
    cluster = k_means(points, num_clusters, rng=np.random.default_rng(0))
    kept = np.unique(cluster)
    means = np.stack([points[cluster == c].mean(axis=0, dtype=np.float64) for c in kept])
    apart = ((points[:, None] - means[None]) ** 2).sum(axis=2)
    own = apart[np.arange(num), np.searchsorted(kept, cluster)]
    assert (own <= apart.min(axis=1) + 1e-5).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 6))
def test_the_nearest_centre_is_the_one_a_table_of_distances_shows(seed, num, num_centres):
    rng = np.random.default_rng(seed)
    points, centres = (rng.integers(-9, 9, (n, 3)).astype(np.float32) for n in (num, num_centres))
    apart = ((points[:, None] - centres[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(nearest_centre(points, centres), apart.argmin(axis=1))


def test_nobody_is_in_no_clusters():
    nobody = np.empty((0, 3), np.float32)
    assert k_means(nobody, 4, rng=np.random.default_rng(0)).tolist() == []
