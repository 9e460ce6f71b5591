"""k-means for pseudo-classes: the same assignments on every worker, and no class without crops.

Shape letters: N = points, K = clusters, D = dimensions.
"""

import numpy as np
import torch
from torch import Tensor

_NUM_ITERATIONS = 20


def k_means(points_ND: Tensor, num_clusters: int, *, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The cluster of every point (N) and the clusters' centres (K, D), float32 on the CPU.

    Centres are seeded by k-means++ and moved by Lloyd's rule. A cluster that loses its last point starts again
    at the point that lies farthest from its centre (https://arxiv.org/abs/1807.05520 asks that none stays empty).
    There are no more clusters than points. `hilum.select` has another for pools; this one
    multiplies matrices, because features of a network have hundreds of dimensions.
    """
    centres_KD = _seeds(points_ND, min(num_clusters, len(points_ND)), rng)
    cluster_N = _filled(points_ND, centres_KD)
    for _ in range(_NUM_ITERATIONS):
        sums_KD = torch.zeros_like(centres_KD).index_add_(0, cluster_N, points_ND)
        centres_KD = sums_KD / torch.bincount(cluster_N, minlength=len(centres_KD))[:, None]
        before, cluster_N = cluster_N, _filled(points_ND, centres_KD)
        if torch.equal(before, cluster_N):
            break
    return cluster_N, centres_KD


def nearest(points_ND: Tensor, centres_KD: Tensor) -> Tensor:
    """The nearest centre of every point, the lower one among equals."""
    return _distances(points_ND, centres_KD).argmin(dim=1)


def _filled(points_ND: Tensor, centres_KD: Tensor) -> Tensor:
    """The nearest centre of every point; an empty cluster takes the farthest point that is not alone."""
    squared_N, cluster_N = _distances(points_ND, centres_KD).min(dim=1)
    counts_K = torch.bincount(cluster_N, minlength=len(centres_KD))
    farthest = iter(squared_N.argsort(descending=True, stable=True).tolist())
    for empty in (counts_K == 0).nonzero()[:, 0].tolist():
        point = next(point for point in farthest if counts_K[cluster_N[point]] > 1)
        counts_K[cluster_N[point]] -= 1
        cluster_N[point], counts_K[empty] = empty, 1
        centres_KD[empty] = points_ND[point]
    return cluster_N


def _seeds(points_ND: Tensor, num_clusters: int, rng: np.random.Generator) -> Tensor:
    chosen = [int(rng.integers(len(points_ND)))]
    squared_N = torch.full((len(points_ND),), torch.inf, dtype=torch.float64)
    while len(chosen) < num_clusters:
        apart_N = ((points_ND - points_ND[chosen[-1]]) ** 2).sum(dim=1).double()
        squared_N = torch.minimum(squared_N, apart_N)
        running_N = squared_N.cumsum(dim=0).numpy()
        if running_N[-1] == 0:  # every point that is left is one that was chosen
            chosen += [point for point in range(len(points_ND)) if point not in chosen][: num_clusters - len(chosen)]
            break
        chosen.append(int(np.searchsorted(running_N, rng.random() * running_N[-1], side="right")))
    return points_ND[chosen].clone()


def _distances(points_ND: Tensor, centres_KD: Tensor) -> Tensor:
    squared_NK = (points_ND**2).sum(dim=1, keepdim=True) - 2 * points_ND @ centres_KD.T + (centres_KD**2).sum(dim=1)
    return squared_NK.clamp(min=0)
