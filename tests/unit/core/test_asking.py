"""What is asked, what comes back, and what is refused as an answer."""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.asking import IGNORE, Annotation, Candidate, Chosen, Task
from hilum.core.errors import DataError
from hilum.core.geometry import Patch

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
WHEN = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)


def answered(patch, **answer):
    return Annotation("ann-1", 1, patch, "reader-1", WHEN, 3.5, **answer)


def test_a_task_a_choice_a_candidate_and_its_patch_share_one_name():
    patch = Patch("v", (1, 2, 3), (4, 5, 6))
    candidate = Candidate(patch, "patient")
    task = Task("q", Chosen(candidate, 0, "random", 0.0, "drawn"), "classify", ("no", "yes"))
    assert task.candidate_id == candidate.candidate_id == patch.candidate_id


def test_whose_patch_it_is_does_not_change_the_name_of_a_candidate():
    patch = Patch("v", (0, 0, 0), (1, 2, 2))
    assert Candidate(patch, "a").candidate_id == Candidate(patch, "b").candidate_id


def test_a_task_has_no_draft_unless_a_model_made_one():
    candidate = Candidate(Patch("v", (0, 0, 0), (1, 2, 2)), "patient")
    task = Task("q", Chosen(candidate, 0, "random", 0.0, "drawn"), "segment", ("background", "liver"))
    assert task.draft_class is None
    assert task.draft_label_map_zyx is None


@given(SHAPES)
def test_a_label_map_of_the_patch_s_shape_is_an_answer(shape):
    patch = Patch("v", (3, 2, 1), shape)
    labels = np.full(shape, IGNORE, np.uint16)
    assert answered(patch, label_map_zyx=labels).label_map_zyx is labels


@given(SHAPES, SHAPES)
def test_a_label_map_of_any_other_shape_is_refused_with_both(shape, given_shape):
    if shape == given_shape:
        return
    with pytest.raises(DataError) as refused:
        answered(Patch("v", (0, 0, 0), shape), label_map_zyx=np.zeros(given_shape, np.uint16))
    assert str(shape) in str(refused.value)
    assert str(given_shape) in str(refused.value)
    assert "ann-1" in str(refused.value)


def test_class_0_is_an_answer_and_not_the_lack_of_one():
    assert answered(Patch("v", (0, 0, 0), (1, 1, 1)), class_id=0).class_id == 0


@pytest.mark.parametrize("answer", [{}, {"class_id": 1, "label_map_zyx": np.zeros((1, 2, 2), np.uint16)}])
def test_neither_and_both_are_refused(answer):
    with pytest.raises(DataError, match="a class or a label map, and not both"):
        answered(Patch("v", (0, 0, 0), (1, 2, 2)), **answer)


def test_an_answer_once_given_cannot_be_changed_in_place():
    answer = answered(Patch("v", (0, 0, 0), (1, 1, 1)), class_id=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.class_id = 1
    assert dataclasses.replace(answer, class_id=1, revision=2).revision == 2


def test_unanswered_is_the_largest_label_and_no_class():
    assert np.iinfo(np.uint16).max == IGNORE
