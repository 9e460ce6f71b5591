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


LENGTHS = st.tuples(*[st.floats(0.1, 10)] * 3)
PLACES = st.tuples(*[st.floats(-500, 500)] * 3)
TURNS = st.permutations([0, 1, 2]).flatmap(
    lambda order: st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3).map(
        lambda signs: tuple(tuple(signs[k] if row == order[k] else 0.0 for k in range(3)) for row in range(3))
    )
)


@given(LENGTHS, PLACES, TURNS, st.tuples(*[st.integers(0, 19)] * 3))
def test_a_voxel_is_where_one_affine_matrix_puts_it(spacing, origin, direction, index):
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(direction) * np.asarray(spacing)
    affine[:3, 3] = origin
    expected = (affine @ [*index, 1])[:3]
    np.testing.assert_allclose(Grid((20, 20, 20), spacing, origin, direction).index_to_world(index), expected)


@given(LENGTHS, PLACES, TURNS, st.tuples(*[st.floats(-5, 25)] * 3))
def test_the_way_from_the_world_back_to_a_voxel_is_the_way_there(spacing, origin, direction, index):
    grid = Grid((20, 20, 20), spacing, origin, direction)
    scale = 1 + max(map(abs, origin)) / min(spacing)
    np.testing.assert_allclose(grid.world_to_index(grid.index_to_world(index)), index, atol=1e-12 * scale, rtol=1e-9)


def test_without_a_word_about_direction_x_y_z_run_along_the_axes_of_the_same_name():
    world = Grid((2, 2, 2), (3.0, 2.0, 1.0)).index_to_world
    assert world((0, 0, 1)).tolist() == [1, 0, 0]
    assert world((0, 1, 0)).tolist() == [0, 2, 0]
    assert world((1, 0, 0)).tolist() == [0, 0, 3]


@given(LENGTHS, PLACES, TURNS)
def test_one_step_along_an_axis_is_its_spacing_long(spacing, origin, direction):
    grid = Grid((5, 5, 5), spacing, origin, direction)
    steps = [grid.index_to_world(row) - grid.index_to_world((0, 0, 0)) for row in np.eye(3)]
    np.testing.assert_allclose([np.linalg.norm(step) for step in steps], spacing, rtol=1e-6)


@given(SIZES, SIZES)
def test_cropping_twice_is_cropping_once(first, second):
    grid = Grid((60, 60, 60), (2.0, 0.5, 0.75), (9.0, -4.0, 3.0))
    together = tuple(a + b for a, b in zip(first, second, strict=True))
    twice, once = grid.cropped(first, (20, 20, 20)).cropped(second, (4, 4, 4)), grid.cropped(together, (4, 4, 4))
    np.testing.assert_allclose(twice.origin_mm_xyz, once.origin_mm_xyz)
    assert (twice.shape_zyx, twice.spacing_mm_zyx, twice.direction) == (
        once.shape_zyx,
        once.spacing_mm_zyx,
        once.direction,
    )


@given(SIZES, st.data())
def test_no_tiling_holds_more_patches_than_it_must(shape, data):
    patch = tuple(data.draw(st.integers(1, n)) for n in shape)
    needed = [-(-n // p) for n, p in zip(shape, patch, strict=True)]
    assert len(tile(shape, patch, patch)) == np.prod(needed)


@given(SIZES, st.data())
def test_tiles_come_in_the_order_of_the_array_and_begin_and_end_at_its_corners(shape, data):
    patch = tuple(data.draw(st.integers(1, n)) for n in shape)
    starts = tile(shape, patch, patch)
    assert starts == sorted(starts)
    assert starts[0] == (0, 0, 0)
    assert starts[-1] == tuple(n - p for n, p in zip(shape, patch, strict=True))


@given(SIZES, SIZES)
def test_a_patch_overlaps_itself_and_ends_where_its_slices_do(start, shape):
    patch = Patch("v", start, shape)
    assert patch.overlaps(patch)
    assert tuple(s.stop for s in patch.slices) == patch.stop_zyx
    assert np.empty((40, 40, 40))[patch.slices].shape == shape


def test_patches_that_only_touch_share_no_voxel():
    left = Patch("v", (0, 0, 0), (4, 4, 4))
    assert not left.overlaps(Patch("v", (0, 0, 4), (4, 4, 4)))
    assert left.overlaps(Patch("v", (3, 3, 3), (4, 4, 4)))


def test_patches_are_sorted_by_volume_then_place():
    patches = [Patch("b", (0, 0, 0), (1, 1, 1)), Patch("a", (1, 0, 0), (1, 1, 1)), Patch("a", (0, 9, 0), (1, 1, 1))]
    assert [(p.volume_id, p.start_zyx) for p in sorted(patches)] == [
        ("a", (0, 9, 0)),
        ("a", (1, 0, 0)),
        ("b", (0, 0, 0)),
    ]


def test_grids_lie_apart_as_far_as_their_corners_do():
    grid = Grid((3, 4, 5), (2.0, 1.0, 0.5), (10.0, -20.0, 30.0))
    assert grid.apart_mm(grid) == 0
    moved = Grid((3, 4, 5), (2.0, 1.0, 0.5), (10.0, -20.0, 31.5))
    assert grid.apart_mm(moved) == moved.apart_mm(grid) == 1.5
    stretched = Grid((3, 4, 5), (2.0, 1.0, 0.75), (10.0, -20.0, 30.0))
    assert grid.apart_mm(stretched) == 1.0
    mirrored = Grid((3, 4, 5), (2.0, 1.0, 0.5), (10.0, -20.0, 30.0), ((0, 0, -1.0), (0, 1.0, 0), (1.0, 0, 0)))
    assert grid.apart_mm(mirrored) == 4.0
