"""How selection is written in scripts that people share, in our words: peers for the bench of selection.

Each is the algorithm of such a script, none is its code. Shape letters: N = candidates, D = embedding,
C = classes, M = views.
"""

import math

import numpy as np
from scipy import stats
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import euclidean_distances


def k_centre_by_pairwise_distances(points_ND, labelled, num):
    """A call of sklearn's pairwise_distances per pick, as in google/active-learning."""
    nearest_N = pairwise_distances(points_ND, points_ND[labelled]).min(axis=1)
    picks = []
    for _ in range(num):
        picks.append(int(nearest_N.argmax()))
        nearest_N = np.minimum(nearest_N, pairwise_distances(points_ND, points_ND[picks[-1:]])[:, 0])
    return picks


def k_centre_by_kept_norms(points_ND, labelled, num):
    """sklearn's euclidean_distances per pick, the squared lengths of all points computed once."""
    lengths_N1 = (points_ND**2).sum(axis=1, keepdims=True)

    def to(rows):
        return euclidean_distances(
            points_ND, points_ND[rows], X_norm_squared=lengths_N1, Y_norm_squared=lengths_N1[rows].T, squared=True
        )

    nearest_N = to(labelled).min(axis=1)
    picks = []
    for _ in range(num):
        picks.append(int(nearest_N.argmax()))
        np.minimum(nearest_N, to(picks[-1:])[:, 0], out=nearest_N)
    return picks


def badge_by_factors(error_NC, embedding_ND, num, seed):
    """k-means++ over gradients by their two factors, each draw by a scipy rv_discrete: the public factorised style."""
    state = np.random.RandomState(seed)
    lengths_N = (error_NC**2).sum(axis=1) * (embedding_ND**2).sum(axis=1)
    picks = [int(lengths_N.argmax())]
    nearest_N = np.full(len(error_NC), np.inf)
    while len(picks) < num:
        last = picks[-1]
        inner_N = (error_NC @ error_NC[last]) * (embedding_ND @ embedding_ND[last])
        distance_N = np.sqrt(np.clip(lengths_N + lengths_N[last] - 2 * inner_N, 0, None))
        nearest_N = np.minimum(nearest_N, distance_N)
        nearest_N[picks] = 0
        chances_N = nearest_N.astype(np.float64) ** 2
        drawn = stats.rv_discrete(values=(np.arange(len(chances_N)), chances_N / chances_N.sum()))
        picks.append(int(drawn.rvs(random_state=state)))
    return picks


def aift_by_nested_loops(probs_NMC, clip):
    """Entropy plus diversity, pair by pair and class by class."""
    scores = []
    for views in probs_NMC.astype(np.float64).clip(clip, 1 - clip).tolist():
        entropy = -sum(p * math.log(p) for view in views for p in view) / len(views)
        diversity = 0.0
        for j, one in enumerate(views):
            for other in views[j + 1 :]:
                for p, q in zip(one, other, strict=True):
                    diversity += (p - q) * math.log(p / q)
        scores.append(entropy + diversity)
    return np.array(scores)


def aift_by_batched_matrices(probs_NMC, clip, at_once=256):
    """The same with an M × M matrix per class for many candidates at once."""
    scores = []
    for first in range(0, len(probs_NMC), at_once):
        p = probs_NMC[first : first + at_once].clip(clip, 1 - clip)
        logs = np.log(p)
        entropy = -(p * logs).sum(axis=(1, 2)) / p.shape[1]
        pairs = ((p[:, :, None] - p[:, None]) * (logs[:, :, None] - logs[:, None])).sum(axis=(1, 2, 3))
        scores.append(entropy + pairs / 2)
    return np.concatenate(scores)
