"""The nearest neighbours of every point: among all others exactly, or among the cells where nearly all of them are.

Shape letters: N = points, Q = points whose neighbours are wanted, K = neighbours, C = cells,
R = ranges of rows, W = points of one tile, D = dimensions.
"""

import numpy as np

from hilum.select.clusters import k_means
from hilum.select.compiled import compiled
from hilum.select.scored import Floats, Ints
from hilum.select.tiles import TILE_WIDTH, dots_of_four, pack

_RECALL = 0.995
"""Aimed at among the drawn points, so that 0.99 is reached among all."""
_NUM_DRAWN = 256
_FITTED_PER_CELL = 32
_NUM_ITERATIONS = 4


def nearest_neighbours(points_ND: Floats, num_neighbours: int) -> Ints:
    """(N, K) rows of the ``num_neighbours`` nearest others, all others when they are fewer; nearest first."""
    return _among_all(_centred(points_ND), min(num_neighbours, max(len(points_ND) - 1, 0)))


def probable_neighbours(points_ND: Floats, num_neighbours: int, *, rng: np.random.Generator) -> Ints:
    """The same for 99 of 100 neighbours, in a fraction of the time where points lie in groups.

    Points are sorted into about √N cells by k-means, and each is compared with those in the
    cells nearest to its own (an inverted file, as in https://arxiv.org/abs/1702.08734). How
    many cells that takes is learnt from 256 drawn points whose neighbours are found among
    all: where there are no groups it takes nearly every cell, and as long as looking at all.
    """
    points_ND, num = _centred(points_ND), len(points_ND)
    num_neighbours = min(num_neighbours, max(num - 1, 0))
    num_cells = max(1, int(np.sqrt(num)))
    cell_N = k_means(
        points_ND, num_cells, rng=rng, fit_at_most=_FITTED_PER_CELL * num_cells, num_iterations=_NUM_ITERATIONS
    )
    cell_N = np.unique(cell_N, return_inverse=True)[1]
    rows_N = np.argsort(cell_N, kind="stable")
    sorted_ND, cell_N = points_ND[rows_N], cell_N[rows_N]
    sizes_C = np.bincount(cell_N)
    stops_C = np.cumsum(sizes_C)
    near_CC = _cells_by_nearness(sorted_ND, sizes_C)
    num_read = _num_cells_to_read(sorted_ND, cell_N, near_CC, num_neighbours, rng)
    found_NK = np.empty((num, num_neighbours), np.int64)
    for cell, near_C in enumerate(near_CC):
        # However small its cells are, everyone meets as many others as are wanted.
        enough = 1 + int(np.searchsorted(np.cumsum(sizes_C[near_C]), num_neighbours + 1))
        read_C = np.sort(near_C[: max(num_read, enough)])
        ranges_R2 = np.stack([stops_C[read_C] - sizes_C[read_C], stops_C[read_C]], axis=1)
        members = np.arange(stops_C[cell] - sizes_C[cell], stops_C[cell])
        found_NK[rows_N[members]] = rows_N[_among(sorted_ND, members, ranges_R2, num_neighbours)]
    return found_NK


@compiled
def distances_to(points_ND: Floats, neighbours_NK: Ints) -> Floats:
    """Squared distances (N, K) of every point to its neighbours, nearest first."""
    num, keep = neighbours_NK.shape
    distances_NK = np.empty((num, keep), np.float32)
    for n in range(num):
        for k in range(keep):
            distance = np.float32(0)
            for d in range(points_ND.shape[1]):
                difference = points_ND[n, d] - points_ND[neighbours_NK[n, k], d]
                distance += difference * difference
            distances_NK[n, k] = distance
        distances_NK[n].sort()
    return distances_NK


def _centred(points_ND: Floats) -> Floats:
    """Moved together to the origin: the shorter the points, the less is lost in the differences of their products."""
    mean_D = points_ND.mean(axis=0, dtype=np.float64) if len(points_ND) else 0
    return np.ascontiguousarray(points_ND - mean_D, np.float32)


def _cells_by_nearness(sorted_ND: Floats, sizes_C: Ints) -> Ints:
    """Every cell's cells, itself first and then by the distance of their means."""
    sums_CD = np.add.reduceat(sorted_ND, np.cumsum(sizes_C) - sizes_C, axis=0, dtype=np.float64)
    means_CD = sums_CD / sizes_C[:, None]
    lengths_C = (means_CD**2).sum(axis=1)
    apart_CC = lengths_C[:, None] + lengths_C - 2 * np.einsum("cd,ed->ce", means_CD, means_CD)
    np.fill_diagonal(apart_CC, -np.inf)
    return np.argsort(apart_CC, axis=1, kind="stable")


def _num_cells_to_read(
    sorted_ND: Floats, cell_N: Ints, near_CC: Ints, num_neighbours: int, rng: np.random.Generator
) -> int:
    """The nearest cells that hold the wanted share of the neighbours of some drawn points."""
    drawn_Q = np.sort(rng.permutation(len(sorted_ND))[:_NUM_DRAWN])
    found_QK = _among(sorted_ND, drawn_Q, np.array([[0, len(sorted_ND)]]), num_neighbours)
    if not found_QK.size:
        return 1
    place_CC = np.argsort(near_CC, axis=1)
    places = np.sort(place_CC[cell_N[drawn_Q][:, None], cell_N[found_QK]], axis=None)
    return 1 + int(places[int(np.ceil(_RECALL * len(places))) - 1])


