import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from tests.unit.adapters.label_studio.masks import any_small_mask, random_masks, thousand_masks

from hilum.adapters.label_studio.polygons import (
    ellipse_mask,
    mask_polygons,
    point_pixel,
    polygon_mask,
    rectangle_mask,
)
from hilum.core.errors import DataError

SHAPE = (20, 30)
coordinates = st.floats(-150, 250)


def _rasterised(polygons, shape_yx):
    """All parts together; no two may share a pixel."""
    num_times = np.zeros(shape_yx, int)
    for points in polygons:
        num_times += polygon_mask(points, shape_yx)
    assert num_times.max(initial=0) <= 1
    return num_times > 0


@given(st.one_of(any_small_mask, random_masks()))
def test_every_mask_comes_back_from_its_polygons_exactly(given_mask):
    polygons = mask_polygons(given_mask)
    assert np.array_equal(_rasterised(polygons, given_mask.shape), given_mask)
    assert len(polygons) == ndimage.label(given_mask)[1]


def test_a_thousand_masks_up_to_2048_come_back_from_their_polygons_exactly():
    for number, given_mask in enumerate(thousand_masks()):
        polygons = mask_polygons(given_mask)
        # One polygon that goes to and fro between all parts: the even-odd rule does not see the way.
        joined = [[0.0, 0.0]] + [place for points in polygons for place in [*points, points[0], [0.0, 0.0]]]
        if polygons:
            assert np.array_equal(polygon_mask(joined, given_mask.shape), given_mask), number
        else:
            assert not given_mask.any()


def test_a_hole_is_joined_by_a_cut_of_no_width():
    ring = np.pad(np.zeros((2, 2), bool), 2, constant_values=True)
    (points,) = mask_polygons(ring)
    assert len(points) == 4 + 4 + 2
    assert np.array_equal(polygon_mask(points, ring.shape), ring)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=12))
def test_a_pixel_is_inside_when_its_centre_is_by_the_even_odd_rule(points):
    expected = np.array(
        [[_is_inside(points, (x + 0.5) / 30 * 100, (y + 0.5) / 20 * 100) for x in range(30)] for y in range(20)]
    )
    try:
        found = polygon_mask([list(p) for p in points], SHAPE)
    except DataError:
        found = np.zeros(SHAPE, bool)
    assert np.mean(found != expected) <= 1 / 600  # a centre on an edge may fall either way


def _is_inside(points, x, y):
    crossings = 0
    for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]], strict=True):
        if (y1 <= y) != (y2 <= y):
            crossings += x1 + (y - y1) / (y2 - y1) * (x2 - x1) <= x
    return crossings % 2 == 1


def test_a_rectangle_covers_its_pixels_and_turns_about_its_first_corner():
    upright = rectangle_mask({"x": 10, "y": 20, "width": 30, "height": 50}, SHAPE)
    expected = np.zeros(SHAPE, bool)
    expected[4:14, 3:12] = True
    assert np.array_equal(upright, expected)
    # A quarter turn clockwise: what went right goes down, what went down goes left.
    turned = rectangle_mask({"x": 50, "y": 20, "width": 30, "height": 30, "rotation": 90}, SHAPE)
    expected = np.zeros(SHAPE, bool)
    expected[4:13, 9:15] = True
    assert np.array_equal(turned, expected)


@given(st.floats(20, 60), st.floats(20, 60), st.floats(5, 30), st.floats(5, 30), st.floats(-720, 720))
def test_a_turned_rectangle_has_the_area_it_had(x, y, width, height, rotation):
    found = rectangle_mask({"x": x, "y": y, "width": width, "height": height, "rotation": rotation}, (400, 400))
    rim = np.ones_like(found)
    rim[1:-1, 1:-1] = False
    if not (found & rim).any():
        # Wrong by less than a pixel along its rim.
        assert abs(found.sum() - width * height * 16) <= 2 * 4 * (width + height) + 4


