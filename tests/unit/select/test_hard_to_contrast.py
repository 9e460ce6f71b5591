"""The hardest to contrast of every pseudo-class."""

import numpy as np
import pytest

from hilum.core.errors import DataError, RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import samplers
from hilum.select import builtin  # noqa: F401
from hilum.select.hard_to_contrast import in_turn
from hilum.select.scored import ScoredPool


def pool_of(embedding, view_embedding, labelled=()):
    embedding = np.asarray(embedding, np.float32)
    return ScoredPool(
        np.array([f"{i:012x}" for i in range(len(embedding))], np.str_),
        embedding=embedding,
        view_embedding=view_embedding,
        labelled_embedding=np.asarray(labelled, np.float32).reshape(-1, embedding.shape[1]),
    )


def kinds(sizes, seed=0, noise=0.05):
    """Points around as many directions as there are sizes, their views, and whose each is."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    points = np.eye(len(sizes), 8)[owner] + noise * rng.standard_normal((len(owner), 8))
    views = points[:, None] + noise * rng.standard_normal((len(owner), 4, 8))
    return points, views.astype(np.float32), owner


def ask(scored, num, seed=0, **params):
    sampler = samplers.bind(Choice(kind="hard_to_contrast", **params))
    return sampler(scored, num, rng=np.random.default_rng(seed)).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_every_pseudo_class_has_its_turn_however_small_it_is(seed):
    points, views, owner = kinds([120, 30, 10, 6], seed)
    picks = ask(pool_of(points, views), 12, seed, num_clusters=12)
    assert set(owner[picks]) == {0, 1, 2, 3}


def test_clusters_take_turns_each_with_its_least_confident_first():
    confidence = np.array([0.5, 0.1, 0.9, 0.1, 0.2, 0.3, 0.8])
    clusters = np.array([0, 0, 1, 0, 2, 1, 0, 2])  # one of cluster 2 is labelled: it comes last
    orders = [in_turn(confidence, clusters, np.random.default_rng(seed)).tolist() for seed in range(20)]
    assert {tuple(order) for order in orders} == {(1, 5, 4, 3, 2, 0, 6), (5, 1, 4, 2, 3, 0, 6)}


def test_within_a_pseudo_class_the_one_that_is_mistaken_for_others_comes_first():
    # Forty of one direction: thirty at one place, and ten that differ from them and from each other.
    rng = np.random.default_rng(0)
    centres = np.zeros((40, 16))
    centres[30:] = rng.standard_normal((10, 16))
    centres[:, 0] += 10
    views = (centres[:, None] + 0.1 * rng.standard_normal((40, 4, 16))).astype(np.float32)
    picks = ask(pool_of(centres, views), 40, num_clusters=1)
    assert set(picks[:30]) == set(range(30))


def test_a_pseudo_class_with_a_label_comes_last():
    points, views, owner = kinds([30, 30, 30])
    for seed in range(5):
        picks = ask(pool_of(points, views, labelled=[np.eye(8)[0]]), 3, seed, num_clusters=3)
        assert owner[picks[-1]] == 0


def test_a_smaller_batch_is_the_beginning_of_a_larger():
    points, views, _ = kinds([30, 20, 10])
    assert ask(pool_of(points, views), 20)[:7] == ask(pool_of(points, views), 7)


def test_of_a_large_pool_a_drawn_part_is_looked_at():
    points, views, _ = kinds([60, 40])
    picks = [set(ask(pool_of(points, views), 10, seed, num_mapped=10)) for seed in (0, 1)]
    assert picks[0] != picks[1]
    assert len(set(ask(pool_of(points, views), 30, num_mapped=10))) == 30


def test_what_it_draws_is_the_pools_own_row():
    points, views, owner = kinds([60, 40])
    far = np.flatnonzero(owner == 1)
    picks = ask(pool_of(points, views), 2, num_clusters=2, num_mapped=30)
    assert len(set(picks) & set(far.tolist())) == 1


def test_without_views_it_says_what_to_set():
    points, views, _ = kinds([4])
    for none in (None, views[:, :0]):
        with pytest.raises(RecipeError, match=r"this score run kept none\. Set score\.num_views, such as 4"):
            ask(pool_of(points, none), 1)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_view_that_is_not_a_number_never_reaches_it(poison):
    points, views, _ = kinds([6])
    views[3, 1, 2] = poison
    with pytest.raises(DataError, match=r"view_embedding must be finite; view_embedding\[3, 1, 2\]"):
        pool_of(points, views)


def test_what_is_left_of_a_pool_keeps_its_views():
    points, views, _ = kinds([6])
    left = pool_of(points, views).after(np.array([1]), np.array([4]))
    np.testing.assert_array_equal(left.view_embedding, views[[0, 2, 3, 5]])
