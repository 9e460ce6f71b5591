"""Samplers that read embeddings: candidates unlike what is labelled, and unlike each other.

A pick looks again only at those whom it may concern (`bounds.py`); no matrix of distances is
ever built. Shape letters: N = candidates, D = embedding, C = classes.
"""

import numpy as np
from pydantic import Field

from hilum.core.errors import RecipeError
from hilum.core.registry import Params, samplers
from hilum.select.bounds import Distances, FarDraw, Farthest, catch_up, catch_up_by_gradient
from hilum.select.clusters import k_means
from hilum.select.samplers import ByScore, best_rows
from hilum.select.scored import Floats, Ints, ScoredPool, how_many


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
    if num == 0:
        return np.empty(0, np.int64)
    centres = np.ascontiguousarray(scored.labelled_embedding, np.float32)
    far = Farthest(points_ND, centres, num=num)
    first = None if len(centres) else _most_central(points_ND)
    return rows[[far.take(first), *(far.take() for _ in range(num - 1))]]


@samplers.register("kmeans_pp")
def kmeans_pp(scored: ScoredPool, num: int, *, rng: np.random.Generator) -> Ints:
    """Draw in proportion to the squared distance from all that is labelled or picked (k-means++ seeding).

    A row that stands for several counts as so many.
    """
    num = how_many(scored, num)
    points_ND = _embedding(scored, "kmeans_pp")
    labelled_LD = np.ascontiguousarray(scored.labelled_embedding, np.float32)
    centres_CD = np.concatenate([labelled_LD, np.empty((num, points_ND.shape[1]), np.float32)])
    num_centres = min(1, len(labelled_LD))

    def meet(start: int, stop: int, nearest_N: Distances, met_N: Ints) -> None:
        if scored.weight is None:
            catch_up(points_ND, centres_CD, num_centres, start, stop, nearest_N, met_N)
            return
        open_rows = start + np.flatnonzero(nearest_N[start:stop] >= 0)
        nearest_N[open_rows] /= scored.weight[open_rows]
        catch_up(points_ND, centres_CD, num_centres, start, stop, nearest_N, met_N)
        nearest_N[open_rows] *= scored.weight[open_rows]

    far = FarDraw(scored.num, meet)
    picks = np.empty(num, np.int64)
    if num_centres:
        far.refresh()
        num_centres = len(labelled_LD)
    for place in range(num):
        first = None if num_centres else scored.weight
        picks[place] = far.row(rng) if first is None else _by_weight(first, rng)
        far.take(picks[place])
        centres_CD[num_centres] = points_ND[picks[place]]
        num_centres += 1
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
    lengths_N = np.linalg.norm(error_NC, axis=1) * np.linalg.norm(embedding_ND, axis=1)
    picks = np.empty(num, np.int64)
    # As in the authors' code, the longest gradient comes first; the rest are drawn.
    picks[0] = int(lengths_N.argmax())
    num_picked = 1

    def meet(start: int, stop: int, nearest_N: Distances, met_N: Ints) -> None:
        catch_up_by_gradient(error_NC, embedding_ND, lengths_N, picks, num_picked, start, stop, nearest_N, met_N)

    far = FarDraw(scored.num, meet)
    far.take(picks[0])
    far.refresh()
    for place in range(1, num):
        picks[place] = far.row(rng)
        far.take(picks[place])
        num_picked += 1
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


def _by_weight(weight_N: Ints, rng: np.random.Generator) -> int:
    return int(rng.choice(len(weight_N), p=weight_N / weight_N.sum()))


def _most_central(points_ND: Floats) -> int:
    mean_D = points_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    distance_N, met_N = np.full(len(points_ND), np.inf), np.zeros(len(points_ND), np.int64)
    catch_up(points_ND, mean_D[None], 1, 0, len(points_ND), distance_N, met_N)
    return int(distance_N.argmin())