@compiled
def _among(points_ND: Floats, rows_Q: Ints, ranges_R2: Ints, num_neighbours: int) -> Ints:
    """The nearest of the rows in ``ranges_R2`` to each of ``rows_Q``, itself left out."""
    found_QK = np.zeros((len(rows_Q), num_neighbours), np.int64)
    if num_neighbours == 0:
        return found_QK
    lengths_N = np.empty(len(points_ND), np.float32)
    for r in range(len(ranges_R2)):
        for n in range(ranges_R2[r, 0], ranges_R2[r, 1]):
            lengths_N[n] = np.float32(0)
            for d in range(points_ND.shape[1]):
                lengths_N[n] += points_ND[n, d] * points_ND[n, d]
    tile_DW = np.empty((points_ND.shape[1], TILE_WIDTH), np.float32)
    dots_4W = np.empty((4, TILE_WIDTH), np.float32)
    nearest_WK = np.empty((TILE_WIDTH, num_neighbours), np.float32)
    bar_W = np.empty(TILE_WIDTH, np.float32)
    for first in range(0, len(rows_Q), TILE_WIDTH):
        num = pack(points_ND, rows_Q, first, tile_DW)
        nearest_WK[:] = np.float32(np.inf)
        bar_W[:num], bar_W[num:] = np.float32(np.inf), np.float32(-np.inf)
        for r in range(len(ranges_R2)):
            stop = ranges_R2[r, 1]
            for n in range(ranges_R2[r, 0], stop, 4):
                dots_of_four(points_ND[:stop], n, tile_DW, dots_4W)
                for i in range(min(4, stop - n)):
                    # A point's own length adds the same to all its distances: it is left out.
                    for begin in range(0, TILE_WIDTH, 16):
                        num_better = 0
                        for w in range(begin, begin + 16):
                            num_better += lengths_N[n + i] - np.float32(2) * dots_4W[i, w] < bar_W[w]
                        if num_better == 0:
                            continue
                        for w in range(begin, begin + 16):
                            nearness = lengths_N[n + i] - np.float32(2) * dots_4W[i, w]
                            if nearness < bar_W[w] and rows_Q[first + w] != n + i:
                                _insert(nearest_WK[w], found_QK[first + w], nearness, n + i)
                                bar_W[w] = nearest_WK[w, num_neighbours - 1]
    return found_QK


@compiled
def _among_all(points_ND: Floats, num_neighbours: int) -> Ints:
    """The nearest of all others to every row. An inner product serves both of its rows."""
    num_rows = len(points_ND)
    found_NK = np.zeros((num_rows, num_neighbours), np.int64)
    if num_neighbours == 0:
        return found_NK
    lengths_N = np.empty(num_rows, np.float32)
    for n in range(num_rows):
        lengths_N[n] = np.float32(0)
        for d in range(points_ND.shape[1]):
            lengths_N[n] += points_ND[n, d] * points_ND[n, d]
    rows_N = np.arange(num_rows)
    tile_DW = np.empty((points_ND.shape[1], TILE_WIDTH), np.float32)
    dots_4W = np.empty((4, TILE_WIDTH), np.float32)
    nearest_NK = np.full((num_rows, num_neighbours), np.float32(np.inf), np.float32)
    bar_N = np.full(num_rows, np.float32(np.inf), np.float32)
    bar_W, lengths_W = np.empty(TILE_WIDTH, np.float32), np.empty(TILE_WIDTH, np.float32)
    for first in range(0, num_rows, TILE_WIDTH):
        num = pack(points_ND, rows_N, first, tile_DW)
        bar_W[:num], bar_W[num:] = bar_N[first : first + num], np.float32(-np.inf)
        lengths_W[:num], lengths_W[num:] = lengths_N[first : first + num], np.float32(np.inf)
        for begin_row in range(first, num_rows, 4):
            dots_of_four(points_ND, begin_row, tile_DW, dots_4W)
            for i in range(min(4, num_rows - begin_row)):
                n = begin_row + i
                # A point's own length adds the same to all its distances: it is left out.
                bar = bar_N[n] if n >= first + num else np.float32(-np.inf)
                for begin in range(0, TILE_WIDTH, 16):
                    num_better = 0
                    for w in range(begin, begin + 16):
                        twice = np.float32(2) * dots_4W[i, w]
                        num_better += (lengths_N[n] - twice < bar_W[w]) | (lengths_W[w] - twice < bar)
                    if num_better == 0:
                        continue
                    for w in range(begin, begin + 16):
                        twice = np.float32(2) * dots_4W[i, w]
                        if lengths_N[n] - twice < bar_W[w] and first + w != n:
                            _insert(nearest_NK[first + w], found_NK[first + w], lengths_N[n] - twice, n)
                            bar_W[w] = nearest_NK[first + w, num_neighbours - 1]
                        if lengths_W[w] - twice < bar:
                            _insert(nearest_NK[n], found_NK[n], lengths_W[w] - twice, first + w)
                            bar = nearest_NK[n, num_neighbours - 1]
                if n >= first + num:
                    bar_N[n] = bar
    return found_NK


@compiled
def _insert(nearest_K: Floats, found_K: Ints, distance: np.float32, row: int) -> None:
    """Put ``row`` in its place among the nearest so far; the farthest falls out."""
    place = len(nearest_K) - 1
    while place > 0 and nearest_K[place - 1] > distance:
        nearest_K[place], found_K[place] = nearest_K[place - 1], found_K[place - 1]
        place -= 1
    nearest_K[place], found_K[place] = distance, row
