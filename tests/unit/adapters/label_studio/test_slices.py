import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.label_studio.slices import MAX_PAGES, Pages, hang
from hilum.core.errors import DataError, RecipeError
from hilum.core.geometry import IDENTITY_DIRECTION, Grid, Patch
from hilum.core.imaging import Study, Volume

VOLUME_ZYX = np.arange(7 * 9 * 11).reshape(7, 9, 11)
"""Every voxel is another number: a phantom that no flip or turn leaves as it was."""

PATCH = Patch("v", (2, 3, 4), (3, 4, 5))
ORIENTATIONS = [
    tuple(zip(axes, steps, strict=True))
    for axes in itertools.permutations(range(3))
    for steps in itertools.product((-1, 1), repeat=3)
]
CROPS = [(PATCH.start_zyx, PATCH.shape_zyx), ((0, 0, 0), (7, 9, 11)), ((1, 3, 2), (4, 5, 8))]


def every_way():
    for runs, (start, shape), scale in itertools.product(ORIENTATIONS, CROPS, [(1, 1), (2, 3), (4, 1)]):
        yield Pages(PATCH, start, shape, *runs, scale)


def test_every_pixel_shows_the_voxel_it_says_under_every_flip_turn_crop_and_scale():
    for pages in every_way():
        shown = VOLUME_ZYX[pages.shown.slices]
        for page in range(pages.num_pages):
            picture = pages.picture(shown, page)
            assert picture.shape == pages.shape_yx
            said = [[VOLUME_ZYX[pages.voxel(page, r, c)] for c in range(picture.shape[1])] for r in range(len(picture))]
            assert np.array_equal(picture, said), pages


def test_every_voxel_is_shown_where_it_says_and_nowhere_else():
    for pages in every_way():
        shown = VOLUME_ZYX[pages.shown.slices]
        pictures = np.stack([pages.picture(shown, page) for page in range(pages.num_pages)])
        for within in np.ndindex(*pages.shown_shape_zyx):
            voxel = tuple(a + b for a, b in zip(within, pages.shown_start_zyx, strict=True))
            here = np.zeros(pictures.shape, bool)
            here[pages.pixels(voxel)] = True
            assert np.array_equal(here, pictures == VOLUME_ZYX[voxel])


def test_a_map_of_the_patch_comes_back_exactly_and_context_is_filled():
    label_map = np.random.default_rng(1).integers(0, 4, PATCH.shape_zyx)
    for pages in every_way():
        came_back = np.full(PATCH.shape_zyx, -1)
        for page in range(pages.num_pages):
            drawn, plane = pages.page_of_map(label_map, page, fill=9), pages.plane(page)
            outside = np.ones(pages.shape_yx, bool)
            if plane is not None:
                outside[pages.asked_box()] = False
                assert pages.page(plane) == page
                for label in range(4):
                    view = np.moveaxis(came_back, pages.through[0], 0)
                    view[plane][pages.plane_of_mask(drawn == label)] = label
            assert np.array_equal(drawn == 9, outside)
        assert np.array_equal(came_back, label_map), pages


def test_channels_stay_first():
    pages = Pages(PATCH, PATCH.start_zyx, PATCH.shape_zyx, (1, -1), (2, 1), (0, -1), (2, 2))
    shown = VOLUME_ZYX[PATCH.slices]
    both = pages.picture(np.stack([shown, -shown]), 1)
    assert np.array_equal(both, np.stack([pages.picture(shown, 1), -pages.picture(shown, 1)]))


def test_half_of_a_voxels_pixels_answer_it_and_less_do_not():
    patch = Patch("v", (0, 0, 0), (1, 2, 3))
    pages = Pages(patch, (0, 0, 0), (1, 2, 3), (0, 1), (1, 1), (2, 1), (2, 3))
    painted = np.zeros(pages.shape_yx, bool)
    painted[0, :3] = True  # three of six pixels
    painted[2, 3:5] = True  # two of six
    assert pages.plane_of_mask(painted).tolist() == [[True, False, False], [False, False, False]]


@given(st.sampled_from(ORIENTATIONS), st.integers(0, 2**32 - 1))
def test_paint_outside_the_patch_is_not_read(runs, seed):
    pages = Pages(PATCH, (1, 1, 1), (5, 8, 10), *runs, (2, 2))
    painted = np.random.default_rng(seed).random(pages.shape_yx) < 0.5
    within = painted.copy()
    within[pages.asked_box()] = False
    assert not pages.plane_of_mask(within).any()
    assert np.array_equal(pages.plane_of_mask(painted), pages.plane_of_mask(painted & ~within))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("runs", ORIENTATIONS)
