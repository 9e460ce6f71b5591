"""The nearest labelled candidate of each pick: what a question is like that was answered before.

Shape letters: K = picks, L = labelled candidates, D = embedding.
"""

import numpy as np
import numpy.typing as npt

from hilum.select.compiled import compiled
from hilum.select.scored import Floats, HalfOrFloats, Ints

Distances = npt.NDArray[np.float64]


def nearest_labelled(points_KD: HalfOrFloats, labelled_LD: HalfOrFloats) -> tuple[Ints, Distances]:
    """For each point the row of the labelled embedding nearest to it, and how far it is (Euclidean).

    Exact, one pass over the labelled for each pick, nothing but the answer in memory. Of equally
    near ones the lower row. Both are empty where nothing is labelled or nothing is embedded.
    """
    if not labelled_LD.size or not points_KD.size:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    labelled = np.ascontiguousarray(labelled_LD, np.float32)
    rows_K = np.empty(len(points_KD), np.int64)
    squared_K = np.empty(len(points_KD), np.float64)
    for place, point_D in enumerate(np.ascontiguousarray(points_KD, np.float32)):
        rows_K[place], squared_K[place] = _nearest(point_D, labelled)
    return rows_K, np.sqrt(squared_K)


@compiled
def _nearest(point_D: Floats, labelled_LD: Floats) -> tuple[int, float]:
    nearest, distance_of_nearest = 0, np.inf
    for row in range(labelled_LD.shape[0]):
        distance = np.float32(0.0)
        for d in range(labelled_LD.shape[1]):
            difference = labelled_LD[row, d] - point_D[d]
            distance += difference * difference
        if distance < distance_of_nearest:
            nearest, distance_of_nearest = row, float(distance)
    return nearest, distance_of_nearest
