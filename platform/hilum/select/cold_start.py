"""Whom to ask first, before there is a model: the most typical candidates of different kinds.

Shape letters: N = points, D = embedding.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hilum.core.errors import RecipeError
from hilum.core.registry import Params, samplers
from hilum.select.clusters import k_means
from hilum.select.compiled import compiled
from hilum.select.scored import Floats, Ints, ScoredPool, how_many

_SMALL_CLUSTER = 5


class TypiclustParams(Params):
    """``max_clusters`` bounds the clusters; ``distance`` 'squared' is what the authors' code computes."""

    max_clusters: int = Field(default=500, ge=1)
    num_neighbours: int = Field(default=20, ge=1)
    distance: Literal["euclidean", "squared"] = "euclidean"


@samplers.register("typiclust", params=TypiclustParams)
def typiclust(
    scored: ScoredPool,
    num: int,
    *,
    rng: np.random.Generator,
    max_clusters: int = 500,
    num_neighbours: int = 20,
    distance: Literal["euclidean", "squared"] = "euclidean",
) -> Ints:
    """The most typical candidate of each cluster, least labelled clusters first (https://arxiv.org/abs/2202.02794).

    Clusters are visited in turn; one with nobody left is skipped. Clusters of five or fewer
    points wait until the larger ones are exhausted.
    """
    num = how_many(scored, num)
    if num == 0:
        return np.empty(0, np.int64)
    if not scored.embedding.shape[1]:
        raise RecipeError("Sampler 'typiclust' compares embeddings and this pool has none; score the pool first.")
    open_ND = _unit_length(scored.embedding)
    all_ND = np.concatenate([open_ND, _unit_length(scored.labelled_embedding)])
    num_labelled = len(all_ND) - len(open_ND)
    cluster_all = k_means(all_ND, min(num_labelled + num, max_clusters), rng=rng)
    cluster_N = cluster_all[: scored.num].copy()

    def most_typical(members: Ints) -> int:
        neighbours = min(num_neighbours, max(1, len(members) // 2))
        return int(members[typicality(open_ND[members], neighbours, distance == "squared").argmax()])

    picks: list[int] = []
    for clusters in _visiting_order(cluster_all, scored.num):
        picks += _visit(clusters, cluster_N, num - len(picks), most_typical)
    return np.array(picks, np.int64)


@compiled
def typicality(points_ND: Floats, num_neighbours: int, squared: bool) -> npt.NDArray[np.float64]:
    """1 / (mean distance to the ``num_neighbours`` nearest others + 1e-5), for every point."""
    num = points_ND.shape[0]
    typicality_N = np.empty(num)
    keep = min(num_neighbours, num - 1)
    for n in range(num):
        smallest = np.full(keep, np.inf)
        for other in range(num):
            if other == n or keep == 0:
                continue
            distance = 0.0
            for d in range(points_ND.shape[1]):
                difference = points_ND[n, d] - points_ND[other, d]
                distance += difference * difference
            place = keep - 1
            if distance >= smallest[place]:
                continue
            while place > 0 and smallest[place - 1] > distance:
                smallest[place] = smallest[place - 1]
                place -= 1
            smallest[place] = distance
        total = 0.0
        for place in range(keep):
            total += smallest[place] if squared else np.sqrt(smallest[place])
        typicality_N[n] = 1.0 / (total / max(keep, 1) + 1e-5)
    return typicality_N


def _visiting_order(cluster_all: Ints, num_open: int) -> tuple[list[int], list[int]]:
    """Large clusters, then small ones; each by (labelled points ascending, size descending)."""
    sizes = np.bincount(cluster_all)
    labelled = np.bincount(cluster_all[num_open:], minlength=len(sizes))
    order = sorted((c for c in range(len(sizes)) if sizes[c]), key=lambda c: (labelled[c], -sizes[c], c))
    return [c for c in order if sizes[c] > _SMALL_CLUSTER], [c for c in order if sizes[c] <= _SMALL_CLUSTER]


def _visit(clusters: list[int], cluster_N: Ints, num: int, most_typical: Callable[[Ints], int]) -> list[int]:
    """Up to ``num`` picks from ``clusters`` in turn. A picked point leaves its cluster (``cluster_N`` −1)."""
    picks: list[int] = []
    waiting = list(clusters)
    while waiting and len(picks) < num:
        cluster = waiting.pop(0)
        members = np.flatnonzero(cluster_N == cluster)
        if not len(members):
            continue
        picks.append(most_typical(members))
        cluster_N[picks[-1]] = -1
        waiting.append(cluster)
    return picks


def _unit_length(embedding_ND: npt.NDArray[np.floating]) -> Floats:
    points_ND = np.ascontiguousarray(embedding_ND, np.float32)
    lengths = np.linalg.norm(points_ND, axis=1, keepdims=True)
    return np.ascontiguousarray(points_ND / np.where(lengths > 0, lengths, 1), np.float32)
