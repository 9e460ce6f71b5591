"""Blocks around places in the world: the place is in the middle, what lies beyond the scan is filled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.adapters.blocks import clipped_hu, cut, laid_lps, ras_of_lps, start_around
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.sources import ReadImage

GRID = Grid((9, 10, 11), (2.5, 0.7, 0.8), (-4.0, 30.0, 100.0), ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)))
LENGTHS = st.tuples(*[st.integers(1, 14)] * 3)
INDICES = st.tuples(st.integers(0, 8), st.integers(0, 9), st.integers(0, 10))


def a_scan(**given_):
    voxels = np.arange(990, dtype=np.float32).reshape(1, 9, 10, 11)
    return ReadImage(voxels, GRID, GRID.shape_zyx, **given_)


@settings(max_examples=50)
@given(INDICES, LENGTHS, st.tuples(*[st.floats(-0.49, 0.49)] * 3))
def test_the_voxel_nearest_to_a_place_is_in_the_middle_of_its_block(index, shape, aside):
    place = GRID.index_to_world(np.array(index) + aside)
    voxels = a_scan().image_czyx[0]
    block = cut(voxels, start_around(GRID, place, shape), shape, outside=-1)
    assert block.shape == shape
    assert block[tuple(size // 2 for size in shape)] == voxels[index]


@settings(max_examples=50)
@given(INDICES, LENGTHS)
def test_a_block_holds_exactly_the_voxels_of_the_scan_that_it_covers(index, shape):
    voxels = a_scan().image_czyx[0]
    start = start_around(GRID, GRID.index_to_world(index), shape)
    block = cut(voxels, start, shape, outside=-1)
    padded = np.pad(voxels, 20, constant_values=-1)
    window = tuple(slice(at + 20, at + 20 + size) for at, size in zip(start, shape, strict=True))
    assert np.array_equal(block, padded[window])


@pytest.mark.parametrize("index", [(-0.6, 5, 5), (5, 9.6, 5), (5, 5, 10.6)])
def test_a_place_outside_the_scan_is_refused_in_the_coordinates_of_its_table(index):
    place = GRID.index_to_world(index)
    x, y, z = ras_of_lps(place)
    with pytest.raises(DataError, match="lies outside the scan") as caught:
        start_around(GRID, place, (3, 3, 3))
    assert f"({x:g}, {y:g}, {z:g})" in str(caught.value)


def test_grey_levels_are_clipped_to_whole_hounsfield_units_and_must_be_finite():
    scan = a_scan()
    scan.image_czyx[0, 0, 0, :4] = (-3024.0, 3071.0, -0.6, 40.4)
    assert clipped_hu(scan).image_czyx[0, 0, 0, :4].tolist() == [-1000, 1000, -1, 40]
    assert clipped_hu(scan).image_czyx.dtype == np.int16
    scan.image_czyx[0, 1, 1, 1] = np.nan
    with pytest.raises(DataError, match="finite"):
        clipped_hu(scan)


@pytest.mark.parametrize("flag", ["no_orientation", "position_unknown"])
def test_a_scan_that_does_not_say_how_it_lies_has_no_places(flag):
    with pytest.raises(DataError, match="its coordinates lead nowhere"):
        laid_lps(a_scan(flags=(flag,)))
