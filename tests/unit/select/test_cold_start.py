"""Whom to ask before there is a model."""

import numpy as np
import pytest

from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401
from hilum.select.cold_start import typicality
from hilum.select.scored import ScoredPool

TRIANGLE = np.array([[0, 0], [1, 0], [0, 1]], np.float32)


def typiclust(points, num, labelled=(), seed=0, **params):
    points = np.asarray(points, np.float32)
    scored = ScoredPool(
        np.array([f"{i:012x}" for i in range(len(points))], np.str_),
        embedding=points,
        labelled_embedding=np.asarray(labelled, np.float32).reshape(-1, points.shape[1]),
    )
    return samplers.bind(Choice(kind="typiclust", **params))(scored, num, rng=np.random.default_rng(seed)).tolist()


def directions(sizes, seed=0):
    """Points around as many directions as there are sizes: what typiclust sees after it gave all length 1."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return np.eye(len(sizes))[owner] + 0.02 * rng.standard_normal((len(owner), len(sizes))), owner


def test_typicality_is_one_over_the_mean_distance_to_the_neighbours():
    np.testing.assert_allclose(typicality(TRIANGLE, 2, False), [0.999990, 0.828420, 0.828420], atol=1e-6)


def test_the_authors_code_squares_the_distance():
    np.testing.assert_allclose(typicality(TRIANGLE, 2, True), [0.999990, 0.666662, 0.666662], atol=1e-6)


def test_only_the_nearest_neighbours_count():
    line = np.array([[0.0], [1.0], [3.0], [100.0]], np.float32)
    np.testing.assert_allclose(typicality(line, 1, False), 1 / (np.array([1, 1, 2, 97]) + 1e-5), rtol=1e-6)


def test_a_point_alone_has_nobody_to_be_unlike():
    assert np.isfinite(typicality(np.zeros((1, 2), np.float32), 5, False)).all()


@pytest.mark.parametrize("seed", range(4))
def test_one_from_each_kind_and_the_largest_kind_first(seed):
    points, owner = directions([30, 20, 10])
    picks = typiclust(points, 3, seed=seed)
    assert owner[picks].tolist() == [0, 1, 2]


def test_the_pick_is_in_the_middle_of_its_kind():
    rng = np.random.default_rng(1)
    cloud = np.concatenate([[[1.0, 0.0]], np.column_stack([np.ones(40), rng.standard_normal(40)])])
    pick = typiclust(cloud, 1)[0]
    assert abs(cloud[pick, 1]) < np.median(np.abs(cloud[:, 1]))


def test_kinds_with_a_label_come_last():
    points, owner = directions([30, 20, 10])
    picks = typiclust(points, 2, labelled=[[1.0, 0, 0]])
    assert set(owner[picks]) == {1, 2}


def test_small_kinds_wait_until_the_large_are_used_up():
    points, owner = directions([20, 3])
    assert owner[typiclust(points, 2, max_clusters=2)].tolist() == [0, 0]
    everyone = typiclust(points, 23, max_clusters=2)
    assert sorted(everyone) == list(range(23))
    assert owner[everyone[-3:]].tolist() == [1, 1, 1]


def test_an_exhausted_kind_is_skipped():
    points, owner = directions([30, 6])
    picks = typiclust(points, 20, max_clusters=2)
    assert np.bincount(owner[picks]).tolist() == [14, 6]


def test_an_embedding_of_nothing_but_zeros_has_a_direction_all_the_same():
    assert sorted(typiclust(np.zeros((8, 3)), 8)) == list(range(8))
