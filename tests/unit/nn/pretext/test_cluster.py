"""k-means: the same assignments every time, every cluster with a point, near what it should be near."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from hilum.nn.pretext.cluster import k_means, nearest


def blobs(num=120, num_blobs=6, size=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 5, (num_blobs, size))
    blob_of = np.arange(num) % num_blobs
    return torch.from_numpy((centres[blob_of] + rng.normal(0, 0.1, (num, size))).astype(np.float32)), blob_of


def clustered(points, num, seed=0):
    return k_means(points, num, rng=np.random.default_rng(seed))


def test_the_same_points_and_chance_are_the_same_clusters():
    points, _ = blobs()
    (one, centres), (again, same) = clustered(points, 10), clustered(points, 10)
    assert torch.equal(one, again)
    assert torch.equal(centres, same)


def test_points_are_left_as_they_are():
    points, _ = blobs()
    before = points.clone()
    clustered(points, 20)
    assert torch.equal(points, before)


@pytest.mark.parametrize("seed", range(5))
def test_clear_clusters_are_found(seed):
    points, blob_of = blobs(seed=seed)
    best = max(adjusted_rand_score(blob_of, clustered(points, 6, chance)[0].numpy()) for chance in range(3))
    assert best == 1


@pytest.mark.parametrize("num", [1, 7, 60, 119, 120])
@pytest.mark.parametrize("seed", range(3))
def test_no_cluster_is_empty(num, seed):
    points, _ = blobs()
    assert clustered(points, num, seed)[0].unique().tolist() == list(range(num))


def test_no_cluster_is_empty_though_points_are_the_same():
    points = torch.tensor([[0.0, 0.0]] * 30 + [[1.0, 1.0]] * 2)
    assert clustered(points, 8)[0].unique().tolist() == list(range(8))


def test_there_are_no_more_clusters_than_points():
    points, _ = blobs(num=6)
    cluster, centres = clustered(points, 50)
    assert sorted(cluster.tolist()) == list(range(6))
    assert len(centres) == 6


def test_a_point_joins_the_nearest_centre():
    points, _ = blobs()
    cluster, centres = clustered(points, 6)
    assert torch.equal(cluster, nearest(points, centres))
    apart = torch.cdist(points, centres)
    assert torch.allclose(apart.min(dim=1).values, apart[torch.arange(len(points)), cluster], atol=1e-2)
