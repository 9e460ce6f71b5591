"""Samplers that leave as little of the pool as possible without a labelled candidate like it.

What is covered is counted over the whole pool up to ``num_counted`` candidates; over more,
it is counted over as many drawn with the seed, and what is chosen from is the pool all the same.
Likeness is the cosine of embeddings. Shape letters: N = candidates, M = those counted,
W = candidates of one tile, D = embedding.
"""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hilum.core.errors import RecipeError
from hilum.core.registry import Params, samplers
from hilum.select.clusters import k_means
from hilum.select.compiled import compiled
from hilum.select.diversity import KCentreParams
from hilum.select.samplers import best_rows
from hilum.select.scored import Floats, Ints, ScoredPool, how_many
from hilum.select.tiles import TILE_WIDTH, dots_of_four, pack, unit_length, width_for

_PICKED = -1.0
_NUM_BALLS = 2000
_HELD_AT_MOST = 8192
"""Candidates of whom every likeness is held (256 MiB); of more it is computed again when it is asked for."""


class FacilityParams(KCentreParams):
    """As for k_centre, and how many candidates the coverage is counted over."""

    num_counted: int = Field(default=20_000, ge=1)


class ProbCoverParams(Params):
    """``delta`` is a distance between embeddings of length 1; without it, the largest at which ``purity`` is kept.

    Pseudo-labels are the clusters of k-means, ``num_clusters`` of them or as many as there are classes.
    """

    delta: float | None = Field(default=None, gt=0, le=2)
    purity: float = Field(default=0.95, gt=0, le=1)
    num_clusters: int | None = Field(default=None, ge=2)
    num_counted: int = Field(default=20_000, ge=1)


@samplers.register("facility_location", params=FacilityParams)
def facility_location(
    scored: ScoredPool,
    num: int,
    *,
    rng: np.random.Generator,
    shortlist: float | None = None,
    score: str = "margin",
    num_counted: int = 20_000,
) -> Ints:
    """Again and again the candidate that most raises Σ (likeness of each to the most like it of labelled and picked).

    Likeness is max(cosine, 0). The greedy choice is exact, by lazy evaluation, and within
    1 − 1/e of the best sum (https://proceedings.mlr.press/v37/wei15.html, who take the
    ``shortlist`` by uncertainty too). The sum runs over candidates (see the module).
    """
    num = how_many(scored, num)
    if num == 0:
        return np.empty(0, np.int64)
    everyone_ND = _directions(scored, "facility_location")
    counted_MD = everyone_ND[_counted(scored.num, num_counted, rng)]
    rows = np.arange(scored.num)
    if shortlist is not None:
        rows = np.sort(best_rows(scored.score(score), min(scored.num, int(shortlist * num))))
    points_ND = everyone_ND[rows]
    likest_M = np.zeros(len(counted_MD), np.float32)
    for labelled_D in unit_length(scored.labelled_embedding):
        _come_closer(counted_MD, labelled_D, likest_M)
    if max(len(points_ND), len(counted_MD)) <= _HELD_AT_MOST:
        return rows[_greatest_in_turn(_likeness(points_ND, counted_MD), likest_M, num)]
    bounds_N = _gains(counted_MD, likest_M, points_ND, np.arange(len(points_ND)))
    picks = np.empty(num, np.int64)
    for place in range(num):
        picks[place] = _greatest(counted_MD, likest_M, points_ND, bounds_N)
        bounds_N[picks[place]] = _PICKED
        _come_closer(counted_MD, points_ND[picks[place]], likest_M)
    return rows[picks]


