"""A volume hangs as a radiologist hangs it, whichever way its array runs, and labels lie where they are."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.adapters.planes import COLOURS, SIDE_PIXELS, colour_of, patch_slices, shown
from hilum.core.geometry import Grid, Patch
from hilum.core.imaging import Study, Volume
from hilum.store.layout import Store
from hilum.store.volumes import open_volume, write_volume

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def direction_of(order, signs):
    """Rows x, y, z by array axes z, y, x: world axis w runs along array axis order[w]."""
    direction = np.zeros((3, 3))
    for world, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        direction[world, axis] = sign
    return tuple(map(tuple, direction.tolist()))


def a_volume(grid, *, item=None, truth=False, channels=1):
    return Volume("a1", Study("s", "p"), grid, item or grid.shape_zyx, channels, "MR", 0.0, 100.0, truth)


def stored(tmp_path, volume, image, labels=None):
    store = Store(str(tmp_path))
    write_volume(store, volume, image, labels, patch_shape_zyx=(16, 16, 16))
    return open_volume(store, volume)


def brightest(picture):
    """Where the brightest pixel is: (down, across) from 0 to 1."""
    grey = picture.astype(int).sum(axis=2)
    y, x = np.unravel_index(grey.argmax(), grey.shape)
    return y / grey.shape[0], x / grey.shape[1]


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_head_front_and_the_patients_right_are_where_they_belong_however_the_array_runs(tmp_path, order, signs):
    grid = Grid((20, 20, 20), direction=direction_of(order, signs))
    axes = grid.anatomical_axes()
    assert axes == tuple(zip(order, signs, strict=True))
    # A bright bar through the volume, near the patient's right, front and head.
    pictures = {}
    for name, (first, second) in {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}.items():
        image = np.zeros((1, 20, 20, 20), np.uint8)
        place = [slice(None)] * 3
        for world in (first, second):
            axis, sign = axes[world]
            place[axis] = slice(15, 18) if sign > 0 else slice(2, 5)  # x, y and z grow that way
        image[(0, *place)] = 100
        pictures[name] = dict(shown(stored(tmp_path / name, a_volume(grid), image)).pictures)[name]
    for name, picture in pictures.items():
        down, across = brightest(picture)
        assert down < 0.4, f"{name}: front or head is not up"
        assert across < 0.4, f"{name}: the patient's right, or front, is not on the left"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_array_axis_stands_for_one_axis_of_the_patient(seed):
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    axes = Grid((2, 2, 2), direction=tuple(map(tuple, turned.tolist()))).anatomical_axes()
    assert sorted(axis for axis, _ in axes) == [0, 1, 2]
    assert all(sign == np.sign(turned[world, axis]) for world, (axis, sign) in enumerate(axes))


def test_pictures_have_the_proportions_of_the_patient(tmp_path):
    grid = Grid((10, 40, 20), (6.0, 1.0, 1.0))
    pictures = dict(shown(stored(tmp_path, a_volume(grid), np.zeros((1, 10, 40, 20), np.uint8))).pictures)
    assert pictures["axial"].shape == (SIDE_PIXELS, SIDE_PIXELS // 2, 3)
    assert pictures["coronal"].shape == (SIDE_PIXELS, SIDE_PIXELS // 3, 3)
    assert pictures["sagittal"].shape == (SIDE_PIXELS, SIDE_PIXELS * 40 // 60, 3)


def test_slices_go_through_the_labels_and_carry_their_colours(tmp_path):
    grid = Grid((20, 20, 20))
    labels = np.zeros((20, 20, 20), np.uint16)
    labels[2:4, 15:18, 5:9] = 3
    found = shown(stored(tmp_path, a_volume(grid, truth=True), np.zeros((1, 20, 20, 20), np.uint8), labels))
    assert found.labelled_classes == (3,)
    rgb = [int(COLOURS[2][k : k + 2], 16) for k in (1, 3, 5)]
    for name, picture in found.pictures:
        assert (picture == rgb).all(axis=2).any(), name


def test_a_stack_of_flat_images_shows_its_first_middle_and_last(tmp_path):
    grid = Grid((5, 8, 8))
    image = (np.arange(5, dtype=np.uint8) * 20)[None, :, None, None] * np.ones((1, 5, 8, 8), np.uint8)
    found = shown(stored(tmp_path, a_volume(grid, item=(1, 8, 8)), image))
    assert [name for name, _ in found.pictures] == ["image 1", "image 3", "image 5"]
    assert [int(picture[0, 0, 0]) for _, picture in found.pictures] == [0, 102, 204]


def test_one_flat_image_in_colour_stays_in_colour_and_the_way_it_was_saved(tmp_path):
    image = np.zeros((3, 1, 8, 8), np.uint8)
    image[0, 0, :, :4] = 100
    ((name, picture),) = shown(stored(tmp_path, a_volume(Grid((1, 8, 8)), channels=3), image)).pictures
    assert name == "image 1"
    assert picture[0, 0].tolist() == [255, 0, 0]
    assert picture[0, -1].tolist() == [0, 0, 0]


def test_the_grey_levels_shown_are_the_volumes_own(tmp_path):
    image = np.full((1, 1, 4, 4), 50, np.int16)
    ((_, picture),) = shown(stored(tmp_path, a_volume(Grid((1, 4, 4))), image)).pictures
    assert np.unique(picture).tolist() == [128]


def test_classes_beyond_the_colours_take_them_again():
    assert colour_of(1) == colour_of(1 + len(COLOURS))


def _noise(shape):
    return np.random.default_rng(0).integers(0, 100, (1, *shape)).astype(np.uint8)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::7])
def test_a_patch_that_is_the_whole_scan_hangs_as_the_scan_does(tmp_path, order, signs):
    grid = Grid((12, 14, 10), (3.0, 1.0, 0.5), direction=direction_of(order, signs))
    reader = stored(tmp_path, a_volume(grid), _noise(grid.shape_zyx))
    slices = patch_slices(reader, Patch("a1", (0, 0, 0), grid.shape_zyx))
    for one, (name, picture) in zip(slices, shown(reader).pictures, strict=True):
        assert one.plane == name
        assert one.labelled is None
        np.testing.assert_array_equal(one.plain, picture)


@pytest.mark.parametrize(("thin", "plane"), [(0, "axial"), (1, "coronal"), (2, "sagittal")])
def test_a_slice_is_seen_in_its_one_plane(tmp_path, thin, plane):
    grid = Grid((12, 12, 12))
    shape = [12, 12, 12]
    shape[thin] = 1
    reader = stored(tmp_path, a_volume(grid), _noise(grid.shape_zyx))
    (one,) = patch_slices(reader, Patch("a1", (0, 0, 0), tuple(shape)))
    assert one.plane == plane


def test_a_drawn_patch_is_cut_where_most_labels_are_and_is_tinted_there_alone(tmp_path):
    grid = Grid((12, 12, 12), direction=direction_of((2, 1, 0), (-1, -1, 1)))
    image = np.full((1, *grid.shape_zyx), 50, np.uint8)
    image[0, 5] = 0  # the slice that is drawn on is black
    labels = np.zeros((8, 8, 8), np.uint16)
    labels[3, 2:6, 0:4] = 2
    reader = stored(tmp_path, a_volume(grid), image)
    axial = patch_slices(reader, Patch("a1", (2, 2, 2), (8, 8, 8)), labels)[0]
    assert axial.plane == "axial"
    assert not axial.plain.any()
    tinted = axial.labelled.any(axis=2)
    expected = np.kron(labels[3] > 0, np.ones((SIDE_PIXELS // 8,) * 2, bool))
    np.testing.assert_array_equal(tinted, expected)


def test_an_image_of_a_stack_is_drawn_as_it_lies(tmp_path):
    grid = Grid((3, 8, 8), direction=direction_of((2, 1, 0), (1, 1, 1)))
    image = np.zeros((1, 3, 8, 8), np.uint8)
    image[0, 1, 0, 7] = 100
    reader = stored(tmp_path, a_volume(grid, item=(1, 8, 8)), image)
    (one,) = patch_slices(reader, Patch("a1", (1, 0, 0), (1, 8, 8)))
    down, across = brightest(one.plain)
    assert one.plane == "image"
    assert down < 0.2
    assert across > 0.8
