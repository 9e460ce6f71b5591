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
from hilum.select.neighbours import distances_to, nearest_neighbours, probable_neighbours
from hilum.select.scored import Floats, Ints, ScoredPool, how_many
from hilum.select.tiles import unit_length

_SMALL_CLUSTER = 5
_EXACT_UP_TO = 20_000


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
    points wait until the larger ones are exhausted. In a cluster of more than 20,000 the
    neighbours are found for 99 % and more, not all.
    """
    num = how_many(scored, num)
    if num == 0:
        return np.empty(0, np.int64)
    if not scored.embedding.shape[1]:
        raise RecipeError("Sampler 'typiclust' compares embeddings and this pool has none; score the pool first.")
    open_ND = unit_length(scored.embedding)
    all_ND = np.concatenate([open_ND, unit_length(scored.labelled_embedding)])
    num_labelled = len(all_ND) - len(open_ND)
    cluster_all = k_means(all_ND, min(num_labelled + num, max_clusters), rng=rng)
    cluster_N = cluster_all[: scored.num].copy()

    def most_typical(members: Ints) -> int:
        neighbours = min(num_neighbours, max(1, len(members) // 2))
        return int(members[typicality(open_ND[members], neighbours, distance == "squared", rng=rng).argmax()])

    picks: list[int] = []
    for clusters in _visiting_order(cluster_all, scored.num):
        picks += _visit(clusters, cluster_N, num - len(picks), most_typical)
    return np.array(picks, np.int64)


def typicality(
    points_ND: Floats, num_neighbours: int, squared: bool = False, *, rng: np.random.Generator | None = None
) -> npt.NDArray[np.float64]:
    """1 / (mean distance to the ``num_neighbours`` nearest others + 1e-5), for every point.

    Exact up to 20,000 points, and of any number without ``rng``; with it, neighbours among
    more points are the probable ones (`neighbours.probable_neighbours`).
    """
    if rng is None or len(points_ND) <= _EXACT_UP_TO:
        neighbours_NK = nearest_neighbours(points_ND, num_neighbours)
    else:
        neighbours_NK = probable_neighbours(points_ND, num_neighbours, rng=rng)
    distances_NK = distances_to(points_ND, neighbours_NK).astype(np.float64)
    if not squared:
        np.sqrt(distances_NK, out=distances_NK)
    typicality_N: npt.NDArray[np.float64] = 1 / (distances_NK.sum(axis=1) / max(1, distances_NK.shape[1]) + 1e-5)
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