@samplers.register("prob_cover", params=ProbCoverParams)
def prob_cover(
    scored: ScoredPool,
    num: int,
    *,
    rng: np.random.Generator,
    delta: float | None = None,
    purity: float = 0.95,
    num_clusters: int | None = None,
    num_counted: int = 20_000,
) -> Ints:
    """Again and again the candidate with the most uncovered ones within δ (ProbCover, https://arxiv.org/abs/2205.11320).

    δ is the largest radius at which a share of ``purity`` of the balls hold one pseudo-label
    only. Once everybody is covered, the rest is drawn at random. The graph of who covers
    whom is counted, not held: memory is that of the pool.
    """
    num = how_many(scored, num)
    if num == 0:
        return np.empty(0, np.int64)
    points_ND = _directions(scored, "prob_cover")
    if delta is None:
        num_classes = max(2, scored.num_classes, scored.labelled_fractions.shape[1])
        bar = _purest_likeness(points_ND, k_means(points_ND, num_clusters or num_classes, rng=rng), purity, rng)
    else:
        bar = np.float32(1 - delta**2 / 2)
    counted_MD = points_ND[_counted(scored.num, num_counted, rng)]
    is_open_M = _num_alike(counted_MD, unit_length(scored.labelled_embedding), bar) == 0
    degree_N = _num_alike(points_ND, counted_MD[is_open_M], bar)
    picks: list[int] = []
    while len(picks) < num and degree_N.max() > 0:
        picks.append(int(degree_N.argmax()))
        newly_M = is_open_M & (_num_alike(counted_MD, points_ND[picks[-1:]], bar) > 0)
        is_open_M &= ~newly_M
        degree_N -= _num_alike(points_ND, counted_MD[newly_M], bar)
        degree_N[picks] = 0
    left = np.setdiff1d(np.arange(scored.num), picks)
    return np.concatenate([picks, rng.permutation(left)[: num - len(picks)]]).astype(np.int64)


def _directions(scored: ScoredPool, sampler: str) -> Floats:
    if not scored.embedding.shape[1]:
        raise RecipeError(f"Sampler '{sampler}' compares embeddings and this pool has none; score the pool first.")
    return unit_length(scored.embedding)


def _counted(num: int, num_counted: int, rng: np.random.Generator) -> Ints:
    """Rows that coverage is counted over, in ascending order."""
    return np.arange(num) if num <= num_counted else np.sort(rng.permutation(num)[:num_counted])


def _greatest(counted_MD: Floats, likest_M: Floats, points_ND: Floats, bounds_N: npt.NDArray[np.float64]) -> int:
    """The row of the greatest gain. Those of earlier picks (``bounds_N``) can only have fallen: few are redone."""
    is_exact_N = np.zeros(len(bounds_N), bool)
    greatest = int(bounds_N.argmax())
    while not is_exact_N[greatest]:
        stale_N = np.where(is_exact_N, _PICKED, bounds_N)
        likely = np.argpartition(stale_N, -min(TILE_WIDTH, len(stale_N)))[-TILE_WIDTH:]
        # What was computed anew is no bound any more: whoever cannot reach it is left alone.
        likely = likely[stale_N[likely] >= max(0.0, bounds_N[is_exact_N].max(initial=0.0))]
        bounds_N[likely] = _gains(counted_MD, likest_M, points_ND, likely)
        is_exact_N[likely] = True
        greatest = int(bounds_N.argmax())
    return greatest


def _purest_likeness(points_ND: Floats, cluster_N: Ints, purity: float, rng: np.random.Generator) -> np.float32:
    """The cosine beyond which two are alike, so that ``purity`` of the balls hold one cluster only.

    A ball stays pure up to its centre's nearest point of another cluster; up to 2,000 drawn centres are looked at.
    """
    centres = _counted(len(points_ND), _NUM_BALLS, rng)
    likest_Q = _likest_of_others(points_ND, cluster_N, centres)
    num_impure = int((1 - purity) * len(centres) + 1e-9)
    return np.float32(-np.sort(-likest_Q)[num_impure])


@compiled
def _likeness(points_ND: Floats, counted_MD: Floats) -> Floats:
    """The cosine (N, M) of every point with everyone counted."""
    likeness_NM = np.empty((len(points_ND), len(counted_MD)), np.float32)
    tile_DW = np.empty((points_ND.shape[1], TILE_WIDTH), np.float32)
    dots_4W = np.empty((4, TILE_WIDTH), np.float32)
    rows_M = np.arange(len(counted_MD))
    for first in range(0, len(counted_MD), TILE_WIDTH):
        num = pack(counted_MD, rows_M, first, tile_DW)
        for n in range(0, len(points_ND), 4):
            for i in range(dots_of_four(points_ND, n, tile_DW, dots_4W)):
                likeness_NM[n + i, first : first + num] = dots_4W[i, :num]
    return likeness_NM


