"""How good a checkpoint is, with bootstrap intervals: Dice, IoU, accuracy, balanced accuracy, AUC.

Shape letters: N = items (a frame, or a whole volume), K = classes (true, predicted), R =
resamples. Everything but AUC comes from confusion counts, so voxels are counted once,
where they are. A class that is absent from the truth has no value: NaN, never 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_PATIENTS_FOR_BOOTSTRAP = 5
NOT_IN_TRUTH = "the truth does not hold it"
_NOT_BOTH = "the truth does not hold both it and something else"
LOWER_IS_BETTER = ("hd95_mm", "volume_error", "absolute_volume_error", "false_positives_per_scan")
"""Metrics of which less is better, or none is: not what a champion is chosen by."""
_MAX_WEIGHTS = 4_000_000


@dataclass(frozen=True)
class Measured:
    """One metric: its value, its interval, and of how many items and patients; ``reason``: why there is no value.

    ``size_band`` says of lesions of which size, and is empty for all.
    """

    metric: str
    class_name: str
    value: float
    low: float
    high: float
    num_items: int
    num_patients: int = 0
    size_band: str = ""
    reason: str = ""


def confusion(truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], num_classes: int) -> Ints:
    """(true, predicted) counts; ``truth`` outside 0 … num_classes − 1 (unknown, unanswered) is not counted."""
    known = (truth >= 0) & (truth < num_classes)
    pairs = truth[known].astype(np.int64) * num_classes + predicted[known].astype(np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def bootstrap_weights(patient_ids: list[str], num_resamples: int, rng: np.random.Generator) -> Floats:
    """(1 + R, N): how often each item counts; row 0 is the data itself.

    Whole patients are drawn when there are at least five, for a patient's items are alike;
    single items otherwise.
    """
    patients, patient_of_item = np.unique(patient_ids, return_inverse=True)
    if len(patients) < MIN_PATIENTS_FOR_BOOTSTRAP:
        patient_of_item = np.arange(len(patient_ids))
    num = int(patient_of_item.max()) + 1
    drawn = rng.multinomial(num, np.full(num, 1 / num), size=num_resamples)
    return np.concatenate([np.ones((1, len(patient_ids))), drawn[:, patient_of_item].astype(float)])


def segment_metrics(
    confusions_NKK: Ints,
    class_names: list[str],
    patient_ids: list[str],
    *,
    num_resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> list[Measured]:
    """Dice and IoU of every class, over all voxels of all items, and their means over foreground classes."""
    weights_RN = bootstrap_weights(patient_ids, num_resamples, rng)
    counts_RKK = np.tensordot(weights_RN, confusions_NKK.astype(float), axes=1)
    dice_RK, iou_RK = dice_and_iou(counts_RKK)
    summary = Summary(len(patient_ids), len(set(patient_ids)), confidence)
    return [
        summary.of("dice_mean", "", mean_of_known(dice_RK[:, 1:])),
        summary.of("iou_mean", "", mean_of_known(iou_RK[:, 1:])),
        *(summary.of("dice", name, dice_RK[:, k]) for k, name in enumerate(class_names)),
        *(summary.of("iou", name, iou_RK[:, k]) for k, name in enumerate(class_names)),
    ]


def classify_metrics(
    probs_NK: npt.NDArray[np.floating],
    truth_N: Ints,
    class_names: list[str],
    patient_ids: list[str],
    *,
    num_resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> list[Measured]:
    """Accuracy, balanced accuracy and macro AUC (one against the rest), and recall and AUC of every class."""
    num_classes = len(class_names)
    weights_RN = bootstrap_weights(patient_ids, num_resamples, rng)
    pairs_N = truth_N * num_classes + probs_NK.argmax(axis=1)
    one_hot_NKK = np.zeros((len(truth_N), num_classes**2))
    one_hot_NKK[np.arange(len(truth_N)), pairs_N] = 1
    counts_RKK = (weights_RN @ one_hot_NKK).reshape(-1, num_classes, num_classes)
    recall_RK = ratio(np.diagonal(counts_RKK, axis1=1, axis2=2), counts_RKK.sum(axis=2))
    auc_RK = np.stack([weighted_auc(probs_NK[:, k], truth_N == k, weights_RN) for k in range(num_classes)], axis=1)
    accuracy_R = ratio(np.trace(counts_RKK, axis1=1, axis2=2), counts_RKK.sum(axis=(1, 2)))
    summary = Summary(len(truth_N), len(set(patient_ids)), confidence)
    return [
        summary.of("accuracy", "", accuracy_R),
        summary.of("balanced_accuracy", "", mean_of_known(recall_RK)),
        summary.of("auc_macro", "", mean_of_known(auc_RK), why_not=_NOT_BOTH),
        *(summary.of("recall", name, recall_RK[:, k]) for k, name in enumerate(class_names)),
        *(summary.of("auc", name, auc_RK[:, k], why_not=_NOT_BOTH) for k, name in enumerate(class_names)),
    ]


def patient_recalls(
    truth_N: Ints, answered_N: Ints, class_names: list[str], patient_ids: list[str]
) -> Iterator[dict[str, Any]]:
    """A row for every patient with the share that is right, of all items ('') and of every class."""
    owners, right_N = np.asarray(patient_ids), truth_N == answered_N
    for patient_id in np.unique(owners):
        mine = owners == patient_id
        chosen = [("accuracy", "", mine), *(("recall", n, mine & (truth_N == k)) for k, n in enumerate(class_names))]
        for metric, class_name, of_N in chosen:
            num_items = int(of_N.sum())
            yield {
                "patient_id": str(patient_id),
                "metric": metric,
                "class_name": class_name,
                "size_band": "",
                "value": float(right_N[of_N].mean()) if num_items else float("nan"),
                "num_items": num_items,
                "reason": "" if num_items else NOT_IN_TRUTH,
            }


def dice_and_iou(counts_RKK: Floats) -> tuple[Floats, Floats]:
    """(R, K) each, from (true, predicted) counts; NaN where a class is absent from the truth."""
    shared_RK = np.diagonal(counts_RKK, axis1=1, axis2=2)
    true_RK, predicted_RK = counts_RKK.sum(axis=2), counts_RKK.sum(axis=1)
    present_RK = np.where(true_RK > 0, 1.0, np.nan)
    dice_RK = ratio(2 * shared_RK, true_RK + predicted_RK)
    iou_RK = ratio(shared_RK, true_RK + predicted_RK - shared_RK)
    return dice_RK * present_RK, iou_RK * present_RK


def weighted_auc(score_N: npt.NDArray[np.floating], positive_N: npt.NDArray[np.bool_], weights_RN: Floats) -> Floats:
    """Area under the ROC curve for every row of weights, ties counted half; NaN without both kinds.

    Equal to scikit-learn's ``roc_auc_score`` with sample weights, for hundreds of resamples at once.
    """
    order = np.argsort(score_N, kind="stable")
    first_of_tie = np.flatnonzero(np.diff(score_N[order], prepend=-np.inf))
    rows = max(1, _MAX_WEIGHTS // max(1, len(score_N)))
    parts = [
        _auc_of_rows(weights_RN[at : at + rows, order], positive_N[order], first_of_tie)
        for at in range(0, len(weights_RN), rows)
    ]
    return np.concatenate(parts)


def _auc_of_rows(weights_RN: Floats, positive_N: npt.NDArray[np.bool_], first_of_tie: npt.NDArray[np.intp]) -> Floats:
    positive_RT = np.add.reduceat(weights_RN * positive_N, first_of_tie, axis=1)
    negative_RT = np.add.reduceat(weights_RN * ~positive_N, first_of_tie, axis=1)
    below_RT = np.cumsum(negative_RT, axis=1) - negative_RT / 2
    pairs_R = positive_RT.sum(axis=1) * negative_RT.sum(axis=1)
    return ratio((positive_RT * below_RT).sum(axis=1), pairs_R)


@dataclass(frozen=True)
class Summary:
    """Makes one `Measured` of a metric's value and its resamples."""

    num_items: int
    num_patients: int
    confidence: float

    def of(
        self, metric: str, class_name: str, values_R: Floats, *, size_band: str = "", why_not: str = NOT_IN_TRUTH
    ) -> Measured:
        """Row 0 is the value, the other rows its bootstrap distribution; ``why_not`` is said where there is none."""
        resampled = values_R[1:][np.isfinite(values_R[1:])]
        tail = (1 - self.confidence) / 2
        known = len(resampled) > 0 and np.isfinite(values_R[0])
        low, high = np.quantile(resampled, [tail, 1 - tail]) if known else (np.nan, np.nan)
        counted = (self.num_items, self.num_patients)
        reason = "" if np.isfinite(values_R[0]) else why_not
        return Measured(metric, class_name, float(values_R[0]), float(low), float(high), *counted, size_band, reason)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, NaN where bottom is 0."""
    quotient: Floats = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
    return quotient


def mean_of_known(values_RK: Floats) -> Floats:
    """The mean over the last axis of what is a number."""
    known_RK = np.isfinite(values_RK)
    return ratio(np.where(known_RK, values_RK, 0).sum(axis=1), known_RK.sum(axis=1))
