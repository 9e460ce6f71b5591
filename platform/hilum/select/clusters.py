"""k-means, the same on every machine and for any number of cores.

Shape letters: N = points, K = clusters, D = dimensions.
"""

import numpy as np
import numpy.typing as npt

from hilum.select.compiled import compiled
from hilum.select.scored import Floats, Ints

_FIT_AT_MOST = 50_000
_NUM_ITERATIONS = 25


def k_means(
    points_ND: Floats,
    num_clusters: int,
    *,
    rng: np.random.Generator,
    fit_at_most: int = _FIT_AT_MOST,
    num_iterations: int = _NUM_ITERATIONS,
) -> Ints:
    """The cluster of every point, 0 to ``num_clusters`` − 1 (fewer when there are fewer different points).

    Centres are seeded by k-means++ and moved by Lloyd's rule. Above ``fit_at_most`` points they
    are found on a drawn part, and every point then joins its nearest centre.
    """
    points_ND = np.ascontiguousarray(points_ND, np.float32)
    if len(points_ND) == 0 or num_clusters < 1:
        return np.zeros(len(points_ND), np.int64)
    fitted_ND = points_ND
    if len(points_ND) > fit_at_most:
        fitted_ND = points_ND[np.sort(rng.permutation(len(points_ND))[:fit_at_most])]
    centres_KD = _seeds(fitted_ND, num_clusters, rng)
    cluster_N = nearest_centre(fitted_ND, centres_KD)
    for _ in range(num_iterations):
        _move_to_means(fitted_ND, cluster_N, centres_KD)
        before, cluster_N = cluster_N, nearest_centre(fitted_ND, centres_KD)
        if np.array_equal(before, cluster_N):
            break
    return cluster_N if fitted_ND is points_ND else nearest_centre(points_ND, centres_KD)


def _seeds(points_ND: Floats, num_clusters: int, rng: np.random.Generator) -> Floats:
    chosen = [int(rng.integers(len(points_ND)))]
    nearest_N = np.full(len(points_ND), np.inf)
    while True:
        _shrink(points_ND, points_ND[chosen[-1]], nearest_N)
        running_N = np.cumsum(nearest_N)
        if len(chosen) == min(num_clusters, len(points_ND)) or running_N[-1] == 0:
            return points_ND[chosen].copy()
        chosen.append(int(np.searchsorted(running_N, rng.random() * running_N[-1], side="right")))


@compiled
def _shrink(points_ND: Floats, centre_D: Floats, nearest_N: npt.NDArray[np.float64]) -> None:
    for n in range(points_ND.shape[0]):
        distance = np.float32(0.0)
        for d in range(points_ND.shape[1]):
            difference = points_ND[n, d] - centre_D[d]
            distance += difference * difference
        nearest_N[n] = min(nearest_N[n], distance)


@compiled
def nearest_centre(points_ND: Floats, centres_KD: Floats) -> Ints:
    """The row of the nearest centre of every point, the lower row among equals."""
    nearest_N = np.zeros(points_ND.shape[0], np.int64)
    for n in range(points_ND.shape[0]):
        best = np.float32(np.inf)
        for k in range(centres_KD.shape[0]):
            distance = np.float32(0)
            for d in range(points_ND.shape[1]):
                difference = points_ND[n, d] - centres_KD[k, d]
                distance += difference * difference
            if distance < best:
                nearest_N[n], best = k, distance
    return nearest_N


@compiled
def _move_to_means(points_ND: Floats, cluster_N: Ints, centres_KD: Floats) -> None:
    """Centres become the means of their points; a centre without points stays."""
    num_clusters, size = centres_KD.shape
    sums_KD = np.zeros((num_clusters, size))
    counts_K = np.zeros(num_clusters)
    for n in range(len(cluster_N)):
        counts_K[cluster_N[n]] += 1.0
        for d in range(size):
            sums_KD[cluster_N[n], d] += points_ND[n, d]
    for k in range(num_clusters):
        if counts_K[k] > 0.0:
            for d in range(size):
                centres_KD[k, d] = sums_KD[k, d] / counts_K[k]
