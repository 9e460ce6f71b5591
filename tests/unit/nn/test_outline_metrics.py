"""Metrics of outlines: sums by patient and side, means over patients, intervals, and reasons for no value."""

import math

import numpy as np
import pytest

from hilum.nn.metrics import bootstrap_weights, confusion
from hilum.nn.outline_metrics import outline_metrics, patient_metrics
from hilum.nn.outlines import OutlineRules, outline_counts

RULES = OutlineRules(tolerance_mm=1.0, band_edges_mm=(3.0,), min_overlap=0.0, neighbours=26)
NAMES = ["background", "lesion", "cyst"]
SPACING = (2.0, 1.0, 1.0)
IGNORE = 65_535


def scan(*cubes, label=1, shape=(12, 16, 16)):
    labels = np.zeros(shape, np.uint16)
    for corner, side in cubes:
        labels[tuple(slice(c, c + side) for c in corner)] = label
    return labels


def counts(truth, answer, rules=RULES):
    return outline_counts(truth, answer, SPACING, counts_KK=confusion(truth, answer, 3), rules=rules)


def measured(pairs, patients, num_resamples=100, rules=RULES):
    features = np.stack([counts(truth, answer, rules) for truth, answer in pairs])
    rng = np.random.default_rng(0)
    found = outline_metrics(
        features, NAMES, patients, rules=rules, num_resamples=num_resamples, confidence=0.9, rng=rng
    )
    return {(one.metric, one.class_name, one.size_band): one for one in found}


def of_patients(pairs, patients):
    features = np.stack([counts(truth, answer) for truth, answer in pairs])
    rows = patient_metrics(features, NAMES, patients, rules=RULES)
    return {(row["patient_id"], row["metric"], row["class_name"], row["size_band"]): row for row in rows}


BALL, SPECK = ((4, 4, 4), 4), ((1, 12, 12), 1)
RIGHT = (scan(BALL), scan(BALL))
HALF = (scan(BALL), scan(((4, 4, 6), 4)))  # half of it covered: Dice 0.5
MISSED = (scan(BALL), scan())
INVENTED = (scan(), scan(SPECK))
NOTHING = (scan(), scan())


def test_patients_count_alike_however_many_voxels_they_have():
    found = measured([RIGHT, RIGHT, HALF], ["a", "a", "b"])
    assert found["dice_per_patient", "lesion", ""].value == pytest.approx((1 + 0.5) / 2)
    assert found["dice_per_patient", "lesion", ""].num_patients == 2


def test_a_patient_without_a_class_in_truth_and_answer_is_left_out_of_its_mean():
    found = measured([RIGHT, NOTHING], ["a", "b"])
    assert found["dice_per_patient", "lesion", ""].value == 1
    assert found["dice_per_patient", "lesion", ""].num_patients == 1
    assert found["surface_dice", "lesion", ""].num_patients == 1


def test_an_invented_lesion_is_a_dice_and_surface_dice_of_nothing_and_no_distance():
    rows = of_patients([INVENTED], ["a"])
    assert rows["a", "dice", "lesion", ""]["value"] == 0
    assert rows["a", "surface_dice", "lesion", ""]["value"] == 0
    assert math.isnan(rows["a", "hd95_mm", "lesion", ""]["value"])
    assert "no distance to nothing" in rows["a", "hd95_mm", "lesion", ""]["reason"]
    assert "truth" in rows["a", "volume_error", "lesion", ""]["reason"]


def test_a_missed_lesion_costs_its_volume_and_no_distance():
    found = measured([MISSED], ["a"])
    assert found["volume_error", "lesion", ""].value == -1
    assert found["absolute_volume_error", "lesion", ""].value == 1
    assert found["surface_dice", "lesion", ""].value == 0
    assert math.isnan(found["hd95_mm", "lesion", ""].value)


def test_too_much_here_and_too_little_there_cancel_in_the_error_and_not_in_the_absolute_one():
    more, less = (scan(((4, 4, 4), 2)), scan(((4, 4, 4), 4))), (scan(BALL), scan(((4, 4, 4), 2)))
    found = measured([more, less], ["a", "b"])
    assert found["volume_error", "lesion", ""].value == pytest.approx((7 - 7 / 8) / 2)
    assert found["absolute_volume_error", "lesion", ""].value == pytest.approx((7 + 7 / 8) / 2)


