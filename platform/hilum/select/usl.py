"""Unsupervised selective labelling: dense places that keep away from each other.

Shape letters: N = open candidates, K = clusters, B = picks and labelled candidates, W = those of one tile,
D = embedding.
"""

import math

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hilum.core.errors import RecipeError
from hilum.core.registry import Params, samplers
from hilum.select.clusters import k_means
from hilum.select.cold_start import typicality
from hilum.select.compiled import compiled
from hilum.select.samplers import best_rows
from hilum.select.scored import Floats, Ints, ScoredPool, how_many
from hilum.select.tiles import TILE_WIDTH, dots_of_four, pack, unit_length

_NOBODYS = -1


class UslParams(Params):
    """``repulsion`` weighs the others' nearness, of which ``momentum`` of the last iteration's is kept."""

    num_neighbours: int = Field(default=20, ge=1)
    repulsion: float = Field(default=0.5, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    num_iterations: int = Field(default=10, ge=1)


@samplers.register("usl", params=UslParams)
def usl(
    scored: ScoredPool,
    num: int,
    *,
    rng: np.random.Generator,
    num_neighbours: int = 20,
    repulsion: float = 0.5,
    momentum: float = 0.9,
    num_iterations: int = 10,
) -> Ints:
    """One of each cluster, where it is dense and far from the others' (USL, https://arxiv.org/abs/2110.03006).

    Density is 1 / mean distance to the nearest neighbours. In every iteration the densest
    candidate of each cluster is chosen anew, less λ · Σ 1 / distance to what the other
    clusters chose; labelled candidates count among those. Densest are asked first.
    """
    num = how_many(scored, num)
    if num == 0:
        return np.empty(0, np.int64)
    if not scored.embedding.shape[1]:
        raise RecipeError("Sampler 'usl' compares embeddings and this pool has none; score the pool first.")
    points_ND = unit_length(scored.embedding)
    labelled_ND = unit_length(scored.labelled_embedding)
    density_N = typicality(points_ND, num_neighbours, rng=rng)
    cluster_N = k_means(points_ND, num, rng=rng)
    nearness_N = np.zeros(scored.num)
    for iteration in range(num_iterations):
        utility_N = density_N - repulsion * nearness_N
        picks = _best_of_each(utility_N, cluster_N)
        if iteration < num_iterations - 1:
            others_BD = np.concatenate([points_ND[picks], labelled_ND])
            owner_B = np.concatenate([cluster_N[picks], np.full(len(labelled_ND), _NOBODYS)])
            now_N = _nearness(points_ND, cluster_N, others_BD, owner_B)
            nearness_N = momentum * nearness_N + (1 - momentum) * now_N
    utility_N[picks] += np.ptp(utility_N) + 1  # before those who fill up where there were too few different points
    return best_rows(utility_N, num)


def _best_of_each(utility_N: npt.NDArray[np.float64], cluster_N: Ints) -> Ints:
    """The row of the highest utility in every cluster, the lower row among equals."""
    order_N = np.lexsort((np.arange(len(cluster_N)), -utility_N, cluster_N))
    starts = np.flatnonzero(np.diff(cluster_N[order_N], prepend=-1))
    return order_N[starts]


@compiled
def _nearness(points_ND: Floats, cluster_N: Ints, others_BD: Floats, owner_B: Ints) -> npt.NDArray[np.float64]:
    """Σ 1 / distance of every point to the others, those of its own cluster left out."""
    nearness_N = np.zeros(len(points_ND))
    tile_DW = np.empty((points_ND.shape[1], TILE_WIDTH), np.float32)
    dots_4W = np.empty((4, TILE_WIDTH), np.float32)
    length_W = np.empty(TILE_WIDTH, np.float32)
    owner_W = np.empty(TILE_WIDTH, np.int64)
    rows_B = np.arange(len(others_BD))
    for first in range(0, len(others_BD), TILE_WIDTH):
        num = pack(others_BD, rows_B, first, tile_DW)
        for w in range(TILE_WIDTH):
            length_W[w] = np.float32(0)
            for d in range(tile_DW.shape[0]):
                length_W[w] += tile_DW[d, w] * tile_DW[d, w]
            owner_W[w] = owner_B[first + w] if w < num else 0
        for n in range(0, len(points_ND), 4):
            for i in range(dots_of_four(points_ND, n, tile_DW, dots_4W)):
                length = np.float32(0)
                for d in range(points_ND.shape[1]):
                    length += points_ND[n + i, d] * points_ND[n + i, d]
                total = 0.0
                for w in range(num):
                    squared = max(length + length_W[w] - np.float32(2) * dots_4W[i, w], np.float32(1e-10))
                    total += 0.0 if owner_W[w] == cluster_N[n + i] else 1.0 / math.sqrt(squared)
                nearness_N[n + i] += total
    return nearness_N