def test_a_radiologist_sees_every_scan_upright(runs, plane):
    volume = _volume((7, 9, 11), direction=_direction(runs), spacing=(1.0, 1.0, 1.0))
    pages = hang(volume, PATCH, plane=plane, target_side=1)
    through, down, across = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}[plane]
    first = volume.grid.index_to_world(pages.voxel(0, 0, 0))
    for world, voxel in ((through, (1, 0, 0)), (down, (0, 1, 0)), (across, (0, 0, 1))):
        # Head, front and the patient's right come first, and RAS+ grows towards them.
        step = volume.grid.index_to_world(pages.voxel(*voxel)) - first
        assert np.allclose(step, -np.eye(3)[world])


def _direction(runs):
    """World axis k runs along array axis runs[k][0], with that sign; rows are world axes, columns array axes."""
    direction = np.zeros((3, 3))
    for world, (axis, sign) in enumerate(runs):
        direction[world, axis] = sign
    return tuple(tuple(row) for row in direction.tolist())


def _volume(shape, *, direction=IDENTITY_DIRECTION, spacing=(5.0, 0.7, 0.7), item_shape=None):
    grid = Grid(shape, spacing, (0.0, 0.0, 0.0), direction)
    return Volume("v", Study("s", "p"), grid, item_shape or shape, 1, "CT", 0.0, 1.0, has_label_map=False)


def test_the_context_ends_where_the_volume_does():
    pages = hang(_volume((7, 9, 11)), PATCH, margin_zyx=(1, 20, 4))
    assert (pages.shown_start_zyx, pages.shown_shape_zyx) == ((1, 0, 0), (5, 9, 11))


def test_no_other_item_of_a_stack_is_context():
    pages = hang(_volume((12, 9, 11), item_shape=(4, 9, 11)), Patch("v", (5, 0, 0), (2, 9, 11)), margin_zyx=(9, 0, 0))
    assert (pages.shown_start_zyx[0], pages.shown_shape_zyx[0]) == (4, 4)


def test_a_flat_image_is_shown_as_it_is_stored():
    volume = _volume((6, 9, 11), item_shape=(1, 9, 11))
    pages = hang(volume, Patch("v", (3, 0, 0), (1, 9, 11)), margin_zyx=(2, 2, 2), target_side=1)
    assert (pages.num_pages, pages.through, pages.down, pages.across) == (1, (0, 1), (1, 1), (2, 1))


def test_a_thin_patch_is_shown_across_its_thin_axis():
    pages = hang(_volume((7, 9, 11)), Patch("v", (0, 0, 4), (7, 9, 1)))
    assert (pages.through[0], pages.num_pages) == (2, 1)


def test_voxels_are_enlarged_by_whole_factors_in_true_proportions():
    pages = hang(_volume((7, 9, 11)), PATCH, plane="coronal", target_side=100)
    tall, wide = pages.scale_yx
    assert (tall, wide) == (16, 4)  # 5 mm and 0.7 mm: 7 times as tall, 16 at most
    assert hang(_volume((7, 9, 11)), PATCH, target_side=100).scale_yx == (16, 16)
    assert hang(_volume((1, 700, 900)), Patch("v", (0, 0, 0), (1, 700, 900))).scale_yx == (1, 1)


def test_more_pages_than_a_browser_bears_are_refused():
    volume = _volume((80, 9, 11))
    with pytest.raises(RecipeError, match=f"70 pages; {MAX_PAGES} is the most"):
        hang(volume, Patch("v", (0, 0, 0), (70, 9, 11)))


@pytest.mark.parametrize(
    "ways",
    [
        {"through": (0, 1), "down": (0, 1), "across": (2, 1)},
        {"through": (0, 2)},
        {"scale_yx": (0, 1)},
        {"scale_yx": (1, 99)},
        {"shown_start_zyx": (3, 3, 4)},
        {"shown_shape_zyx": (2, 4, 5)},
    ],
)
def test_ways_that_cannot_be_are_refused(ways):
    good = {
        "shown_start_zyx": PATCH.start_zyx,
        "shown_shape_zyx": PATCH.shape_zyx,
        "through": (0, 1),
        "down": (1, 1),
        "across": (2, 1),
    }
    with pytest.raises(DataError):
        Pages(PATCH, **{**good, **ways})


def test_what_is_not_shown_has_no_pixel_and_no_pixel_no_voxel():
    pages = Pages(PATCH, PATCH.start_zyx, PATCH.shape_zyx, (0, 1), (1, 1), (2, 1))
    with pytest.raises(DataError, match="not shown"):
        pages.pixels((0, 0, 0))
    with pytest.raises(DataError, match="no pixel"):
        pages.voxel(0, 4, 0)