def test_lesions_of_all_patients_are_counted_together_by_size():
    both = (scan(BALL, SPECK), scan(BALL))
    found = measured([both, RIGHT, INVENTED], ["a", "b", "c"])
    assert found["lesion_sensitivity", "lesion", ""].value == pytest.approx(2 / 3)
    assert found["lesion_sensitivity", "lesion", "<3 mm"].value == 0
    assert found["lesion_sensitivity", "lesion", ">=3 mm"].value == 1
    assert found["lesion_precision", "lesion", ""].value == pytest.approx(2 / 3)
    assert found["false_positives_per_scan", "lesion", ""].value == pytest.approx(1 / 3)
    assert found["false_positives_per_scan", "lesion", ">=3 mm"].value == 0


def test_what_nobody_has_has_a_reason_and_is_never_nothing():
    found = measured([RIGHT], ["a"])
    for metric in ("dice_per_patient", "surface_dice", "hd95_mm", "volume_error", "lesion_sensitivity"):
        one = found[metric, "cyst", ""]
        assert math.isnan(one.value)
        assert one.reason
        assert one.num_patients == 0
    assert all(bool(one.reason) == math.isnan(one.value) for one in found.values())


def test_the_mean_over_classes_is_of_those_that_have_a_value():
    found = measured([HALF], ["a"])
    assert found["dice_per_patient_mean", "", ""].value == found["dice_per_patient", "lesion", ""].value == 0.5


def test_unknown_voxels_count_nowhere_whatever_the_answer_says_there():
    truth = scan(BALL)
    truth[:, :, 10:] = IGNORE
    quiet, loud = scan(BALL), scan(BALL, ((2, 2, 10), 3))
    np.testing.assert_array_equal(counts(truth, quiet), counts(truth, loud))


def test_an_interval_over_patients_is_that_of_drawing_patients():
    pairs = [RIGHT, HALF, RIGHT, HALF, MISSED, HALF]
    patients = list("abcdef")
    found = measured(pairs, patients, num_resamples=200)["dice_per_patient", "lesion", ""]
    dice = np.array([1, 0.5, 1, 0.5, 0, 0.5])
    weights = bootstrap_weights(patients, 200, np.random.default_rng(0))[1:]
    low, high = np.quantile((weights * dice).sum(axis=1) / weights.sum(axis=1), [0.05, 0.95])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_a_patient_of_many_items_is_drawn_whole_and_weighs_as_one():
    pairs = [RIGHT] * 6 + [HALF, HALF, HALF, HALF]
    patients = ["a"] * 6 + list("bcde")
    found = measured(pairs, patients)["dice_per_patient", "lesion", ""]
    assert found.value == pytest.approx((1 + 4 * 0.5) / 5)
    assert found.low <= found.value <= found.high


def test_without_a_tolerance_no_surface_is_measured():
    rules = OutlineRules(tolerance_mm=None, band_edges_mm=(), min_overlap=0.0, neighbours=26)
    found = measured([RIGHT], ["a"], rules=rules)
    assert not {metric for metric, _, _ in found} & {"surface_dice", "hd95_mm"}
    assert found["lesion_sensitivity", "lesion", ""].value == 1
    assert {band for _, _, band in found} == {""}


def test_a_patient_s_volumes_are_in_millilitres_and_lesions_in_numbers():
    rows = of_patients([HALF], ["a"])
    assert rows["a", "true_volume_ml", "lesion", ""]["value"] == pytest.approx(64 * 2 / 1000)
    assert rows["a", "answered_volume_ml", "lesion", ""]["value"] == pytest.approx(64 * 2 / 1000)
    assert rows["a", "num_found_lesions", "lesion", ">=3 mm"]["value"] == 1
    assert rows["a", "num_true_lesions", "cyst", ">=3 mm"]["value"] == 0


def test_an_image_is_measured_in_its_plane():
    truth = scan(((0, 4, 4), 4), shape=(1, 16, 16))
    moved = scan(((0, 4, 6), 4), shape=(1, 16, 16))
    found = measured([(truth, moved)], ["a"])
    assert found["hd95_mm", "lesion", ""].value == 2
    assert found["lesion_sensitivity", "lesion", ">=3 mm"].value == 1  # 16 mm², a disc of 4.5 mm
