"""Samplers that read embeddings: candidates unlike what is labelled, and unlike each other.

One fused pass over the pool per pick: a million embeddings are read at memory speed and no
matrix of distances is ever built. Shape letters: N = candidates, D = embedding, C = classes.
"""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hilum.core.errors import RecipeError
from hilum.core.registry import Params, samplers
from hilum.select.clusters import k_means
from hilum.select.compiled import compiled
from hilum.select.samplers import ByScore, best_rows
from hilum.select.scored import Floats, Ints, ScoredPool, how_many

_PICKED = -1.0
_BUT_FOR_ROUNDING = np.float32(1 - 1e-5)


class KCentreParams(Params):
    """With ``shortlist``, only the shortlist × num highest values of ``score`` are considered."""

    shortlist: float | None = Field(default=None, ge=1)
    score: str = "margin"


class ClusterParams(ByScore):
    """``factor`` × num of the highest scores are clustered into num groups."""

    factor: float = Field(default=10.0, ge=1)


@samplers.register("k_centre", params=KCentreParams)
def k_centre(
    scored: ScoredPool,
    num: int,
    *,
    rng: np.random.Generator,  # noqa: ARG001
    shortlist: float | None = None,
    score: str = "margin",
) -> Ints:
    """Again and again the candidate farthest from all that is labelled or picked (https://arxiv.org/abs/1708.00489).

    With nothing labelled yet, the first is the one nearest to the pool's mean.
    """
    num = how_many(scored, num)
    rows = np.arange(scored.num)
    if shortlist is not None and num:
        rows = np.sort(best_rows(scored.score(score), min(scored.num, int(shortlist * num))))
    points_ND = _embedding(scored, "k_centre")[rows]
    nearest_N = _distance_to_labelled(points_ND, scored)
    picks = np.empty(num, np.int64)
    farthest = _farthest(nearest_N) if np.isfinite(nearest_N).all() else _most_central(points_ND)
    for place in range(num):
        picks[place] = farthest
        nearest_N[farthest] = _PICKED
        farthest = _come_nearer(points_ND, points_ND[farthest], nearest_N)
    return rows[picks]


@samplers.register("kmeans_pp")
def kmeans_pp(scored: ScoredPool, num: int, *, rng: np.random.Generator) -> Ints:
    """Draw in proportion to the squared distance from all that is labelled or picked (k-means++ seeding)."""
    num = how_many(scored, num)
    points_ND = _embedding(scored, "kmeans_pp")
    nearest_N = _distance_to_labelled(points_ND, scored)
    picks = np.empty(num, np.int64)
    for place in range(num):
        picks[place] = _draw_far(nearest_N, rng)
        nearest_N[picks[place]] = _PICKED
        _come_nearer(points_ND, points_ND[picks[place]], nearest_N)
    return picks


@samplers.register("badge")
def badge(scored: ScoredPool, num: int, *, rng: np.random.Generator) -> Ints:
    """k-means++ seeding over the gradients of the last layer (BADGE, https://arxiv.org/abs/1906.03671).

    A gradient is the outer product of what the model got wrong and the embedding, so both
    are compared without building it: unsure and unlike the others at once.
    """
    num = how_many(scored, num)
    if scored.num and not scored.num_classes:
        raise RecipeError("Sampler 'badge' needs a model's class probabilities; use it after the first round.")
    if num == 0:
        return np.empty(0, np.int64)
    embedding_ND = _embedding(scored, "badge")
    error_NC = scored.class_fractions.astype(np.float32)
    error_NC[np.arange(scored.num), error_NC.argmax(axis=1)] -= 1
    lengths_N2 = np.stack([np.linalg.norm(error_NC, axis=1), np.linalg.norm(embedding_ND, axis=1)], axis=1)
    nearest_N = np.full(scored.num, np.inf)
    picks = np.empty(num, np.int64)
    for place in range(num):
        # As in the authors' code, the longest gradient comes first; the rest are drawn.
        picks[place] = _draw_far(nearest_N, rng) if place else int(lengths_N2.prod(axis=1).argmax())
        nearest_N[picks[place]] = _PICKED
        _come_nearer_by_gradient(error_NC, embedding_ND, lengths_N2, int(picks[place]), nearest_N)
    return picks


@samplers.register("cluster_margin", params=ClusterParams)
def cluster_margin(
    scored: ScoredPool, num: int, *, rng: np.random.Generator, score: str = "margin", factor: float = 10.0
) -> Ints:
    """The highest scores, spread over the clusters of their embeddings, small clusters first.

    After Cluster-Margin (https://arxiv.org/abs/2107.14263), with k-means for its clustering.
    """
    num = how_many(scored, num)
    if num == 0:
        return np.empty(0, np.int64)
    rows = best_rows(scored.score(score), min(scored.num, int(factor * num)))
    cluster_N = k_means(_embedding(scored, "cluster_margin")[rows], num, rng=rng)
    queues = [list(rows[cluster_N == c]) for c in np.unique(cluster_N)]
    queues.sort(key=lambda queue: (len(queue), queue[0]))
    picks: list[int] = []
    while len(picks) < num:
        picks += [int(queue.pop(0)) for queue in queues if queue]
    return np.array(picks[:num], np.int64)


