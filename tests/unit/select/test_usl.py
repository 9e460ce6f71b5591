"""Dense places that keep away from each other."""

import numpy as np
import pytest

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401
from hilum.select.scored import ScoredPool
from hilum.select.usl import _nearness


def usl(points, num, labelled=(), seed=0, **params):
    points = np.asarray(points, np.float32)
    scored = ScoredPool(
        np.array([f"{i:012x}" for i in range(len(points))], np.str_),
        embedding=points,
        labelled_embedding=np.asarray(labelled, np.float32).reshape(-1, points.shape[1]),
    )
    return samplers.bind(Choice(kind="usl", **params))(scored, num, rng=np.random.default_rng(seed)).tolist()


def kinds(sizes, spread=0.05, seed=0):
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return np.eye(len(sizes))[owner] + spread * rng.standard_normal((len(owner), len(sizes))), owner


@pytest.mark.parametrize("seed", range(4))
def test_one_of_each_kind(seed):
    points, owner = kinds([30, 20, 12, 8])
    assert sorted(owner[usl(points, 4, seed=seed)]) == [0, 1, 2, 3]


def test_without_repulsion_it_is_the_densest_of_its_kind():
    rng = np.random.default_rng(1)
    cloud = np.concatenate([[[1.0, 0.0]], np.column_stack([np.ones(60), rng.standard_normal(60)])])
    pick = usl(cloud, 1, repulsion=0)[0]
    assert abs(cloud[pick, 1]) < np.median(np.abs(cloud[:, 1]))


def test_a_labelled_neighbour_pushes_the_pick_away():
    angles = np.deg2rad(np.linspace(-20, 20, 41))
    arc = np.column_stack([np.cos(angles), np.sin(angles)])
    labelled = [[np.cos(angles[0]), np.sin(angles[0])]]
    alone, beside = (usl(arc, 1, labelled=near, repulsion=20.0)[0] for near in ((), labelled))
    assert angles[beside] > angles[alone]


def test_nearness_is_the_sum_over_the_others_of_one_over_the_distance():
    rng = np.random.default_rng(0)
    points, others = (rng.standard_normal((n, 5)).astype(np.float32) for n in (30, 70))
    cluster, owner = rng.integers(0, 3, 30), rng.integers(-1, 3, 70)
    apart = np.linalg.norm(points[:, None].astype(float) - others[None].astype(float), axis=2)
    expected = np.where(cluster[:, None] == owner[None], 0, 1 / apart).sum(axis=1)
    np.testing.assert_allclose(_nearness(points, cluster, others, owner), expected, rtol=1e-4)


def test_fewer_places_than_asked_are_filled_up():
    points = np.repeat(np.eye(3), 4, axis=0)
    picks = usl(points, 7)
    assert len(set(picks)) == 7
    assert sorted(p // 4 for p in picks[:3]) == [0, 1, 2]


@pytest.mark.parametrize("params", [{"momentum": 1.0}, {"repulsion": -1}, {"num_iterations": 0}, {"num_neighbours": 0}])
def test_parameters_that_cannot_be_meant_are_refused(params):
    with pytest.raises(RecipeError, match=f"sampler 'usl', parameter '{next(iter(params))}'"):
        samplers.bind(Choice(kind="usl", **params))