@compiled
def _greatest_in_turn(likeness_NM: Floats, likest_M: Floats, num: int) -> Ints:
    """``num`` rows, each of the greatest gain after those before it; ``likest_M`` is raised by them."""
    picks = np.empty(num, np.int64)
    bounds_N = np.full(len(likeness_NM), np.inf)
    for place in range(num):
        greatest, gain_of_greatest = -1, -1.0
        for n in np.argsort(-bounds_N):
            # A gain can only have fallen since it was computed: those after this one are no greater.
            if bounds_N[n] < gain_of_greatest:
                break
            if bounds_N[n] == _PICKED:
                continue
            gain = 0.0
            for m in range(len(likest_M)):
                gain += max(likeness_NM[n, m] - likest_M[m], np.float32(0))
            bounds_N[n] = gain
            if gain > gain_of_greatest or (gain == gain_of_greatest and n < greatest):
                greatest, gain_of_greatest = n, gain
        picks[place] = greatest
        bounds_N[greatest] = _PICKED
        for m in range(len(likest_M)):
            likest_M[m] = max(likest_M[m], likeness_NM[greatest, m])
    return picks


@compiled
def _gains(counted_MD: Floats, likest_M: Floats, points_ND: Floats, rows: Ints) -> npt.NDArray[np.float64]:
    """By how much each of ``rows`` would raise the sum of ``likest_M``."""
    gains = np.empty(len(rows))
    width = width_for(len(rows))
    gain_W = np.empty(width)
    tile_DW = np.empty((points_ND.shape[1], width), np.float32)
    dots_4W = np.empty((4, width), np.float32)
    for first in range(0, len(rows), width):
        num = pack(points_ND, rows, first, tile_DW)
        gain_W[:] = 0.0
        for m in range(0, len(counted_MD), 4):
            for i in range(dots_of_four(counted_MD, m, tile_DW, dots_4W)):
                for w in range(width):
                    gain_W[w] += max(dots_4W[i, w] - likest_M[m + i], np.float32(0))
        gains[first : first + num] = gain_W[:num]
    return gains


@compiled
def _come_closer(counted_MD: Floats, pick_D: Floats, likest_M: Floats) -> None:
    for m in range(len(counted_MD)):
        likeness = np.float32(0)
        for d in range(len(pick_D)):
            likeness += counted_MD[m, d] * pick_D[d]
        likest_M[m] = max(likest_M[m], likeness)


@compiled
def _num_alike(points_ND: Floats, others_MD: Floats, bar: np.float32) -> Ints:
    """How many of the others are alike: have a cosine above ``bar`` with each point."""
    num_alike_N = np.zeros(len(points_ND), np.int64)
    width = width_for(len(others_MD))
    tile_DW = np.empty((points_ND.shape[1], width), np.float32)
    dots_4W = np.empty((4, width), np.float32)
    rows_M = np.arange(len(others_MD))
    for first in range(0, len(others_MD), width):
        num = pack(others_MD, rows_M, first, tile_DW)
        for n in range(0, len(points_ND), 4):
            for i in range(dots_of_four(points_ND, n, tile_DW, dots_4W)):
                num_alike = 0
                for w in range(num):
                    num_alike += dots_4W[i, w] > bar
                num_alike_N[n + i] += num_alike
    return num_alike_N


@compiled
def _likest_of_others(points_ND: Floats, cluster_N: Ints, rows: Ints) -> Floats:
    """The highest cosine of each of ``rows`` with a point of another cluster; −1 where there is none."""
    likest = np.full(len(rows), np.float32(-1))
    tile_DW = np.empty((points_ND.shape[1], TILE_WIDTH), np.float32)
    dots_4W = np.empty((4, TILE_WIDTH), np.float32)
    for first in range(0, len(rows), TILE_WIDTH):
        num = pack(points_ND, rows, first, tile_DW)
        for n in range(0, len(points_ND), 4):
            for i in range(dots_of_four(points_ND, n, tile_DW, dots_4W)):
                for w in range(num):
                    if dots_4W[i, w] > likest[first + w] and cluster_N[rows[first + w]] != cluster_N[n + i]:
                        likest[first + w] = dots_4W[i, w]
    return likest
