"""Whom to ask so that no two are alike: against plain loops, and as gaps covered."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401
from hilum.select.scored import ScoredPool
from hilum.testing.samplers import scored_pool


def ask(kind, scored, num, seed=0, **params):
    return samplers.bind(Choice(kind=kind, **params))(scored, num, rng=np.random.default_rng(seed)).tolist()


def at(points, labelled=(), **more):
    points = np.asarray(points, np.float32)
    ids = np.array([f"{i:012x}" for i in range(len(points))], np.str_)
    before = np.asarray(labelled, np.float32).reshape(-1, points.shape[1])
    return ScoredPool(ids, embedding=points, labelled_embedding=before, **more)


def farthest_first(points, labelled, num):
    """k-centre as one would write it on paper."""
    centres, picks = [np.asarray(c, float) for c in labelled], []
    points = np.asarray(points, float)
    if not centres:
        picks.append(int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin()))
        centres.append(points[picks[0]])
    while len(picks) < num:
        distance = np.min([((points - c) ** 2).sum(axis=1) for c in centres], axis=0)
        distance[picks] = -1
        picks.append(int(distance.argmax()))
        centres.append(points[picks[-1]])
    return picks


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(0, 4), st.data())
def test_k_centre_is_farthest_first(seed, num_open, num_labelled, data):
    rng = np.random.default_rng(seed)
    points, labelled = rng.standard_normal((num_open, 3)), rng.standard_normal((num_labelled, 3))
    num = data.draw(st.integers(1, num_open))
    scored = at(points, labelled)
    assert ask("k_centre", scored, num) == farthest_first(scored.embedding, scored.labelled_embedding, num)


def test_k_centre_goes_where_nothing_is_labelled():
    points = [[0, 0], [0.1, 0], [5, 5], [5.1, 5], [-9, 0]]
    assert ask("k_centre", at(points, labelled=[[0, 0.1]]), 2) == [4, 3]


def test_k_centre_starts_in_the_middle_when_nothing_is_labelled():
    assert ask("k_centre", at([[-4.0], [0.2], [4.0], [-1.0], [1.0]]), 1) == [1]


def test_a_shortlist_keeps_k_centre_among_the_unsure():
    scored = scored_pool(100)
    unsure = set(ask("top_k", scored, 20))
    assert set(ask("k_centre", scored, 10, shortlist=2.0)) <= unsure


def test_half_precision_embeddings_are_compared_in_single_precision():
    scored = scored_pool(50, size=8)
    wide = ScoredPool(scored.candidate_ids, embedding=scored.embedding.astype(np.float32))
    assert ask("k_centre", scored, 10) == ask("k_centre", wide, 10)


@pytest.mark.parametrize("kind", ["k_centre", "kmeans_pp", "badge", "cluster_margin"])
def test_spread_picks_find_every_island(kind):
    rng = np.random.default_rng(0)
    island = rng.integers(0, 8, 200)
    points = 100 * np.eye(8)[island] + rng.standard_normal((200, 8))
    scored = at(
        points,
        scores={"margin": rng.random(200, dtype=np.float32)},
        class_fractions=np.full((200, 2), 0.5, np.float32),
    )
    assert len(set(island[ask(kind, scored, 8)])) == 8


def test_kmeans_pp_prefers_the_far_but_not_always_the_farthest():
    scored = at([[1.0], [2.0], [3.0]], labelled=[[0.0]])
    first = np.bincount([ask("kmeans_pp", scored, 1, seed=s)[0] for s in range(4000)], minlength=3)
    np.testing.assert_allclose(first / 4000, [1 / 14, 4 / 14, 9 / 14], atol=0.03)


def test_badge_starts_with_the_longest_gradient():
    fractions = np.array([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4]], np.float32)
    assert ask("badge", at([[1.0, 0], [1, 0], [1, 0]], class_fractions=fractions), 1) == [1]
    assert ask("badge", at([[5.0, 0], [1, 0], [1, 0]], class_fractions=fractions), 1) == [0]


def test_badge_measures_distances_between_gradients_it_never_builds():
    rng = np.random.default_rng(1)
    fractions = rng.dirichlet(np.ones(3), size=3).astype(np.float32)
    points = rng.standard_normal((3, 4)).astype(np.float32)
    error = fractions.copy()
    error[np.arange(3), error.argmax(axis=1)] -= 1
    gradients = np.einsum("nc,nd->ncd", error, points).reshape(3, -1).astype(float)
    first = int((gradients**2).sum(axis=1).argmax())
    squared = ((gradients - gradients[first]) ** 2).sum(axis=1)
    drawn = [ask("badge", at(points, class_fractions=fractions), 2, seed=s) for s in range(3000)]
    assert {picks[0] for picks in drawn} == {first}
    second = np.bincount([picks[1] for picks in drawn], minlength=3) / 3000
    np.testing.assert_allclose(second, squared / squared.sum(), atol=0.03)


def test_cluster_margin_takes_the_unsurest_of_each_cluster():
    points = [[0.0], [0.1], [0.2], [9.0], [9.1]]
    margins = np.array([0.1, 0.9, 0.2, 0.3, 0.4], np.float32)
    assert ask("cluster_margin", at(points, scores={"margin": margins}), 2) == [4, 1]


def test_identical_embeddings_are_picked_once_each():
    for kind in ("k_centre", "kmeans_pp"):
        picks = ask(kind, at(np.ones((6, 2)), labelled=[[1, 1]]), 6)
        assert sorted(picks) == list(range(6))


def test_a_million_times_a_million_distances_are_never_held():
    scored = scored_pool(20_000, size=16)
    assert len(set(ask("k_centre", scored, 50))) == 50


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 9), st.integers(1, 3))
def test_k_centre_covers_the_pool_within_twice_the_best_that_can_be_done(seed, num_open, num):
    points = np.random.default_rng(seed).standard_normal((num_open, 2)).astype(np.float32)
    apart = np.linalg.norm(points[:, None].astype(float) - points[None].astype(float), axis=2)

    def radius(picks):
        return apart[:, picks].min(axis=1).max()

    best = min(radius(list(picks)) for picks in itertools.combinations(range(num_open), num))
    assert radius(ask("k_centre", at(points), num)) <= 2 * best + 1e-6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.data())
def test_every_greedy_choice_is_a_beginning_of_the_longer_one(seed, num_open, data):
    scored = at(np.random.default_rng(seed).standard_normal((num_open, 3)))
    num = data.draw(st.integers(1, num_open))
    assert ask("k_centre", scored, num_open)[:num] == ask("k_centre", scored, num)
    assert ask("kmeans_pp", scored, num_open, seed=4)[:num] == ask("kmeans_pp", scored, num, seed=4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 12))
def test_cluster_margin_asks_only_about_the_shortlist(seed, num_open, num):
    scored = scored_pool(num_open, seed=seed % 1000)
    shortlist = ask("top_k", scored, min(num_open, 2 * num))
    assert set(ask("cluster_margin", scored, num, factor=2.0)) <= set(shortlist)


@pytest.mark.parametrize("kind", ["k_centre", "kmeans_pp"])
def test_moving_everything_together_changes_no_pick(kind):
    points = np.random.default_rng(0).integers(-50, 50, (40, 3)).astype(np.float32)
    labelled = points[:2] + 1
    here, there = (ask(kind, at(points + by, labelled + by), 8) for by in (0, 64))
    assert here == there