def test_an_ellipse_is_about_its_centre_and_turns_clockwise():
    y, x = np.mgrid[:20, :30] + 0.5
    flat = ellipse_mask({"x": 50, "y": 50, "radiusX": 30, "radiusY": 20}, SHAPE)
    assert np.array_equal(flat, ((x - 15) / 9) ** 2 + ((y - 10) / 4) ** 2 <= 1)
    tilted = ellipse_mask({"x": 50, "y": 50, "radiusX": 30, "radiusY": 10, "rotation": 45}, SHAPE)
    # Clockwise on a screen, whose y runs down: from the upper left to the lower right.
    assert tilted[13, 18]
    assert not tilted[6, 18]
    quarter = ellipse_mask({"x": 50, "y": 50, "radiusX": 30, "radiusY": 20, "rotation": 90}, SHAPE)
    assert np.array_equal(quarter, ((x - 15) / 4) ** 2 + ((y - 10) / 9) ** 2 <= 1)


@pytest.mark.parametrize(
    ("x", "y", "pixel"), [(0, 0, (0, 0)), (100, 100, (19, 29)), (50, 50, (10, 15)), (49.99, 4.99, (0, 14))]
)
def test_a_point_is_in_the_pixel_it_lies_in(x, y, pixel):
    assert point_pixel(x, y, SHAPE) == pixel


@pytest.mark.parametrize(("x", "y"), [(-0.1, 5), (5, 100.1), (1e9, 5)])
def test_a_point_off_the_picture_is_refused(x, y):
    with pytest.raises(DataError, match=r"outside|allowed"):
        point_pixel(x, y, SHAPE)


def test_what_leaves_the_picture_is_cut_off():
    assert polygon_mask([[-50, -50], [50, -50], [50, 150], [-50, 150]], SHAPE).sum() == 20 * 15
    assert rectangle_mask({"x": -10, "y": -10, "width": 200, "height": 200}, SHAPE).all()
    assert ellipse_mask({"x": 0, "y": 50, "radiusX": 20, "radiusY": 20}, SHAPE).any()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: polygon_mask([[110, 10], [150, 10], [120, 60]], SHAPE),
        lambda: polygon_mask([[10, -30], [50, -10], [20, 0]], SHAPE),
        lambda: rectangle_mask({"x": 100, "y": 0, "width": 10, "height": 10}, SHAPE),
        lambda: ellipse_mask({"x": -30, "y": 50, "radiusX": 20, "radiusY": 20}, SHAPE),
    ],
)
def test_what_lies_wholly_outside_is_refused(draw):
    with pytest.raises(DataError, match="wholly outside"):
        draw()


def test_what_covers_no_centre_is_refused():
    with pytest.raises(DataError, match="no pixel's centre"):
        polygon_mask([[1, 1], [1.1, 1], [1.1, 1.1]], SHAPE)
    with pytest.raises(DataError, match="covers nothing"):
        rectangle_mask({"x": 1, "y": 1, "width": 0, "height": 5}, SHAPE)
    with pytest.raises(DataError, match="no pixel's centre"):
        ellipse_mask({"x": 1, "y": 1, "radiusX": 1e-300, "radiusY": 1e-300}, SHAPE)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, 10**400, -(10**400), True, None, "5", [5], {}])
def test_what_is_no_coordinate_is_refused(bad):
    good = {"x": 10, "y": 10, "width": 20, "height": 20, "radiusX": 9, "radiusY": 9, "rotation": 0}
    for key in ("x", "y", "width", "height", "rotation"):
        with pytest.raises(DataError):
            rectangle_mask({**good, key: bad}, SHAPE)
    for key in ("x", "y", "radiusX", "radiusY", "rotation"):
        with pytest.raises(DataError):
            ellipse_mask({**good, key: bad}, SHAPE)
    for points in ([[1, 1], [50, bad], [5, 50]], [[1, 1], [bad, 50], [5, 50]], [[1, 1], bad, [5, 50]], bad):
        with pytest.raises(DataError):
            polygon_mask(points, SHAPE)
    with pytest.raises(DataError):
        point_pixel(bad, 5, SHAPE)