def _embedding(scored: ScoredPool, sampler: str) -> Floats:
    if scored.num and not scored.embedding.shape[1]:
        raise RecipeError(f"Sampler '{sampler}' compares embeddings and this pool has none; score the pool first.")
    return np.ascontiguousarray(scored.embedding, np.float32)


def _distance_to_labelled(points_ND: Floats, scored: ScoredPool) -> npt.NDArray[np.float64]:
    """Squared distance of every point to the nearest labelled one; infinite when nothing is labelled."""
    nearest_N = np.full(len(points_ND), np.inf)
    for centre_D in np.ascontiguousarray(scored.labelled_embedding, np.float32):
        _come_nearer(points_ND, centre_D, nearest_N)
    return nearest_N


def _farthest(nearest_N: npt.NDArray[np.float64]) -> int:
    return int(nearest_N.argmax()) if len(nearest_N) else 0


def _most_central(points_ND: Floats) -> int:
    mean_D = points_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    distance_N = np.full(len(points_ND), np.inf)
    _come_nearer(points_ND, mean_D, distance_N)
    return int(distance_N.argmin())


def _draw_far(nearest_N: npt.NDArray[np.float64], rng: np.random.Generator) -> int:
    """A row in proportion to its squared distance; evenly among the open ones when all are 0 or none is known."""
    return _row_at(nearest_N, rng.random())


@compiled
def _row_at(nearest_N: npt.NDArray[np.float64], share: float) -> int:
    """The row that brings the sum of squared distances of the open rows above ``share`` of it."""
    total, num_open = 0.0, 0
    for distance in nearest_N:
        total += max(distance, 0.0)
        num_open += distance != _PICKED
    all_alike = total == 0.0 or not np.isfinite(total)
    wanted = share * (num_open if all_alike else total)
    reached, row = 0.0, 0
    for n in range(len(nearest_N)):
        if nearest_N[n] == _PICKED:
            continue
        row = n
        reached += 1.0 if all_alike else nearest_N[n]
        if reached > wanted:
            break
    return row


@compiled
def _come_nearer(points_ND: Floats, centre_D: Floats, nearest_N: npt.NDArray[np.float64]) -> int:
    """Update squared distances to the nearest centre; returns the farthest row that is not picked."""
    num, size = points_ND.shape
    farthest, distance_of_farthest = 0, -1.0
    for n in range(num):
        if nearest_N[n] < 0.0:
            continue
        distance = np.float32(0.0)
        for d in range(size):
            difference = points_ND[n, d] - centre_D[d]
            distance += difference * difference
        nearest_N[n] = min(nearest_N[n], distance)
        if nearest_N[n] > distance_of_farthest:
            farthest, distance_of_farthest = n, nearest_N[n]
    return farthest


@compiled
def _come_nearer_by_gradient(
    error_NC: Floats, embedding_ND: Floats, lengths_N2: Floats, picked: int, nearest_N: npt.NDArray[np.float64]
) -> None:
    """The same for gradients error ⊗ embedding: their inner product is the product of the two inner products.

    ``lengths_N2``: of every error and every embedding. The product of two embeddings is at most
    that of their lengths; where even that would bring nobody nearer, the embedding is not read.
    """
    error_length, embedding_length = lengths_N2[picked, 0], lengths_N2[picked, 1]
    longer = (error_length * embedding_length) * (error_length * embedding_length)
    rows = np.empty(len(nearest_N), np.int64)
    errors = np.empty(len(nearest_N), np.float32)
    num = 0
    for n in range(len(nearest_N)):
        error = np.float32(0.0)
        for c in range(error_NC.shape[1]):
            error += error_NC[n, c] * error_NC[picked, c]
        length = lengths_N2[n, 0] * lengths_N2[n, 1]
        at_least = (length * length + longer) * _BUT_FOR_ROUNDING
        at_least -= np.float32(2.0) * abs(error) * lengths_N2[n, 1] * embedding_length
        rows[num], errors[num] = n, error
        num += at_least <= nearest_N[n]
    for place in range(num):
        n = rows[place]
        embeddings = np.float32(0.0)
        for d in range(embedding_ND.shape[1]):
            embeddings += embedding_ND[n, d] * embedding_ND[picked, d]
        length = lengths_N2[n, 0] * lengths_N2[n, 1]
        distance = length * length + longer - np.float32(2.0) * errors[place] * embeddings
        nearest_N[n] = min(nearest_N[n], max(distance, np.float32(0.0)))
