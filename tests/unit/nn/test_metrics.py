"""Metrics: scikit-learn's values, NaN where a class is absent, intervals that hold the value."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, jaccard_score, roc_auc_score

from hilum.nn.metrics import (
    bootstrap_weights,
    classify_metrics,
    confusion,
    segment_metrics,
    weighted_auc,
)

OPTIONS = {"num_resamples": 200, "confidence": 0.95}
NAMES = ["background", "liver", "tumour"]


def rng(seed=0):
    return np.random.default_rng(seed)


def by_name(measured):
    return {(one.metric, one.class_name): one for one in measured}


def classified(seed, num=60, num_classes=3):
    random = rng(seed)
    truth = np.concatenate([np.arange(num_classes), random.integers(0, num_classes, num - num_classes)])
    probs = random.dirichlet(np.ones(num_classes), num) + 0.4 * np.eye(num_classes)[truth]
    return probs / probs.sum(axis=1, keepdims=True), truth, [f"p{i % 9}" for i in range(num)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_classify_metrics_are_scikit_learn_s(seed):
    probs, truth, patients = classified(seed)
    found = by_name(classify_metrics(probs, truth, NAMES, patients, rng=rng(), **OPTIONS))
    answered = probs.argmax(axis=1)
    assert found["accuracy", ""].value == pytest.approx(accuracy_score(truth, answered))
    assert found["balanced_accuracy", ""].value == pytest.approx(balanced_accuracy_score(truth, answered))
    area = roc_auc_score(truth, probs, multi_class="ovr", average="macro")
    assert found["auc_macro", ""].value == pytest.approx(area)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_segment_metrics_are_scikit_learn_s_over_all_voxels(seed):
    random = rng(seed)
    truth, answered = random.integers(0, 3, (6, 50)), random.integers(0, 3, (6, 50))
    truth[0, :3] = [0, 1, 2]
    counts = np.stack([confusion(a, b, 3) for a, b in zip(truth, answered, strict=True)])
    found = by_name(segment_metrics(counts, NAMES, list("abcdef"), rng=rng(), **OPTIONS))
    dice = f1_score(truth.ravel(), answered.ravel(), average=None)
    overlap = jaccard_score(truth.ravel(), answered.ravel(), average=None)
    for k, name in enumerate(NAMES):
        assert found["dice", name].value == pytest.approx(dice[k])
        assert found["iou", name].value == pytest.approx(overlap[k])
    assert found["dice_mean", ""].value == pytest.approx(dice[1:].mean())
    assert found["iou_mean", ""].value == pytest.approx(overlap[1:].mean())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_weighted_auc_is_scikit_learn_s_with_ties_and_weights(seed, with_ties):
    random = rng(seed)
    scores = random.integers(0, 5, 40) / 5 if with_ties else random.random(40)
    positive = random.random(40) < 0.4
    positive[:2] = True, False
    weights = random.integers(0, 4, (6, 40)).astype(float)
    weights[:, :2] = 1
    expected = [roc_auc_score(positive, scores, sample_weight=row) for row in weights]
    assert np.allclose(weighted_auc(scores, positive, weights), expected)


def test_auc_without_both_kinds_has_no_value():
    assert np.isnan(weighted_auc(np.array([0.1, 0.9]), np.array([True, True]), np.ones((1, 2)))).all()


def test_a_class_that_is_absent_has_no_value_and_is_left_out_of_the_mean():
    probs, truth, patients = classified(0)
    truth = np.minimum(truth, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = by_name(classify_metrics(probs, truth, NAMES, patients, rng=rng(), **OPTIONS))
    assert np.isnan(found["recall", "tumour"].value)
    assert np.isnan(found["recall", "tumour"].low)
    assert np.isnan(found["auc", "tumour"].value)
    known = [found["recall", name].value for name in NAMES[:2]]
    assert found["balanced_accuracy", ""].value == pytest.approx(np.mean(known))


def test_dice_of_an_absent_class_has_no_value_even_when_it_was_predicted():
    truth, answered = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    counts = confusion(truth, answered, 3)[None]
    found = by_name(segment_metrics(counts, NAMES, ["p"], rng=rng(), **OPTIONS))
    assert np.isnan(found["dice", "tumour"].value)
    assert found["dice", "liver"].value == 1
    assert found["dice_mean", ""].value == 1


def test_a_class_that_was_missed_altogether_has_a_dice_of_nothing():
    counts = confusion(np.array([0, 1, 1]), np.array([0, 0, 0]), 2)[None]
    found = by_name(segment_metrics(counts, NAMES[:2], ["p"], rng=rng(), **OPTIONS))
    assert found["dice", "liver"].value == 0


def test_unknown_and_unanswered_truth_is_not_counted():
    truth = np.array([0, 1, 65_535, 65_535], np.uint16)
    assert confusion(truth, np.array([0, 1, 1, 0]), 2).sum() == 2
    assert confusion(np.array([-1, 0]), np.array([0, 0]), 2).sum() == 1


@given(st.integers(0, 10_000))
def test_an_interval_holds_its_value(seed):
    probs, truth, patients = classified(seed)
    for one in classify_metrics(probs, truth, NAMES, patients, rng=rng(), **OPTIONS):
        assert 0 <= one.low <= one.high <= 1
        if one.metric in ("accuracy", "auc_macro"):
            assert one.low - 0.02 <= one.value <= one.high + 0.02


def test_the_same_generator_gives_the_same_interval():
    probs, truth, patients = classified(1)
    one, other = (classify_metrics(probs, truth, NAMES, patients, rng=rng(4), **OPTIONS) for _ in range(2))
    assert one == other


def test_five_patients_are_drawn_whole():
    patients = [f"p{i // 3}" for i in range(15)]
    weights = bootstrap_weights(patients, 100, rng())
    assert weights.shape == (101, 15)
    assert np.array_equal(weights[0], np.ones(15))
    assert all(np.array_equal(weights[:, 3 * p], weights[:, 3 * p + 1]) for p in range(5))


def test_of_fewer_patients_single_items_are_drawn():
    weights = bootstrap_weights(["a"] * 10 + ["b"] * 10, 50, rng())
    assert not np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(weights.sum(axis=1), np.full(51, 20))


def test_without_resamples_there_is_a_value_and_no_interval():
    probs, truth, patients = classified(2)
    found = classify_metrics(probs, truth, NAMES, patients, num_resamples=0, confidence=0.9, rng=rng())
    assert np.isfinite(found[0].value)
    assert np.isnan(found[0].low)
    assert np.isnan(found[0].high)


def test_more_confidence_is_a_wider_interval():
    probs, truth, patients = classified(3)
    narrow, wide = (
        classify_metrics(probs, truth, NAMES, patients, num_resamples=400, confidence=c, rng=rng())[0]
        for c in (0.5, 0.99)
    )
    assert wide.low < narrow.low
    assert wide.high > narrow.high


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=25))
def test_auc_is_the_share_of_pairs_that_are_ranked_right(items):
    scores, positive, weights = (np.array(column) for column in zip(*items, strict=True))
    right = total = 0.0
    for a in np.flatnonzero(positive):
        for b in np.flatnonzero(~positive):
            total += weights[a] * weights[b]
            right += (
                weights[a] * weights[b] * (1.0 if scores[a] > scores[b] else 0.5 if scores[a] == scores[b] else 0.0)
            )
    found = weighted_auc(scores.astype(float), positive, weights[None].astype(float))[0]
    assert np.isnan(found) if total == 0 else found == pytest.approx(right / total)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([-1, 0, 1, 2, 3]), st.integers(0, 2)), max_size=30))
def test_confusion_counts_every_known_pair_once(pairs):
    truth, predicted = (np.array([pair[k] for pair in pairs], np.int64) for k in (0, 1))
    expected = np.zeros((3, 3), int)
    for true, answered in pairs:
        if 0 <= true < 3:
            expected[true, answered] += 1
    np.testing.assert_array_equal(confusion(truth, predicted, 3), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_items_changes_no_value(seed):
    probs, truth, patients = classified(seed, num=30)
    order = rng(seed).permutation(30)
    values = [
        [one.value for one in classify_metrics(p, t, NAMES, names, num_resamples=0, confidence=0.9, rng=rng())]
        for p, t, names in [(probs, truth, patients), (probs[order], truth[order], [patients[i] for i in order])]
    ]
    np.testing.assert_allclose(*values)


def test_about_as_many_intervals_hold_the_truth_as_their_confidence_says():
    random, held = rng(7), 0
    for _ in range(120):
        truth = random.integers(0, 2, 150)
        right = random.random(150) < 0.8
        probs = np.eye(2)[np.where(right, truth, 1 - truth)]
        options = {"num_resamples": 200, "confidence": 0.9, "rng": random}
        accuracy = classify_metrics(probs, truth, NAMES[:2], [str(i) for i in range(150)], **options)[0]
        held += accuracy.low <= 0.8 <= accuracy.high
    assert 0.8 <= held / 120 <= 0.98


def test_items_that_are_alike_within_a_patient_make_the_interval_wider():
    """Ten frames of a patient that all fail together are one failure, not ten."""
    failing = rng(1).random(20) < 0.3
    truth = np.tile([0, 1], 100)
    probs = np.eye(2)[np.where(np.repeat(failing, 10), 1 - truth, truth)]
    by_patient, by_frame = (
        classify_metrics(probs, truth, NAMES[:2], names, rng=rng(), **OPTIONS)[0]
        for names in ([f"p{i // 10}" for i in range(200)], [str(i) for i in range(200)])
    )
    assert by_patient.value == by_frame.value
    assert by_patient.high - by_patient.low > 2 * (by_frame.high - by_frame.low)


def test_a_perfect_answer_has_an_interval_of_no_width():
    truth = np.tile([0, 1, 2], 10)
    found = classify_metrics(np.eye(3)[truth], truth, NAMES, [f"p{i}" for i in range(30)], rng=rng(), **OPTIONS)
    assert {(one.value, one.low, one.high) for one in found} == {(1.0, 1.0, 1.0)}
