"""The pool as samplers see it refuses what no sampler should meet."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import DataError, RecipeError
from hilum.select.scored import UNKNOWN, ScoredPool, how_many
from hilum.testing.samplers import scored_pool


def ids(num):
    return np.array([f"{i:012x}" for i in range(num)], np.str_)


def test_a_pool_before_there_is_a_model_has_no_classes_and_no_scores():
    scored = ScoredPool(ids(3), embedding=np.ones((3, 2), np.float16))
    assert scored.predicted_class.tolist() == [UNKNOWN] * 3
    assert scored.num_classes == 0
    assert scored.labelled_embedding.shape == (0, 2)


def test_an_empty_pool_is_a_pool():
    assert ScoredPool(ids(0)).num == 0


def test_the_first_value_that_is_not_a_number_is_named():
    scores = np.zeros(9000, np.float32)
    scores[8812] = np.nan
    with pytest.raises(DataError) as refused:
        ScoredPool(ids(9000), scores={"margin": scores})
    assert str(refused.value) == "scores must be finite; scores[8812] is nan"


@pytest.mark.parametrize("name", ["embedding", "class_fractions", "labelled_embedding"])
def test_an_embedding_or_fraction_that_is_not_a_number_is_refused(name):
    values = np.zeros((4, 2), np.float32)
    values[2, 1] = np.inf
    given = {"embedding": np.zeros((4, 2), np.float32), name: values}
    with pytest.raises(DataError, match=rf"{name} must be finite; {name}\[2, 1\] is inf"):
        ScoredPool(ids(4), **given)


def test_rows_out_of_order_or_twice_are_refused():
    for wrong in (ids(3)[::-1], ids(3)[[0, 1, 1]]):
        with pytest.raises(DataError, match="sorted and distinct"):
            ScoredPool(wrong)


def test_a_column_of_another_length_is_refused():
    with pytest.raises(DataError, match="'margin' has 2 rows for 3 candidates"):
        ScoredPool(ids(3), scores={"margin": np.zeros(2, np.float32)})


def test_a_score_that_was_not_computed_is_guessed_at():
    with pytest.raises(RecipeError, match="No score is called 'margins'. Did you mean 'margin'"):
        scored_pool(3).score("margins")


def test_what_was_picked_counts_as_labelled_and_what_was_dropped_is_gone():
    scored = scored_pool(10, num_labelled=2)
    after = scored.after(np.array([7, 3]), np.array([0, 3]))
    assert after.candidate_ids.tolist() == [i for n, i in enumerate(scored.candidate_ids) if n not in {0, 3, 7}]
    np.testing.assert_array_equal(after.labelled_embedding[2:], scored.embedding[[7, 3]])
    np.testing.assert_array_equal(after.labelled_fractions[2:].argmax(axis=1), scored.predicted_class[[7, 3]])
    np.testing.assert_array_equal(after.labelled_fractions[:2], scored.labelled_fractions)
    np.testing.assert_array_equal(after.scores["margin"], np.delete(scored.scores["margin"], [0, 3, 7]))
    assert scored.num == 10


def test_more_than_there_are_is_all_there_are():
    assert how_many(scored_pool(5), 9) == 5
    assert how_many(scored_pool(5), 0) == 0


@given(st.integers(0, 20), st.data())
def test_whoever_is_left_keeps_every_column_of_their_own(num, data):
    scored = scored_pool(num, num_labelled=2)
    fates = data.draw(st.lists(st.sampled_from(["stays", "picked", "dropped"]), min_size=num, max_size=num))
    stays, picked, dropped = (
        np.array([row for row, fate in enumerate(fates) if fate == kind], np.int64)
        for kind in ("stays", "picked", "dropped")
    )
    left = scored.after(picked, dropped)
    for name in ("candidate_ids", "predicted_class", "class_fractions", "embedding"):
        np.testing.assert_array_equal(getattr(left, name), getattr(scored, name)[stays])
    for name in scored.scores:
        np.testing.assert_array_equal(left.score(name), scored.score(name)[stays])
    np.testing.assert_array_equal(left.labelled_embedding[2:], scored.embedding[picked])
    np.testing.assert_array_equal(left.labelled_fractions[2:].argmax(axis=1), scored.predicted_class[picked])


@given(st.integers(1, 15), st.integers(0, 14), st.integers(0, 14))
def test_picking_in_two_steps_leaves_whom_picking_at_once_leaves(num, first, second):
    scored = scored_pool(max(num, first + 1, second + 1))
    nobody = np.empty(0, np.int64)
    if first == second:
        return
    at_once = scored.after(np.array([first, second]), nobody)
    one = scored.after(np.array([first]), nobody)
    row = int(np.searchsorted(one.candidate_ids, scored.candidate_ids[second]))
    in_two = one.after(np.array([row]), nobody)
    np.testing.assert_array_equal(in_two.candidate_ids, at_once.candidate_ids)
    np.testing.assert_array_equal(in_two.labelled_embedding, at_once.labelled_embedding)


def test_asking_again_copies_no_embedding_until_somebody_reads_it():
    num, size = 50_000, 64
    scored = ScoredPool(ids(num), embedding=np.ones((num, size), np.float32))
    tracemalloc.start()
    again = scored.after(np.array([1]), np.array([2, 3])).after(np.array([0]), np.array([7]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < num * size * 4 / 5
    assert again.embedding.shape == (num - 5, size)


def test_other_scores_leave_the_rest_as_it_is():
    scored = scored_pool(6, num_labelled=1).after(np.array([1]), np.array([2]))
    judged = scored.with_scores({"margin": np.arange(4, dtype=np.float32)})
    assert judged.score("margin").tolist() == [0, 1, 2, 3]
    for name in ("candidate_ids", "predicted_class", "class_fractions", "embedding", "labelled_embedding"):
        np.testing.assert_array_equal(getattr(judged, name), getattr(scored, name))
