"""Outlines judged: per-patient Dice, surface Dice, HD95, volume error, lesions found and false positives.

Every metric is one sum divided by another (`Metric`). Metrics of a patient are made of that patient's
sums and averaged over the patients who have a value; metrics of lesions are made of all patients' sums,
for a lesion counts alike whoever bears it. A sum of nothing divided by nothing is NaN, with a reason.

Shape letters: N = items, P = patients, K = classes, F = features (`hilum.nn.outlines`), R = resamples.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.nn.metrics import NOT_IN_TRUTH, Measured, Summary, bootstrap_weights, mean_of_known, ratio
from hilum.nn.outlines import OutlineRules

Floats = npt.NDArray[np.float64]
Sums = Callable[[str], Floats]

_NOWHERE = "neither the truth nor the answer holds it"
_NO_DISTANCE = "the truth or the answer does not hold it, and there is no distance to nothing"


@dataclass(frozen=True)
class Metric:
    """``top`` divided by ``bottom``, both made of sums by name; ``by_patient``: averaged over patients."""

    name: str
    top: Callable[[Sums], Floats]
    bottom: Callable[[Sums], Floats]
    why_not: str
    by_patient: bool
    size_band: str = ""

    def value(self, sums_F: Floats, features: list[str]) -> Floats:
        """The metric of any array of sums whose last axis is F."""

        def of(feature: str) -> Floats:
            sums: Floats = sums_F[..., features.index(feature)]
            return sums

        return ratio(self.top(of), self.bottom(of))


def outline_metrics(
    features_NKF: Floats,
    class_names: list[str],
    patient_ids: list[str],
    *,
    rules: OutlineRules,
    num_resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> list[Measured]:
    """Every metric of every foreground class, and its mean over them (``_mean``)."""
    weights_RN = bootstrap_weights(patient_ids, num_resamples, rng)
    metrics, names = metrics_of(rules), rules.features
    together_RKF = np.tensordot(weights_RN, features_NKF[:, 1:], axes=1)
    averaged = _averaged_RK([m for m in metrics if m.by_patient], features_NKF[:, 1:], weights_RN, patient_ids, names)
    by_patient_PKF = sums_by_patient(features_NKF[:, 1:], patient_ids)[1]
    found = []
    for metric in metrics:
        values_RK = averaged[metric.name] if metric.by_patient else metric.value(together_RKF, names)
        counted_PK = np.isfinite(metric.value(by_patient_PKF, names))
        say = partial(_said, metric, summary=Summary(len(patient_ids), 0, confidence))
        found.append(say("", mean_of_known(values_RK), np.asarray(counted_PK.any(axis=1))))
        found += [say(name, values_RK[:, k], counted_PK[:, k]) for k, name in enumerate(class_names[1:])]
    return found


def patient_metrics(
    features_NKF: Floats, class_names: list[str], patient_ids: list[str], *, rules: OutlineRules
) -> Iterator[Mapping[str, Any]]:
    """A row for every patient, metric and foreground class, volumes in ml among them."""
    patients, sums_PKF = sums_by_patient(features_NKF, patient_ids)
    of_patients = [*metrics_of(rules), *_VOLUMES, *_lesion_totals(rules)]
    values = [metric.value(sums_PKF, rules.features) for metric in of_patients]
    for p, patient_id in enumerate(patients):
        for metric, values_PK in zip(of_patients, values, strict=True):
            for k in range(1, len(class_names)):
                value = float(values_PK[p, k])
                yield {
                    "patient_id": patient_id,
                    "metric": "dice" if metric.name == "dice_per_patient" else metric.name,
                    "class_name": class_names[k],
                    "size_band": metric.size_band,
                    "value": value,
                    "num_items": patient_ids.count(patient_id),
                    "reason": "" if np.isfinite(value) else metric.why_not,
                }


def metrics_of(rules: OutlineRules) -> list[Metric]:
    """All metrics, in the order of the table."""
    lesions = [metric for band in dict.fromkeys(["", *rules.bands]) for metric in _lesion_metrics(band, rules.bands)]
    return [_DICE, *([] if rules.tolerance_mm is None else _SURFACE), *_VOLUME_ERRORS, *lesions]


def sums_by_patient(features_NKF: Floats, patient_ids: list[str]) -> tuple[list[str], Floats]:
    """The patients, sorted, and their sums (P, K, F)."""
    patients, patient_of_item = np.unique(patient_ids, return_inverse=True)
    sums_PKF = np.zeros((len(patients), *features_NKF.shape[1:]))
    np.add.at(sums_PKF, patient_of_item, features_NKF)
    return [str(patient) for patient in patients], sums_PKF


def _averaged_RK(
    metrics: list[Metric], features_NKF: Floats, weights_RN: Floats, patient_ids: list[str], names: list[str]
) -> dict[str, Floats]:
    """Means over patients, one patient at a time: a patient counts as often as it was drawn."""
    owners = np.asarray(patient_ids)
    shape = (len(weights_RN), features_NKF.shape[1])
    tops = {metric.name: np.zeros(shape) for metric in metrics}
    bottoms = {metric.name: np.zeros(shape) for metric in metrics}
    for patient in np.unique(owners):
        mine = np.flatnonzero(owners == patient)
        sums_RKF = np.tensordot(weights_RN[:, mine], features_NKF[mine], axes=1)
        drawn_R1 = weights_RN[:, mine].mean(axis=1)[:, None]
        for metric in metrics:
            values_RK = metric.value(sums_RKF, names)
            known_RK = np.isfinite(values_RK)
            tops[metric.name] += drawn_R1 * np.where(known_RK, values_RK, 0)
            bottoms[metric.name] += drawn_R1 * known_RK
    return {metric.name: ratio(tops[metric.name], bottoms[metric.name]) for metric in metrics}


def _said(
    metric: Metric, class_name: str, values_R: Floats, counted_P: npt.NDArray[np.bool_], *, summary: Summary
) -> Measured:
    name = metric.name if class_name else f"{metric.name}_mean"
    of_these = replace(summary, num_patients=int(counted_P.sum()))
    return of_these.of(name, class_name, values_R, size_band=metric.size_band, why_not=metric.why_not)


def _sum_of(*features: str) -> Callable[[Sums], Floats]:
    return lambda of: np.sum([of(feature) for feature in features], axis=0)


def _volume_difference(of: Sums) -> Floats:
    return of("answered_mm3") - of("true_mm3")


_DICE = Metric("dice_per_patient", lambda of: 2 * of("shared"), _sum_of("true", "answered"), _NOWHERE, by_patient=True)
_SURFACE = [
    Metric(
        "surface_dice",
        _sum_of("true_area_within", "answered_area_within"),
        _sum_of("true_area", "answered_area"),
        _NOWHERE,
        by_patient=True,
    ),
    Metric("hd95_mm", _sum_of("hd95_mm"), _sum_of("num_hd95"), _NO_DISTANCE, by_patient=True),
]
_VOLUME_ERRORS = [
    Metric("volume_error", _volume_difference, _sum_of("true_mm3"), NOT_IN_TRUTH, by_patient=True),
    Metric(
        "absolute_volume_error",
        lambda of: np.abs(_volume_difference(of)),
        _sum_of("true_mm3"),
        NOT_IN_TRUTH,
        by_patient=True,
    ),
]


def _per_patient(feature: str, *, name: str, scale: float = 1.0, size_band: str = "") -> Metric:
    """A patient's own sum."""
    return Metric(
        name,
        lambda of: of(feature) * scale,
        lambda of: np.ones_like(of(feature)),
        "",
        by_patient=True,
        size_band=size_band,
    )


