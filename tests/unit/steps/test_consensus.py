"""CROWDLAB and STAPLE make one answer of several, where a majority could not."""

import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from hilum.core.agreement import majority_map, votes_of
from hilum.core.asking import IGNORE, Annotation
from hilum.core.errors import RequestError
from hilum.core.geometry import Patch
from hilum.steps.consensus import activelab, label_table, multiannotator, settled, staple

NUM_CLASSES = 3


def answer(place, who, *, class_id=None, label_map=None):
    shape = (1, 1, 1) if label_map is None else label_map.shape
    patch = Patch("v", (place, 0, 0), shape)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Annotation(f"{who}-{place}", 1, patch, who, now, 1.0, class_id=class_id, label_map_zyx=label_map)


def crowd(*, num=120, seed=0, errors=(0.05, 0.6), model_error=0.1):
    """Pairs of answers by a careful and a careless annotator, a model's probabilities, and the truth."""
    rng = np.random.default_rng(seed)
    votes, probs, truth_of = {}, {}, {}
    for place in range(num):
        truth = int(rng.integers(NUM_CLASSES))
        told = {}
        for who, error in zip(("careful", "careless"), errors, strict=True):
            wrong = rng.random() < error
            told[who] = (truth + wrong * int(rng.integers(1, NUM_CLASSES))) % NUM_CLASSES
        # The careless one is asked first as often as second: of a tie the majority has the first.
        names = ["careful", "careless"] if place % 2 else ["careless", "careful"]
        votes_here = [answer(place, who, class_id=told[who]) for who in names]
        candidate_id = votes_here[0].patch.candidate_id
        seen = (truth + (rng.random() < model_error)) % NUM_CLASSES
        probs[candidate_id] = np.where(np.arange(NUM_CLASSES) == seen, 0.8, 0.1)
        votes[candidate_id], truth_of[candidate_id] = votes_of(votes_here), truth
    return votes, probs, truth_of


def share_right(answers, truth_of):
    return np.mean([answer.class_id == truth_of[answer.patch.candidate_id] for answer in answers])


def test_crowdlab_learns_whom_to_trust_and_is_right_more_often_than_the_majority():
    votes, probs, truth_of = crowd()
    by_crowdlab = share_right(settled(votes, list(votes), "crowdlab", probs), truth_of)
    by_majority = share_right(settled(votes, list(votes), "majority", probs), truth_of)
    assert by_crowdlab > by_majority + 0.1


def test_nobody_is_told_a_class_that_nobody_gave():
    votes, probs, _ = crowd(model_error=1.0)
    for one in settled(votes, list(votes), "crowdlab", probs):
        assert one.class_id in {vote.class_id for vote in votes[one.patch.candidate_id]}


def test_without_a_model_that_had_not_seen_the_answers_the_majority_decides():
    votes, probs, _ = crowd(num=20)
    blind = next(iter(votes))
    del probs[blind]
    told = {one.patch.candidate_id: one for one in settled(votes, list(votes), "crowdlab", probs)}
    assert told[blind].class_id == votes[blind][0].class_id
    assert settled(votes, [blind], "crowdlab", {})[0].class_id == votes[blind][0].class_id


def test_whoever_was_answered_once_is_left_alone():
    votes, probs, _ = crowd(num=12)
    alone = next(iter(votes))
    votes[alone] = votes[alone][:1]
    settled_ids = {one.patch.candidate_id for one in settled(votes, list(votes), "crowdlab", probs)}
    assert settled_ids == set(votes) - {alone}


def test_the_table_of_labels_has_nobody_where_somebody_did_not_answer():
    first, second = answer(0, "ann", class_id=1), answer(1, "ben", class_id=0)
    votes = {one.patch.candidate_id: [one] for one in (first, second)}
    table = label_table(votes, [first.patch.candidate_id, second.patch.candidate_id])
    assert np.array_equal(table, [[1, np.nan], [np.nan, 0]], equal_nan=True)


def test_activelab_doubts_what_a_model_contradicts_and_who_is_alone():
    votes, probs, _ = crowd(errors=(0.1, 0.1), num=60)
    *_, lonely = votes
    votes[lonely] = votes[lonely][:1]
    doubt = activelab(votes, probs)
    assert set(doubt) == set(votes)
    assert all(0 <= value <= 1 for value in doubt.values())
    agreeing = [one for one in votes if len({vote.class_id for vote in votes[one]}) == 1]
    backed = [doubt[one] for one in agreeing if probs[one].argmax() == votes[one][0].class_id and one != lonely]
    opposed = [doubt[one] for one in agreeing if probs[one].argmax() != votes[one][0].class_id]
    disputed = [doubt[one] for one in votes if one not in agreeing]
    assert max(backed) < min(opposed)
    assert np.mean(disputed) > np.mean(backed)
    assert doubt[lonely] > max(backed)


@pytest.mark.parametrize(
    "told", [{"ann": [0, 0, 0]}, {"ann": [0, 0, 0], "ben": [0]}, {"ann": [0, 1, 0], "ben": [1, 0]}, {"ann": [2]}]
)
@pytest.mark.parametrize("probs_C", [(0.5, 0.5, 0.0), (1.0, 0.0, 0.0)])
def test_few_answers_of_few_annotators_are_doubted_by_a_number(told, probs_C):
    said = [answer(place, who, class_id=c) for who, classes in told.items() for place, c in enumerate(classes)]
    votes = {}
    for one in said:
        votes.setdefault(one.patch.candidate_id, []).append(one)
    doubt = activelab(votes, {one: np.array(probs_C) for one in votes})
    assert all(0 <= value <= 1 for value in doubt.values())
    settled(votes, list(votes), "crowdlab", {one: np.array(probs_C) for one in votes})


def outlines(errors, *, seed=0, size=40):
    rng = np.random.default_rng(seed)
    truth = np.zeros((1, size, size), np.uint16)
    truth[0, 8:24, 8:30] = 1
    truth[0, 26:36, 4:20] = 2
    told = []
    for error in errors:
        wrong = rng.random(truth.shape) < error
        told.append(np.where(wrong, (truth + rng.integers(1, 3, truth.shape)) % 3, truth).astype(np.uint16))
    return truth, told


def test_staple_trusts_those_who_agree_with_the_others():
    truth, told = outlines((0.03, 0.03, 0.5, 0.5, 0.5))
    assert np.mean(staple(told) == truth) > np.mean(majority_map(told) == truth) + 0.02


def test_staple_leaves_open_what_nobody_answered_and_takes_the_word_of_who_answered_alone():
    _, told = outlines((0.02, 0.02, 0.02))
    for one in told:
        one[0, 0] = IGNORE
    told[0][0, 1] = IGNORE
    told[1][0, 1] = IGNORE
    found = staple(told)
    assert (found[0, 0] == IGNORE).all()
    assert np.array_equal(found[0, 1], told[2][0, 1])


def test_staple_of_one_class_alone_is_that_class():
    told = [np.full((1, 2, 2), 1, np.uint16)] * 3
    assert (staple(told) == 1).all()


def test_without_cleanlab_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.multiannotator", None)
    with pytest.raises(RequestError, match=r"pip install 'hilum\[relabel\]'"):
        multiannotator()
