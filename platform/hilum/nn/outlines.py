"""What is counted of one item's outlines: sums only, so that items, patients and sides are added up alike.

Shape letters: K = classes, F = features of a class, B = size bands, Z, Y, X = space.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hilum.nn.lesions import band_names, count_lesions
from hilum.nn.surface import in_plane, match_surfaces

Floats = npt.NDArray[np.float64]
LabelMap = npt.NDArray[np.integer]

VOXEL_FEATURES = ("shared", "true", "answered", "true_mm3", "answered_mm3", "num_scans")
SURFACE_FEATURES = ("true_area", "answered_area", "true_area_within", "answered_area_within", "hd95_mm", "num_hd95")
LESION_FEATURES = ("true_lesions", "found_lesions", "answered_lesions", "real_lesions")
_CONNECTIVITY = {6: 1, 18: 2, 26: 3}


@dataclass(frozen=True)
class OutlineRules:
    """What counts as near and as found. ``tolerance_mm`` None: surfaces are not measured."""

    tolerance_mm: float | None
    band_edges_mm: tuple[float, ...]
    min_overlap: float
    neighbours: int

    @property
    def bands(self) -> list[str]:
        return band_names(self.band_edges_mm)

    @property
    def features(self) -> list[str]:
        """The names of F. A lesion feature has one place for every band, such as 'true_lesions <6 mm'."""
        lesions = [f"{feature} {band}".strip() for feature in LESION_FEATURES for band in self.bands or [""]]
        return [*VOXEL_FEATURES, *SURFACE_FEATURES, *lesions]


def outline_counts(
    truth_ZYX: LabelMap,
    answer_ZYX: LabelMap,
    spacing_mm_zyx: Sequence[float],
    *,
    counts_KK: npt.NDArray[np.int64],
    rules: OutlineRules,
) -> Floats:
    """(K, F): the features of every class in one item, of which ``counts_KK`` is the confusion.

    Truth outside 0 … K − 1 is unknown and counts nowhere. Of class 0, the background, only voxels are counted.
    """
    num_classes = len(counts_KK)
    known_ZYX = (truth_ZYX >= 0) & (truth_ZYX < num_classes)
    voxel_mm3 = math.prod(spacing_mm_zyx)
    features_KF = np.zeros((num_classes, len(rules.features)))
    true_K, answered_K = counts_KK.sum(axis=1), counts_KK.sum(axis=0)
    features_KF[:, : len(VOXEL_FEATURES)] = np.stack(
        [np.diag(counts_KK), true_K, answered_K, true_K * voxel_mm3, answered_K * voxel_mm3, np.ones(num_classes)],
        axis=1,
    )
    for k in range(1, num_classes):
        # The answer also where the truth is unknown: a lesion does not end where people stopped drawing.
        truth, answer = truth_ZYX == k, answer_ZYX == k
        if true_K[k] or answered_K[k]:
            features_KF[k, len(VOXEL_FEATURES) :] = _shape_features(truth, answer, known_ZYX, spacing_mm_zyx, rules)
    return features_KF


def _shape_features(
    truth: npt.NDArray[np.bool_],
    answer: npt.NDArray[np.bool_],
    known: npt.NDArray[np.bool_],
    spacing_mm_zyx: Sequence[float],
    rules: OutlineRules,
) -> list[float]:
    surface = [0.0] * len(SURFACE_FEATURES)
    if rules.tolerance_mm is not None:
        match = match_surfaces(truth, answer, known, spacing_mm_zyx, tolerance_mm=rules.tolerance_mm)
        areas = [match.true_area, match.answered_area, match.true_area_within, match.answered_area_within]
        measured = math.isfinite(match.hd95_mm)
        surface = [*areas, match.hd95_mm if measured else 0.0, float(measured)]
    lesions = count_lesions(
        truth,
        answer,
        known,
        voxel_mm3=math.prod(in_plane(truth.shape, spacing_mm_zyx)[0]),
        band_edges_mm=rules.band_edges_mm,
        min_overlap=rules.min_overlap,
        connectivity=_CONNECTIVITY[rules.neighbours],
    )
    bands = [lesions.true, lesions.found, lesions.answered, lesions.real]
    return [*surface, *(float(count) for counts_B in bands for count in counts_B)]
