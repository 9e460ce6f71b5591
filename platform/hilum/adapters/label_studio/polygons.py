"""Polygons, rectangles, ellipses and points as pixels, and masks as polygons that give the same pixels again.

Coordinates are Label Studio's: percent of the picture's width and height, x to the right, y down; pixel (row r,
column c) is the square from (c, r) to (c + 1, r + 1). A pixel belongs to a shape when its centre does: to a
polygon by the even-odd rule (left and top edges belong, right and bottom edges do not), to an ellipse with
its rim. Angles are degrees clockwise, of a rectangle about its first corner, of an ellipse about its centre.
What lies outside the picture is cut off; a shape that lies wholly outside is refused, and so is one that
covers no pixel's centre.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.adapters.label_studio.brush_rle import MAX_PIXELS, Mask
from hilum.adapters.label_studio.outlines import outlines
from hilum.core.errors import DataError
from hilum.nn.compiled import compiled

FARTHEST_PERCENT = 1000.0
"""Coordinates beyond this are a mistake, not a shape that leaves the picture."""

MAX_POINTS = 4_000_000
_LARGEST_SHOWN = 10**9

Points = npt.NDArray[np.float64]
"""(N, 2): x and y."""


def polygon_mask(points: object, shape_yx: tuple[int, int]) -> Mask:
    """The pixels of a polygon given as ``[[x, y], …]`` in percent; it may cross itself (even-odd)."""
    if not isinstance(points, list) or not 3 <= len(points) <= MAX_POINTS:
        raise DataError(f"its points are no list of 3 to {MAX_POINTS:,} places")
    flat = [value for point in points for value in _pair(point)]
    points_N2 = np.asarray(flat, dtype=np.float64).reshape(-1, 2)
    return _filled(points_N2 / 100 * (shape_yx[1], shape_yx[0]), shape_yx)


def rectangle_mask(value: Mapping[str, Any], shape_yx: tuple[int, int]) -> Mask:
    """The pixels of ``x``, ``y``, ``width``, ``height`` (percent) and ``rotation``, if any."""
    size = _size(value, "width", shape_yx[1]), _size(value, "height", shape_yx[0])
    corners = np.array([[0, 0], [size[0], 0], size, [0, size[1]]])
    return _filled(corners @ _turn(value).T + _place(value, shape_yx), shape_yx)


def ellipse_mask(value: Mapping[str, Any], shape_yx: tuple[int, int]) -> Mask:
    """The pixels of ``x``, ``y`` (the centre), ``radiusX``, ``radiusY`` (percent) and ``rotation``, if any."""
    radii = _size(value, "radiusX", shape_yx[1]), _size(value, "radiusY", shape_yx[0])
    centre, turn = _place(value, shape_yx), _turn(value)
    reach = np.hypot(turn[:, 0] * radii[0], turn[:, 1] * radii[1])
    _on_picture(np.array([centre - reach, centre + reach]), shape_yx)
    columns = np.arange(shape_yx[1]) + 0.5 - centre[0]
    rows = (np.arange(shape_yx[0]) + 0.5 - centre[1])[:, None]
    along, beside = columns * turn[0, 0] + rows * turn[1, 0], columns * turn[0, 1] + rows * turn[1, 1]
    # Of a radius next to 0, the square is infinite, and that is not within 1.
    with np.errstate(over="ignore"):
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
    points_N2, stops = outlines(mask_YX)
    in_percent = points_N2 * (100.0 / width, 100.0 / height)
    return [part.tolist() for part in np.split(in_percent, stops[:-1])] if len(stops) else []


def percent(value: object, name: str) -> float:
    """A coordinate, if it is a finite number not absurdly far from the picture."""
    return _number(value, name, -FARTHEST_PERCENT, FARTHEST_PERCENT)


def _pair(point: object) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise DataError("one of its points is not [x, y]")
    return percent(point[0], "x"), percent(point[1], "y")


def _place(value: Mapping[str, Any], shape_yx: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(x, y) in pixels."""
    return np.array([percent(value.get(key), key) / 100 * n for key, n in (("x", shape_yx[1]), ("y", shape_yx[0]))])


def _size(value: Mapping[str, Any], name: str, num_pixels: int) -> float:
    size = _number(value.get(name), name, 0, FARTHEST_PERCENT) / 100 * num_pixels
    if size == 0:
        raise DataError(f"its {name} is 0: it covers nothing")
    return size


def _number(value: object, name: str, low: float, high: float) -> float:
    # Compared, not converted: JSON's whole numbers may be larger than any float.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"its {name} is no number")
    if not low <= value <= high:
        shown = f"{value:g}" if abs(value) < _LARGEST_SHOWN else "not finite or absurdly large"
        raise DataError(f"its {name} is {shown}; allowed are {low:g} to {high:g} (percent)")
    return float(value)


def _turn(value: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """The matrix that turns (x, y) clockwise on a screen."""
    rotation = value.get("rotation", 0)
    if isinstance(rotation, bool) or not isinstance(rotation, int | float) or not -36_000 <= rotation <= 36_000:
        raise DataError("its rotation is no number of degrees (-36,000 to 36,000)")
    # Quarter turns are exact, so that a turned rectangle keeps its pixels.
    quarters, rest = divmod(float(rotation), 90)
    cos, sin = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarters) % 4]
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
        first = max(0, math.ceil(y1 - 0.5))
        last = min(height, math.ceil(y2 - 0.5))
        for row in range(first, last):
            x = x1 + (row + 0.5 - y1) / (y2 - y1) * (x2 - x1)
            column = math.ceil(x - 0.5)
            column = max(0, min(width, column))
            crossed_YX[row, column] ^= True