_VOLUMES = [
    _per_patient("true_mm3", name="true_volume_ml", scale=1e-3),
    _per_patient("answered_mm3", name="answered_volume_ml", scale=1e-3),
]


def _lesion_totals(rules: OutlineRules) -> list[Metric]:
    bands = rules.bands or [""]
    return [
        _per_patient(f"{kind}_lesions {band}".strip(), name=f"num_{kind}_lesions", size_band=band)
        for kind in ("true", "found", "answered", "real")
        for band in bands
    ]


def _lesion_metrics(band: str, bands: list[str]) -> list[Metric]:
    """Sensitivity, precision and false positives of one size band, or ('') of all sizes."""

    def features(name: str) -> tuple[str, ...]:
        return tuple(f"{name}_lesions {one}".strip() for one in ([band] if band else bands or [""]))

    true, found, answered, real = (_sum_of(*features(name)) for name in ("true", "found", "answered", "real"))
    no_lesion = "the truth holds no such lesion"
    no_answer = "the answer holds no such lesion"
    return [
        Metric("lesion_sensitivity", found, true, no_lesion, by_patient=False, size_band=band),
        Metric("lesion_precision", real, answered, no_answer, by_patient=False, size_band=band),
        Metric(
            "false_positives_per_scan",
            lambda of: answered(of) - real(of),
            _sum_of("num_scans"),
            "there is no scan",
            by_patient=False,
            size_band=band,
        ),
    ]
