"""Core-sets of shards: how well picks from them cover a pool, and what their weights do."""

from itertools import combinations

import numpy as np
import pytest

from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401 (registers our samplers)
from hilum.select.core_sets import core_set, num_nearest
from hilum.select.scored import ScoredPool

K_CENTRE = samplers.bind(Choice(kind="k_centre"))
KMEANS_PP = samplers.bind(Choice(kind="kmeans_pp"))


def scored(points_ND, labelled_LD=None, **more):
    ids = np.array([f"{n:06d}" for n in range(len(points_ND))])
    labelled = np.empty((0, points_ND.shape[1]), np.float32) if labelled_LD is None else labelled_LD
    return ScoredPool(candidate_ids=ids, embedding=points_ND, labelled_embedding=labelled, **more)


def radius(points_ND, centres_KD):
    return np.linalg.norm(points_ND[:, None] - centres_KD[None], axis=2).min(axis=1).max()


def two_rounds(points_ND, labelled_LD, num, num_shards):
    rng = np.random.default_rng(0)
    union = []
    for rows in np.array_split(np.arange(len(points_ND)), num_shards):
        union += list(rows[core_set(scored(points_ND[rows], labelled_LD), [K_CENTRE], num, rng=rng)])
    union = np.array(union)
    return union[K_CENTRE(scored(points_ND[union], labelled_LD), num, rng=rng)]


@pytest.mark.parametrize("num_labelled", [0, 2])
@pytest.mark.parametrize("seed", range(8))
def test_two_rounds_cover_within_four_times_the_least_radius(seed, num_labelled):
    rng = np.random.default_rng(seed)
    points, labelled = rng.normal(size=(18, 2)).astype(np.float32), rng.normal(size=(2, 2)).astype(np.float32)
    labelled = labelled[:num_labelled]
    least = min(radius(points, np.concatenate([labelled, points[list(c)]])) for c in combinations(range(18), 3))
    picks = two_rounds(points, labelled, 3, num_shards=3)
    assert radius(points, np.concatenate([labelled, points[picks]])) <= 4 * least + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_two_rounds_cover_within_twice_what_one_process_does(seed):
    # Four times is the most that can be; on points in groups it is far less.
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, 8)) * 5
    points = (centres[rng.integers(12, size=3000)] + rng.normal(size=(3000, 8))).astype(np.float32)
    labelled = points[:5]
    one = K_CENTRE(scored(points, labelled), 40, rng=rng)
    two = two_rounds(points, labelled, 40, num_shards=6)
    of_one, of_two = (radius(points, np.concatenate([labelled, points[rows]])) for rows in (one, two))
    assert of_two <= 2 * of_one


def test_a_small_shard_is_its_own_core_set():
    rows = core_set(scored(np.eye(4, dtype=np.float32)), [K_CENTRE], 5, rng=np.random.default_rng(0))
    assert rows.tolist() == [0, 1, 2, 3]


def test_weights_count_who_is_nearest_and_a_twin_counts_itself():
    points = np.array([[0], [1], [2], [10], [11], [10]], np.float32)
    assert num_nearest(points, points[[0, 3, 5]]).tolist() == [3, 3, 1]


def share_of_first(weight, labelled_LD=None, num=2000):
    """How often row 0 is drawn first: of three rows, the others at the same distance from what is labelled."""
    points = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    pool = scored(points, labelled_LD, weight=np.array(weight))
    return np.mean([KMEANS_PP(pool, 1, rng=np.random.default_rng(n))[0] == 0 for n in range(num)])


@pytest.mark.parametrize("labelled", [None, np.zeros((1, 2), np.float32)])
def test_a_row_is_drawn_as_often_as_the_candidates_it_stands_for(labelled):
    assert share_of_first([8, 1, 1], labelled) == pytest.approx(0.8, abs=0.03)
    assert share_of_first([1, 1, 1], labelled) == pytest.approx(1 / 3, abs=0.035)


def test_later_draws_go_by_weight_times_squared_distance():
    # After row 0: row 1 at distance 1 counts 9, row 2 at distance 3 counts 1; both are as likely.
    points = np.array([[0], [1], [3]], np.float32)
    pool = scored(points, np.zeros((1, 1), np.float32), weight=np.array([1, 9, 1]))
    seconds = [KMEANS_PP(pool, 1, rng=np.random.default_rng(n))[0] for n in range(2000)]
    assert np.bincount(seconds, minlength=3) / 2000 == pytest.approx([0, 0.5, 0.5], abs=0.035)


def test_weights_stay_with_their_rows():
    pool = scored(np.eye(3, dtype=np.float32), weight=np.array([1, 2, 3]))
    assert pool.after(np.array([0]), np.array([], np.int64)).weight.tolist() == [2, 3]


def test_all_rows_can_be_drawn_by_weight():
    points = np.random.default_rng(0).normal(size=(700, 3)).astype(np.float32)
    picks = KMEANS_PP(scored(points, weight=np.arange(1, 701)), 700, rng=np.random.default_rng(1))
    assert sorted(picks) == list(range(700))
