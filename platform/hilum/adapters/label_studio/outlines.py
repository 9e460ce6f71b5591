"""The outlines of a mask along its pixels' edges, holes included, as one closed line for each connected part.

Sides of a pixel are numbered as they are walked, clockwise: 0 top (to the right), 1 right (down), 2 bottom (to
the left), 3 left (up). Every side between a pixel of the mask (4-connected) and one that is not is an edge, with
the mask on its right. S = sides, Y, X = pixels, E = edges.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.nn.compiled import compiled

_DY, _DX = (-1, 0, 1, 0), (0, 1, 0, -1)
"""The pixel beyond each side."""
_CORNER_Y, _CORNER_X = (0, 0, 1, 1), (0, 1, 1, 0)
"""Where each side begins."""
_AFTER, _BEFORE = 0, 1
"""Of an edge's links."""


def outlines(mask_YX: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Corners (N, 2: x, y in pixels) of all outlines one after the other, and where each ends.

    A hole is joined to the edge that opens its row of pixels by a cut along the pixels, walked to and fro.
    """
    mask_YX = np.ascontiguousarray(mask_YX, dtype=np.bool_)
    number_SYX, num_edges = _numbered(mask_YX)
    # Joining a hole adds two edges, and a hole has four at least.
    most = num_edges + num_edges // 2
    link_E2 = np.empty((most, 2), np.int32)
    corner_E2 = np.empty((most, 2), np.int32)
    _link(mask_YX, number_SYX, link_E2, corner_E2)
    first_E = np.empty(num_edges // 4, np.int32)
    num_outlines = _join_holes(number_SYX, num_edges, link_E2, corner_E2, first_E)
    return _corners(link_E2, corner_E2, first_E[:num_outlines])  # type: ignore[no-any-return]


@compiled
def _numbered(mask_YX: Any) -> Any:  # pragma: no cover (machine code)
    """The number of the edge at every side of every pixel, −1 where there is none; how many there are."""
    height, width = mask_YX.shape
    number_SYX = np.full((4, height, width), -1, np.int32)
    num = 0
    for y in range(height):
        for x in range(width):
            for side in range(4):
                if mask_YX[y, x] and not _is_in(mask_YX, y + _DY[side], x + _DX[side]):
                    number_SYX[side, y, x] = num
                    num += 1
    return number_SYX, num


@compiled
def _link(mask_YX: Any, number_SYX: Any, link_E2: Any, corner_E2: Any) -> None:  # pragma: no cover
    """Which edge comes after and before each, and where it begins."""
    height, width = mask_YX.shape
    for y in range(height):
        for x in range(width):
            for side in range(4):
                edge = number_SYX[side, y, x]
                if edge >= 0:
                    corner_E2[edge, 0], corner_E2[edge, 1] = x + _CORNER_X[side], y + _CORNER_Y[side]
                    then = _next_edge(mask_YX, number_SYX, side, y, x)
                    link_E2[edge, _AFTER], link_E2[then, _BEFORE] = then, edge


@compiled
def _join_holes(
    number_SYX: Any, num_edges: int, link_E2: Any, corner_E2: Any, first_E: Any
) -> int:  # pragma: no cover (machine code)
    """Join every hole to its part; write an edge of each part to ``first_E`` and return how many parts there are.

    Row by row, the first edge met of a part opens a run of pixels; the first of a hole closes one, and the edge that
    opened that run is known already.
    """
    known_E = np.zeros(num_edges, np.bool_)
    num_outlines, total = 0, num_edges
    for y in range(number_SYX.shape[1]):
        opened = -1
        for x in range(number_SYX.shape[2]):
            if number_SYX[3, y, x] >= 0:
                opened = number_SYX[3, y, x]
                if not known_E[opened]:
                    _walk(link_E2, known_E, opened)
                    first_E[num_outlines] = opened
                    num_outlines += 1
            hole = number_SYX[1, y, x]
            if hole >= 0 and not known_E[hole]:
                _walk(link_E2, known_E, hole)
                there, back = total, total + 1
                total += 2
                # `opened` ends, and `hole` begins, at the top of this row: the cut runs there.
                after, before = link_E2[opened, _AFTER], link_E2[hole, _BEFORE]
                corner_E2[there] = corner_E2[after]
                corner_E2[back] = corner_E2[hole]
                link_E2[opened, _AFTER], link_E2[there, _BEFORE] = there, opened
                link_E2[there, _AFTER], link_E2[hole, _BEFORE] = hole, there
                link_E2[before, _AFTER], link_E2[back, _BEFORE] = back, before
                link_E2[back, _AFTER], link_E2[after, _BEFORE] = after, back
    return num_outlines


@compiled
def _corners(link_E2: Any, corner_E2: Any, first_E: Any) -> Any:  # pragma: no cover (machine code)
    """Walk every outline and keep the places where it turns."""
    corners = np.empty((len(link_E2), 2), np.float64)
    stops = np.empty(first_E.size, np.int64)
    num = 0
    for k in range(first_E.size):
        edge = first_E[k]
        while True:
            here, before, after = corner_E2[edge], corner_E2[link_E2[edge, _BEFORE]], corner_E2[link_E2[edge, _AFTER]]
            came_x, came_y, goes_x, goes_y = (
                here[0] - before[0],
                here[1] - before[1],
                after[0] - here[0],
                after[1] - here[1],
            )
            # Back the way it came is a turn, too.
            if came_x * goes_y != came_y * goes_x or came_x * goes_x + came_y * goes_y <= 0:
                corners[num, 0], corners[num, 1] = here[0], here[1]
                num += 1
            edge = link_E2[edge, _AFTER]
            if edge == first_E[k]:
                break
        stops[k] = num
    return corners[:num], stops


@compiled
def _is_in(mask_YX: Any, y: int, x: int) -> Any:  # pragma: no cover (machine code)
    return 0 <= y < mask_YX.shape[0] and 0 <= x < mask_YX.shape[1] and mask_YX[y, x]


@compiled
def _next_edge(mask_YX: Any, number_SYX: Any, side: int, y: int, x: int) -> Any:  # pragma: no cover (machine code)
    """The edge after this one. Where two pixels touch at a corner only, the walk stays with its own pixel."""
    onward = (side + 1) % 4
    y_on, x_on = y + _DY[onward], x + _DX[onward]
    if not _is_in(mask_YX, y_on, x_on):
        return number_SYX[onward, y, x]
    y_out, x_out = y_on + _DY[side], x_on + _DX[side]
    if not _is_in(mask_YX, y_out, x_out):
        return number_SYX[side, y_on, x_on]
    return number_SYX[(side + 3) % 4, y_out, x_out]


@compiled
def _walk(link_E2: Any, known_E: Any, start: int) -> None:  # pragma: no cover (machine code)
    edge = start
    while not known_E[edge]:
        known_E[edge] = True
        edge = link_E2[edge, _AFTER]
