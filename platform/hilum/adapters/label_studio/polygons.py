"""Polygons, rectangles, ellipses and points as pixels, and masks as polygons that give the same pixels again.

Coordinates are Label Studio's: percent of the picture's width and height, x to the right, y down; pixel (row r,
column c) is the square from (c, r) to (c + 1, r + 1). A pixel belongs to a shape when its centre does: to a
polygon by the even-odd rule (left and top edges belong, right and bottom edges do not), to an ellipse with
its rim. Angles are degrees clockwise, of a rectangle about its first corner, of an ellipse about its centre.
What lies outside the picture is cut off; a shape that lies wholly outside is refused, and so is one that
covers no pixel's centre.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.adapters.label_studio.brush_rle import MAX_PIXELS, Mask
from hilum.core.errors import DataError
from hilum.nn.compiled import compiled

FARTHEST_PERCENT = 1000.0
"""Coordinates beyond this are a mistake, not a shape that leaves the picture."""

MAX_POINTS = 4_000_000

Points = npt.NDArray[np.float64]
"""(N, 2): x and y."""

# Of the sides of a pixel, walked clockwise: 0 top (to the right), 1 right (down), 2 bottom (to the left), 3 left (up).
_DY, _DX = (-1, 0, 1, 0), (0, 1, 0, -1)
# Where each side begins, from the pixel's own corner.
_CX, _CY = (0, 1, 1, 0), (0, 0, 1, 1)


def polygon_mask(points: object, shape_yx: tuple[int, int]) -> Mask:
    """The pixels of a polygon given as ``[[x, y], …]`` in percent; it may cross itself (even-odd)."""
    if not isinstance(points, list) or not 3 <= len(points) <= MAX_POINTS:
        raise DataError(f"its points are no list of 3 to {MAX_POINTS:,} places")
    flat = [value for point in points for value in _pair(point)]
    points_N2 = np.asarray(flat, dtype=np.float64).reshape(-1, 2)
    return _filled(points_N2 / 100 * (shape_yx[1], shape_yx[0]), shape_yx)


def rectangle_mask(
    x: object, y: object, width: object, height: object, shape_yx: tuple[int, int], *, rotation: object = 0
) -> Mask:
    """The pixels of a rectangle: first corner and size in percent, turned clockwise about that corner."""
    across, down = _size(width, shape_yx[1], "width"), _size(height, shape_yx[0], "height")
    corners = np.array([[0, 0], [across, 0], [across, down], [0, down]])
    corner = (percent(x, "x") / 100 * shape_yx[1], percent(y, "y") / 100 * shape_yx[0])
    return _filled(corners @ _turn(rotation).T + corner, shape_yx)


def ellipse_mask(
    x: object, y: object, radius_x: object, radius_y: object, shape_yx: tuple[int, int], *, rotation: object = 0
) -> Mask:
    """The pixels of an ellipse: centre and radii in percent, turned clockwise about its centre."""
    radii = (_size(radius_x, shape_yx[1], "radiusX"), _size(radius_y, shape_yx[0], "radiusY"))
    centre = (percent(x, "x") / 100 * shape_yx[1], percent(y, "y") / 100 * shape_yx[0])
    turn = _turn(rotation)
    reach = np.hypot(turn[:, 0] * radii[0], turn[:, 1] * radii[1])
    _on_picture(np.array([centre - reach, centre + reach]), shape_yx)
    columns = np.arange(shape_yx[1]) + 0.5 - centre[0]
    rows = (np.arange(shape_yx[0]) + 0.5 - centre[1])[:, None]
    along, beside = columns * turn[0, 0] + rows * turn[1, 0], columns * turn[0, 1] + rows * turn[1, 1]
    return _not_empty((along / radii[0]) ** 2 + (beside / radii[1]) ** 2 <= 1)


def point_pixel(x: object, y: object, shape_yx: tuple[int, int]) -> tuple[int, int]:
    """The pixel (row, column) in which a point lies; one on the right or bottom edge is in the last pixel."""
    across, down = percent(x, "x"), percent(y, "y")
    if not (0 <= across <= 100 and 0 <= down <= 100):
        raise DataError(f"it lies outside the picture, at ({across:g} %, {down:g} %); allowed are 0 to 100")
    height, width = shape_yx
    return min(int(down / 100 * height), height - 1), min(int(across / 100 * width), width - 1)


def mask_polygons(mask_YX: Mask) -> list[list[list[float]]]:
    """A mask as polygons in percent, one for each of its 4-connected parts, that `polygon_mask` turns back exactly.

    They run along the pixels' edges. A hole is joined to its surroundings by a cut of no width, walked to and
    fro, which even-odd filling does not see.
    """
    if mask_YX.ndim != 2 or not 1 <= mask_YX.size <= MAX_PIXELS:
        raise DataError(f"A mask of shape {mask_YX.shape} cannot be a page; give rows × columns, 1 to {MAX_PIXELS}.")
    height, width = mask_YX.shape
    points_N2, stops = _contours(np.ascontiguousarray(mask_YX, dtype=bool))
    in_percent = points_N2 * (100.0 / width, 100.0 / height)
    return [part.tolist() for part in np.split(in_percent, stops[:-1])] if len(stops) else []


def percent(value: object, name: str) -> float:
    """A coordinate, if it is a finite number not absurdly far from the picture."""
    return _number(value, name, -FARTHEST_PERCENT, FARTHEST_PERCENT)


def _pair(point: object) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise DataError("one of its points is not [x, y]")
    return percent(point[0], "x"), percent(point[1], "y")


def _size(value: object, num_pixels: int, name: str) -> float:
    size = _number(value, name, 0, FARTHEST_PERCENT) / 100 * num_pixels
    if size == 0:
        raise DataError(f"its {name} is 0: it covers nothing")
    return size


def _number(value: object, name: str, low: float, high: float) -> float:
    # Compared, not converted: JSON's whole numbers may be larger than any float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        shown = f"{value:g}" if isinstance(value, float) else "no such number"
        raise DataError(f"its {name} is {shown}; allowed are {low:g} to {high:g} (percent)")
    return float(value)


def _turn(rotation: object) -> npt.NDArray[np.float64]:
    """The matrix that turns (x, y) clockwise on a screen."""
    if isinstance(rotation, bool) or not isinstance(rotation, int | float) or not -36_000 <= rotation <= 36_000:
        raise DataError("its rotation is no number of degrees (-36,000 to 36,000)")
    # Quarter turns are exact, so that a turned rectangle keeps its pixels.
    quarters, rest = divmod(float(rotation), 90)
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[int(quarters) % 4]
    if rest:
        cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    return np.array([[cos, -sin], [sin, cos]], dtype=np.float64)


def _filled(points_N2: Points, shape_yx: tuple[int, int]) -> Mask:
    _on_picture(points_N2, shape_yx)
    crossed_YX = np.zeros((shape_yx[0], shape_yx[1] + 1), np.bool_)
    _cross(np.ascontiguousarray(points_N2), crossed_YX)
    inside_YX: Mask = np.logical_xor.accumulate(crossed_YX[:, :-1], axis=1)
    return _not_empty(inside_YX)


def _on_picture(points_N2: Points, shape_yx: Sequence[int]) -> None:
    low, high = points_N2.min(axis=0), points_N2.max(axis=0)
    if high.min() <= 0 or low[0] >= shape_yx[1] or low[1] >= shape_yx[0]:
        raise DataError("it lies wholly outside the picture; move it or delete it")


def _not_empty(mask_YX: Mask) -> Mask:
    if not mask_YX.any():
        raise DataError("it covers no pixel's centre; draw it larger or delete it")
    return mask_YX


@compiled
def _cross(points_N2: Any, crossed_YX: Any) -> None:  # pragma: no cover (machine code)
    """Turn over, in every row, the first pixel whose centre lies at or right of each edge of the polygon."""
    height, width = crossed_YX.shape[0], crossed_YX.shape[1] - 1
    num = points_N2.shape[0]
    for k in range(num):
        x1, y1 = points_N2[k, 0], points_N2[k, 1]
        x2, y2 = points_N2[(k + 1) % num, 0], points_N2[(k + 1) % num, 1]
        # Always from the upper end, so that a cut walked to and fro is crossed twice at the very same place.
        if y1 > y2:
            x1, y1, x2, y2 = x2, y2, x1, y1
        first = max(0, int(math.ceil(y1 - 0.5)))
        last = min(height, int(math.ceil(y2 - 0.5)))
        for row in range(first, last):
            x = x1 + (row + 0.5 - y1) / (y2 - y1) * (x2 - x1)
            column = int(math.ceil(x - 0.5))
            column = max(0, min(width, column))
            crossed_YX[row, column] ^= True


@compiled
def _contours(mask_YX: Any) -> Any:  # pragma: no cover (machine code)
    """Corners (x, y) of the parts' outlines, one after the other, and where each ends.

    Every edge between a pixel of the mask and one that is not is walked with the mask on its right. Row by row,
    the first edge met of an outline opens a run of pixels, and that of a hole closes one: the hole is joined to
    the edge that opened the run, whose outline is known already.
    """
    height, width = mask_YX.shape
    num = 0
    number_SYX = np.full((4, height, width), -1, np.int32)
    for y in range(height):
        for x in range(width):
            if mask_YX[y, x]:
                for side in range(4):
                    if not _is_in(mask_YX, y + _DY[side], x + _DX[side]):
                        number_SYX[side, y, x] = num
                        num += 1
    # A hole adds two edges (to it and back), and there are no more holes than edges / 4.
    following = np.full(num + num // 2 + 2, -1, np.int32)
    leading = np.full(num + num // 2 + 2, -1, np.int32)
    corner_N2 = np.zeros((num + num // 2 + 2, 2), np.int32)
    for y in range(height):
        for x in range(width):
            for side in range(4):
                edge = number_SYX[side, y, x]
                if edge >= 0:
                    corner_N2[edge, 0], corner_N2[edge, 1] = x + _CX[side], y + _CY[side]
                    then = _next_edge(mask_YX, number_SYX, side, y, x)
                    following[edge], leading[then] = then, edge
    known = np.zeros(num + num // 2 + 2, np.bool_)
    outlines = np.empty(num // 4 + 1, np.int32)
    num_outlines = 0
    total = num
    for y in range(height):
        opened = -1
        for x in range(width):
            if number_SYX[3, y, x] >= 0:
                opened = number_SYX[3, y, x]
                if not known[opened]:
                    _walk(following, known, opened)
                    outlines[num_outlines] = opened
                    num_outlines += 1
            hole = number_SYX[1, y, x]
            if hole >= 0 and not known[hole]:
                _walk(following, known, hole)
                # `opened` ends, and `hole` begins, at the top of this row.
                there, back = total, total + 1
                total += 2
                after, before = following[opened], leading[hole]
                corner_N2[there] = corner_N2[after]
                corner_N2[back] = corner_N2[hole]
                following[opened], leading[there] = there, opened
                following[there], leading[hole] = hole, there
                following[before], leading[back] = back, before
                following[back], leading[after] = after, back
    corners = np.empty((total, 2), np.float64)
    stops = np.empty(num_outlines, np.int64)
    at = 0
    for k in range(num_outlines):
        edge = outlines[k]
        while True:
            before, after = corner_N2[leading[edge]], corner_N2[following[edge]]
            here = corner_N2[edge]
            straight = (here[0] - before[0]) * (after[1] - here[1]) == (here[1] - before[1]) * (after[0] - here[0])
            # Back the way it came is no straight on.
            ahead = (here[0] - before[0]) * (after[0] - here[0]) + (here[1] - before[1]) * (after[1] - here[1]) > 0
            if not (straight and ahead):
                corners[at, 0], corners[at, 1] = here[0], here[1]
                at += 1
            edge = following[edge]
            if edge == outlines[k]:
                break
        stops[k] = at
    return corners[:at], stops


@compiled
def _is_in(mask_YX: Any, y: int, x: int) -> bool:  # pragma: no cover (machine code)
    return 0 <= y < mask_YX.shape[0] and 0 <= x < mask_YX.shape[1] and mask_YX[y, x]


@compiled
def _next_edge(mask_YX: Any, number_SYX: Any, side: int, y: int, x: int) -> int:  # pragma: no cover (machine code)
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
def _walk(following: Any, known: Any, start: int) -> None:  # pragma: no cover (machine code)
    edge = start
    while not known[edge]:
        known[edge] = True
        edge = following[edge]
