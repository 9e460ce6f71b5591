"""Which lesions were found, and what was taken for one, by size.

A lesion is a connected component. Its size is the diameter of the ball (in an image: the disc) of
the same volume, and falls into one band. Shape letters: Z, Y, X = space, B = bands.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LesionCounts:
    """Lesions by band (B): true ones and those found of them, answered ones and those of them that are real.

    An answered lesion that is not real is a false positive.
    """

    true: Ints
    found: Ints
    answered: Ints
    real: Ints


def count_lesions(
    truth_ZYX: Bools,
    answer_ZYX: Bools,
    known_ZYX: Bools,
    *,
    voxel_mm3: float,
    band_edges_mm: Sequence[float],
    min_overlap: float,
    connectivity: int,
) -> LesionCounts:
    """Hold the lesions of an answer against the true ones.

    A lesion is found, and an answered one is real, when the other mask covers more than nothing and at
    least ``min_overlap`` of its voxels. An answered lesion that touches nothing true but reaches into voxels
    that are not ``known`` is not counted: nobody can say that it is false. ``voxel_mm3`` is a
    pixel's mm² where one axis has one voxel.
    """
    flat = 1 in truth_ZYX.shape

    def band(num_voxels_L: Ints) -> Ints:
        return np.digitize(equal_diameter_mm(num_voxels_L * voxel_mm3, flat=flat), band_edges_mm)

    num_bands = len(band_edges_mm) + 1
    sizes, covered, _ = _components(truth_ZYX, answer_ZYX, known_ZYX, connectivity)
    found = (covered > 0) & (covered >= min_overlap * sizes)
    answered_sizes, real_covered, unknown = _components(answer_ZYX, truth_ZYX, known_ZYX, connectivity)
    real = (real_covered > 0) & (real_covered >= min_overlap * (answered_sizes - unknown))
    counted = real | (unknown == 0)
    true_bands, answered_bands = band(sizes), band(answered_sizes)
    return LesionCounts(
        np.bincount(true_bands, minlength=num_bands),
        np.bincount(true_bands[found], minlength=num_bands),
        np.bincount(answered_bands[counted], minlength=num_bands),
        np.bincount(answered_bands[real], minlength=num_bands),
    )


def equal_diameter_mm(size: npt.NDArray[np.floating], *, flat: bool) -> npt.NDArray[np.float64]:
    """The diameter of the ball of this volume in mm³; flat: of the disc of this area in mm²."""
    if flat:
        return 2 * np.sqrt(np.asarray(size, float) / math.pi)
    return np.cbrt(6 * np.asarray(size, float) / math.pi)


def band_names(band_edges_mm: Sequence[float]) -> list[str]:
    """What the bands are called.

    >>> band_names([6, 10])
    ['<6 mm', '6-10 mm', '>=10 mm']
    """
    if not band_edges_mm:
        return []
    edges = [f"{edge:g}" for edge in band_edges_mm]
    middle = [f"{low}-{high} mm" for low, high in pairwise(edges)]
    return [f"<{edges[0]} mm", *middle, f">={edges[-1]} mm"]


def label_components(mask_ZYX: Bools, connectivity: int) -> tuple[npt.NDArray[np.int32], int]:
    """Components, numbered from 1: voxels that share a face (1), an edge too (2), or a corner too (3)."""
    labels, num = ndimage.label(mask_ZYX, ndimage.generate_binary_structure(3, connectivity), output=np.int32)
    return labels, int(num)


def _components(mask: Bools, other: Bools, known: Bools, connectivity: int) -> tuple[Ints, Ints, Ints]:
    """Of every component: its voxels, how many of them the other mask covers, and how many are unknown."""
    box = ndimage.find_objects(mask.view(np.uint8), max_label=1)[0] if mask.any() else None
    if box is None:
        none = np.zeros(0, np.int64)
        return none, none, none
    labels, num = label_components(mask[box], connectivity)
    sizes, covered, unknown = (
        np.bincount(labels[chosen], minlength=num + 1)[1:] for chosen in (mask[box], other[box], ~known[box])
    )
    return sizes, covered, unknown
