"""A batch does not ask the same thing twice, unless there is nothing else to ask."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hilum.select.samplers import class_stratified
from hilum.select.scored import ScoredPool
from hilum.select.thinning import Thinning

TWO_HEAPS = np.array([[1, 0], [1, 0.01], [1, 0.02], [0, 1], [0.01, 1]], np.float32)


def pool(embedding, scores=None) -> ScoredPool:
    num = len(embedding)
    return ScoredPool(
        candidate_ids=np.array([f"c{n:04d}" for n in range(num)]),
        scores={"margin": np.asarray(scores if scores is not None else np.ones(num), np.float32)},
        predicted_class=np.zeros(num, np.int64),
        class_fractions=np.ones((num, 1), np.float32),
        embedding=np.asarray(embedding, np.float32),
    )


def test_a_pick_blocks_its_neighbours_and_not_the_other_heap():
    batch = Thinning(TWO_HEAPS, num_blocked=3)
    assert batch.take(0)
    assert not batch.take(0)
    assert not batch.take(1)
    assert not batch.take(2)
    assert batch.take(3)


def test_nothing_but_the_pick_is_blocked_without_thinning():
    batch = Thinning(TWO_HEAPS, num_blocked=0)
    assert [batch.take(row) for row in (0, 1, 0, 2)] == [True, True, False, True]


def test_an_embedding_that_is_missing_blocks_nothing():
    batch = Thinning(np.empty((3, 0), np.float32), num_blocked=2)
    assert [batch.take(row) for row in range(3)] == [True, True, True]


def test_neighbours_are_asked_when_nobody_else_is_left():
    batch = Thinning(TWO_HEAPS, num_blocked=3)
    batch.fill(np.arange(5), 5)
    assert batch.picks[:2] == [0, 3]
    assert sorted(batch.picks) == [0, 1, 2, 3, 4]


def test_length_does_not_make_a_neighbour_only_direction_does():
    batch = Thinning(np.array([[1, 0], [50, 0], [0.5, 0.9]], np.float32), num_blocked=2)
    batch.take(0)
    assert not batch.take(1)
    assert batch.take(2)


@given(st.integers(1, 40), st.integers(0, 45), st.floats(0, 0.99), st.integers(0, 9))
def test_thinned_picks_are_distinct_and_as_many_as_asked(num_open, num, thin, seed):
    rng = np.random.default_rng(seed)
    scored = pool(rng.normal(size=(num_open, 3)), rng.random(num_open))
    picks = class_stratified(scored, num, rng=rng, thin=thin)
    assert len(picks) == len(set(picks.tolist())) == min(num, num_open)


def test_thinning_spreads_a_batch_over_the_heaps_that_scores_alone_would_miss():
    embedding = np.repeat(np.eye(4, dtype=np.float32), 25, axis=0)
    scores = np.repeat([4.0, 3.0, 2.0, 1.0], 25)
    greedy = class_stratified(pool(embedding, scores), 4, rng=np.random.default_rng(0))
    spread = class_stratified(pool(embedding, scores), 4, rng=np.random.default_rng(0), thin=0.99)
    assert {int(row) // 25 for row in greedy} == {0}
    assert {int(row) // 25 for row in spread} == {0, 1, 2, 3}


def test_one_candidate_can_be_thinned():
    assert class_stratified(pool(np.ones((1, 2))), 1, rng=np.random.default_rng(0), thin=0.5).tolist() == [0]
