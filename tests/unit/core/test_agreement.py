"""Several answers about one patch become one."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.agreement import (
    answered_dice,
    by_majority,
    fleiss_kappa,
    majority_class,
    majority_map,
    mean_pairwise_dice,
    votes_of,
)
from hilum.core.asking import IGNORE, Annotation
from hilum.core.geometry import Patch

PATCH = Patch("v", (0, 0, 0), (1, 1, 4))
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def answer(who, *, class_id=None, voxels=None, number=0):
    label_map = None if voxels is None else np.array([[voxels]], np.uint16)
    at = FIRST + timedelta(days=number)
    return Annotation(f"{who}-{number}", 1, PATCH, who, at, 4.0, class_id=class_id, label_map_zyx=label_map)


def test_one_answer_stands_for_itself():
    only = answer("ann", class_id=2)
    assert by_majority([only]) is only


def test_the_last_answer_of_each_annotator_is_a_vote():
    said = [answer("ann", class_id=0), answer("ben", class_id=1), answer("ann", class_id=1, number=1)]
    assert [(vote.annotator, vote.class_id) for vote in votes_of(said)] == [("ann", 1), ("ben", 1)]


def test_most_votes_make_the_class_and_of_a_tie_the_first_given():
    assert majority_class([2, 1, 1]) == 1
    assert majority_class([2, 1, 0]) == 2
    assert by_majority([answer("ann", class_id=2), answer("ben", class_id=1)]).class_id == 2


def test_what_is_agreed_on_says_who_agreed_and_what_it_took():
    one = by_majority([answer("ben", class_id=1), answer("ann", class_id=1, number=3)])
    assert (one.annotator, one.seconds, one.revision) == ("ann + ben", 8.0, 2)
    assert one.annotation_id == f"agreed-{PATCH.candidate_id}"
    assert one.answered_at == FIRST + timedelta(days=3)


def test_voxels_go_by_majority_and_are_unanswered_where_they_tie_or_nobody_answers():
    votes = [
        answer("ann", voxels=[1, 1, 0, IGNORE]),
        answer("ben", voxels=[1, 2, 0, IGNORE]),
        answer("cai", voxels=[0, IGNORE, 0, IGNORE]),
    ]
    assert by_majority(votes).label_map_zyx.ravel().tolist() == [1, IGNORE, 0, IGNORE]


def test_who_answered_a_voxel_alone_decides_it():
    maps = [np.array([[[IGNORE, 3]]], np.uint16), np.array([[[2, IGNORE]]], np.uint16)]
    assert majority_map(maps).ravel().tolist() == [2, 3]


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_a_majority_map_is_what_counting_each_voxel_says(seed, num):
    maps = np.random.default_rng(seed).choice(np.array([0, 1, 2, IGNORE], np.uint16), (num, 1, 3, 4))
    found = majority_map(list(maps))
    for place in np.ndindex(*found.shape):
        said = [value for value in maps[(slice(None), *place)].tolist() if value != IGNORE]
        ranked = sorted(((said.count(value), value) for value in set(said)), reverse=True)
        tie = not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0])
        assert found[place] == (IGNORE if tie else ranked[0][1])


def test_dice_counts_voxels_alone_that_both_answered():
    one = np.array([[[1, 1, 0, IGNORE, 2]]], np.uint16)
    assert answered_dice(one, np.array([[[1, 1, 0, 1, 2]]])) == 1.0
    assert answered_dice(one, np.array([[[1, 0, 0, 0, 1]]])) == pytest.approx(2 * 1 / (3 + 2))
    assert answered_dice(np.array([[[1, 1, 0, 1, 2]]]), one) == 1.0
    assert answered_dice(np.zeros((1, 2, 2), np.uint16), np.zeros((1, 2, 2))) == 1.0
    assert answered_dice(np.zeros((1, 2, 2), np.uint16), np.ones((1, 2, 2))) == 0.0


@given(st.integers(0, 2**32 - 1))
def test_dice_is_one_only_where_the_foreground_is_the_same(seed):
    one, other = np.random.default_rng(seed).integers(0, 3, (2, 1, 3, 3)).astype(np.uint16)
    dice = answered_dice(one, other)
    assert 0 <= dice <= 1
    assert (dice == 1) == bool(np.array_equal(one, other))


def test_the_mean_of_all_pairs():
    maps = [np.array([[[1, 1]]]), np.array([[[1, 0]]]), np.array([[[0, 0]]])]
    assert mean_pairwise_dice(maps) == pytest.approx((2 / 3 + 0 + 0) / 3)


WORKED_EXAMPLE = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)
"""Ten subjects, fourteen raters, five categories: https://en.wikipedia.org/wiki/Fleiss%27_kappa#Worked_example."""


def test_fleiss_kappa_of_the_published_example():
    assert fleiss_kappa(WORKED_EXAMPLE) == pytest.approx(0.210, abs=5e-4)


def test_candidates_with_one_answer_or_none_say_nothing_about_agreement():
    alone = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    assert fleiss_kappa(np.concatenate([WORKED_EXAMPLE, alone])) == fleiss_kappa(WORKED_EXAMPLE)
    assert fleiss_kappa(alone) is None


def test_agreement_about_one_class_is_no_kappa_and_about_two_is_one():
    assert fleiss_kappa(np.array([[3, 0], [2, 0]])) is None
    assert fleiss_kappa(np.array([[3, 0], [0, 2]])) == 1.0


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=8), st.permutations([0, 1, 2]))
def test_fleiss_kappa_is_at_most_one_whatever_the_classes_are_called(counts, order):
    counts_NC = np.array(counts)
    found, renamed = fleiss_kappa(counts_NC), fleiss_kappa(counts_NC[:, order])
    if found is None:
        assert renamed is None
    else:
        assert -1 <= found <= 1 + 1e-12
        assert renamed == pytest.approx(found, abs=1e-9)
