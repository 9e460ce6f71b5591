"""Non-linear grey levels: a random monotone curve, so that a network must know organs by shape and texture.

A cubic Bézier curve from (0, 0) to (1, 1) with two control points in the unit square never turns back in either
coordinate, so it is a map of grey levels; run against its direction it is a decreasing one.
Shape letters: C = channels, Z, Y, X = space.
"""

import numpy as np
import numpy.typing as npt

from hilum.nn.compiled import compiled
from hilum.nn.pretext.pretext import Floats

NUM_NODES = 4096
"""Between nodes the map is a straight line; it is off by at most 3 / NUM_NODES."""

_NUM_CELLS = 8192
_FLAT = np.float32(2 / NUM_NODES)

_T = np.linspace(0, 1, NUM_NODES)
_BERNSTEIN = np.stack([3 * (1 - _T) ** 2 * _T, 3 * (1 - _T) * _T**2, _T**3])


def non_linear(crop_CZYX: Floats, *, rng: np.random.Generator) -> Floats:
    """Every grey level through one random curve, increasing or decreasing with equal chance."""
    controls, decreasing = rng.random((2, 2)), bool(rng.random() < 0.5)
    return mapped(crop_CZYX, *bezier_map(controls, decreasing=decreasing))


def bezier_map(controls: npt.NDArray[np.float64], *, decreasing: bool) -> tuple[Floats, Floats]:
    """Nodes of the map: grey levels in ascending order, and what becomes of them.

    ``controls`` are the two control points, (x, y) each, between 0 and 1.
    """
    points = np.concatenate([controls, [[1.0, 1.0]]])
    # Rounding may turn the curve back by a last digit.
    levels, becoming = np.maximum.accumulate((points.T @ _BERNSTEIN).astype(np.float32), axis=1)
    levels[-1] = becoming[-1] = 1
    return levels, becoming[::-1].copy() if decreasing else becoming


def mapped(crop_CZYX: Floats, levels: Floats, becoming: Floats) -> Floats:
    """The map of these nodes, without a search for most voxels; monotone to the last digit.

    Between the ends of a cell the map is taken for straight, unless it rises or falls by more than ``_FLAT`` in it.
    """
    firsts, ends = np.empty(_NUM_CELLS + 1, np.int32), np.empty(_NUM_CELLS + 1, np.float32)
    _at_cell_ends((levels, becoming), firsts, ends)
    out_CZYX = np.empty_like(crop_CZYX, order="C")
    _on_cells(np.ascontiguousarray(crop_CZYX).reshape(-1), (levels, becoming), firsts, ends, out_CZYX.reshape(-1))
    return out_CZYX


@compiled
def _on_cells(
    values: Floats, nodes: tuple[Floats, Floats], firsts: npt.NDArray[np.int32], ends: Floats, out: Floats
) -> None:
    for place in range(values.size):
        value = min(max(values[place], np.float32(0)), np.float32(1))
        scaled = value * np.float32(_NUM_CELLS)
        cell = min(np.int32(scaled), np.int32(_NUM_CELLS - 1))
        low, high = ends[cell], ends[cell + 1]
        if abs(high - low) <= _FLAT:
            out[place] = _between(low, high, scaled - np.float32(cell))
        else:
            out[place] = _on_line(value, nodes, firsts[cell], firsts[cell + 1] + 1)


@compiled
def _at_cell_ends(nodes: tuple[Floats, Floats], firsts: npt.NDArray[np.int32], ends: Floats) -> None:
    """The last node at or below each cell's ends, and the map there."""
    levels = nodes[0]
    node = 0
    for place in range(ends.size):
        level = np.float32(place) / np.float32(_NUM_CELLS)
        while node + 1 < levels.size and levels[node + 1] <= level:
            node += 1
        firsts[place] = node
        ends[place] = _on_line(level, nodes, node, node + 1)


@compiled
def _on_line(value: np.float32, nodes: tuple[Floats, Floats], node: int, beyond: int) -> np.float32:
    """``np.interp`` where the last node at or below ``value`` is ``node`` or after it and before ``beyond``."""
    levels, becoming = nodes
    while beyond - node > 1:
        middle = (node + beyond) // 2
        if levels[middle] <= value:
            node = middle
        else:
            beyond = middle
    if node >= levels.size - 1:
        node, share = levels.size - 2, np.float32(1)
    else:
        share = (value - levels[node]) / (levels[node + 1] - levels[node])
    return _between(becoming[node], becoming[node + 1], share)


@compiled
def _between(low: np.float32, high: np.float32, share: np.float32) -> np.float32:
    # A line that rounding carries beyond its end would make the map turn back.
    return min(max(low + share * (high - low), min(low, high)), max(low, high))
