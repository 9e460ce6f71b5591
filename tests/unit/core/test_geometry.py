"""Grids, patches and tilings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import DataError, RecipeError
from hilum.core.geometry import Grid, Patch, tile

SIZES = st.tuples(*[st.integers(1, 20)] * 3)


@given(SIZES, st.data())
def test_tiles_cover_every_voxel_and_stay_inside(shape, data):
    patch = tuple(data.draw(st.integers(1, n)) for n in shape)
    stride = tuple(data.draw(st.integers(1, n)) for n in patch)
    covered = np.zeros(shape, dtype=bool)
    for start in tile(shape, patch, stride):
        box = tuple(slice(a, a + n) for a, n in zip(start, patch, strict=True))
        assert covered[box].shape == patch
        covered[box] = True
    assert covered.all()


def test_tiles_are_distinct():
    starts = tile((7, 9, 11), (3, 3, 3), (2, 3, 2))
    assert len(starts) == len(set(starts))


@pytest.mark.parametrize(("patch", "stride"), [((9, 1, 1), (1, 1, 1)), ((2, 2, 2), (3, 1, 1)), ((0, 1, 1), (1, 1, 1))])
def test_a_tiling_that_misses_voxels_is_refused(patch, stride):
    with pytest.raises(RecipeError, match="axis Z"):
        tile((8, 8, 8), patch, stride)


@given(SIZES, SIZES, SIZES, SIZES)
def test_overlap_is_what_shared_voxels_say(start_a, shape_a, start_b, shape_b):
    a, b = Patch("v", start_a, shape_a), Patch("v", start_b, shape_b)
    canvas = np.zeros((40, 40, 40), dtype=int)
    canvas[a.slices] += 1
    canvas[b.slices] += 1
    assert a.overlaps(b) == b.overlaps(a) == bool((canvas == 2).any())


def test_patches_of_two_volumes_never_overlap():
    assert not Patch("v", (0, 0, 0), (2, 2, 2)).overlaps(Patch("w", (0, 0, 0), (2, 2, 2)))


def test_a_cropped_grid_keeps_every_voxel_where_it_was():
    grid = Grid((10, 12, 14), (2.5, 0.7, 0.7), (-30.0, 12.0, 5.0), ((0, 0, -1), (0, 1, 0), (1, 0, 0)))
    crop = grid.cropped((3, 4, 5), (2, 2, 2))
    np.testing.assert_allclose(crop.index_to_world((1, 0, 1)), grid.index_to_world((4, 4, 6)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape_zyx": (0, 4, 4)},
        {"shape_zyx": (4, 4, 4), "spacing_mm_zyx": (1.0, 0.0, 1.0)},
        {"shape_zyx": (4, 4, 4), "spacing_mm_zyx": (1.0, float("nan"), 1.0)},
        {"shape_zyx": (4, 4, 4), "origin_mm_xyz": (float("inf"), 0.0, 0.0)},
        {"shape_zyx": (4, 4, 4), "direction": ((1, 0, 0), (1, 0, 0), (0, 0, 1))},
    ],
)
def test_a_grid_without_a_place_in_space_is_refused(wrong):
    with pytest.raises(DataError):
        Grid(**wrong)


def test_a_candidate_is_named_by_its_patch_alone():
    assert Patch("v", (0, 0, 0), (1, 2, 3)).candidate_id == Patch("v", (0, 0, 0), (1, 2, 3)).candidate_id
    assert Patch("v", (0, 0, 0), (1, 2, 3)).candidate_id != Patch("v", (0, 0, 1), (1, 2, 3)).candidate_id
