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
