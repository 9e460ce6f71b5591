"""Inner products of many points with many others, a tile at a time, near the speed of the core's arithmetic.

No matrix of all with all is ever held, and no BLAS is called: its sums depend on its threads.
Shape letters: N = points, W = the others of one tile, D = dimensions.
"""

import numpy as np
import numpy.typing as npt

from hilum.select.compiled import compiled
from hilum.select.scored import Floats, Ints

TILE_WIDTH = 64
"""Wide enough for every vector unit, narrow enough that a tile of 128 dimensions stays in the first cache."""


@compiled
def width_for(num: int) -> int:
    """The width of tiles for ``num`` points: a few fill a narrower one."""
    return int(min(TILE_WIDTH, 16 * max(1, (num + 15) // 16)))


@compiled
def pack(points_ND: Floats, rows: Ints, first: int, tile_DW: Floats) -> int:
    """Fill a tile with the points ``rows[first:]``, then with zeros; returns how many points are in it."""
    size, width = tile_DW.shape
    num = min(width, len(rows) - first)
    for w in range(width):
        for d in range(size):
            tile_DW[d, w] = points_ND[rows[first + w], d] if w < num else np.float32(0)
    return int(num)


@compiled
def dots_of_four(points_ND: Floats, first: int, tile_DW: Floats, dots_4W: Floats) -> int:
    """Inner products of the points ``first`` to ``first`` + 3 with a tile's; returns how many of the four there are."""
    last = points_ND.shape[0] - 1
    p_D, q_D = points_ND[first], points_ND[min(first + 1, last)]
    r_D, s_D = points_ND[min(first + 2, last)], points_ND[min(first + 3, last)]
    p_W, q_W, r_W, s_W = dots_4W[0], dots_4W[1], dots_4W[2], dots_4W[3]
    size, width = tile_DW.shape
    in_fours = size - size % 4
    dots_4W[:] = np.float32(0)
    # Four rows of the tile are read once for sixteen products each: the loop over w is what becomes vectors.
    for d in range(0, in_fours, 4):
        p0, p1, p2, p3 = p_D[d], p_D[d + 1], p_D[d + 2], p_D[d + 3]
        q0, q1, q2, q3 = q_D[d], q_D[d + 1], q_D[d + 2], q_D[d + 3]
        r0, r1, r2, r3 = r_D[d], r_D[d + 1], r_D[d + 2], r_D[d + 3]
        s0, s1, s2, s3 = s_D[d], s_D[d + 1], s_D[d + 2], s_D[d + 3]
        for w in range(width):
            t0, t1, t2, t3 = tile_DW[d, w], tile_DW[d + 1, w], tile_DW[d + 2, w], tile_DW[d + 3, w]
            p_W[w] += p0 * t0 + p1 * t1 + p2 * t2 + p3 * t3
            q_W[w] += q0 * t0 + q1 * t1 + q2 * t2 + q3 * t3
            r_W[w] += r0 * t0 + r1 * t1 + r2 * t2 + r3 * t3
            s_W[w] += s0 * t0 + s1 * t1 + s2 * t2 + s3 * t3
    for d in range(in_fours, size):
        for w in range(width):
            p_W[w] += p_D[d] * tile_DW[d, w]
            q_W[w] += q_D[d] * tile_DW[d, w]
            r_W[w] += r_D[d] * tile_DW[d, w]
            s_W[w] += s_D[d] * tile_DW[d, w]
    return int(min(4, last + 1 - first))


def unit_length(embedding_ND: npt.NDArray[np.floating]) -> Floats:
    """Every point as a direction; a point at the origin stays there."""
    points_ND = np.ascontiguousarray(embedding_ND, np.float32)
    lengths_N1 = np.linalg.norm(points_ND, axis=1, keepdims=True)
    directions_ND: Floats = np.ascontiguousarray(points_ND / np.where(lengths_N1 > 0, lengths_N1, 1), np.float32)
    return directions_ND
