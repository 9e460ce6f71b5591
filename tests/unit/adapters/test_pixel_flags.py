"""Writing and faces are noticed in the voxels, and what is neither is left in peace."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from hilum.adapters.nifti import grid_of
from hilum.adapters.pixel_flags import has_face, has_text, with_pixel_flags
from hilum.core.geometry import Grid
from hilum.core.sources import ReadImage

FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
HEAD_MM = np.array([100.0, 75.0, 95.0])  # half axes: up, side, front


def _image(planes_ZYX, *, spacing=(1.0, 1.0, 1.0), direction=None, **others):
    grid = (
        Grid(planes_ZYX.shape, spacing) if direction is None else Grid(planes_ZYX.shape, spacing, (0, 0, 0), direction)
    )
    return ReadImage(planes_ZYX[None], grid, planes_ZYX.shape, **others)


def _tissue(seed, shape=(256, 256)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    disc = np.hypot(y - shape[0] / 2, x - shape[1] / 2) < 0.4 * min(shape)
    return (disc * 110 + rng.normal(20, 6, shape)).clip(0, 230)


def _written(plane, text, *, size, grey=255, at=(8, 8)):
    picture = Image.fromarray(plane.clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(picture).text(at, text, fill=grey, font=ImageFont.truetype(FONT, size))
    return np.asarray(picture)


# Writing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 14, 18, 24])
@pytest.mark.parametrize("at", [(8, 8), (40, 120), (60, 220)])
def test_a_name_written_into_a_scan_is_noticed(size, at):
    assert has_text(_image(_written(_tissue(0), "DOE JANE 1970", size=size, at=at)[None]))


def test_dark_writing_on_a_bright_ground_is_noticed():
    assert has_text(_image(_written(np.full((200, 300), 235.0), "DOE JANE 1970", size=16, grey=0)[None]))


def test_writing_on_the_last_of_many_planes_is_noticed():
    planes = np.stack([_tissue(seed).astype(np.uint8) for seed in range(20)])
    planes[-1] = _written(planes[-1].astype(float), "MRN 4711 0815", size=16)
    assert has_text(_image(planes))


def test_writing_in_one_colour_is_noticed():
    plane = _tissue(1).astype(np.uint8)
    colours = np.stack([plane, _written(plane.astype(float), "DOE JANE 1970", size=16), plane])[:, None]
    assert has_text(ReadImage(colours, Grid(colours.shape[1:]), colours.shape[1:]))


def test_writing_in_a_scan_of_sixteen_bits_is_noticed():
    plane = _written(_tissue(2), "DOE JANE 1970", size=16).astype(np.int16) * 16 - 1024
    assert has_text(_image(plane[None]))


def test_writing_on_a_large_film_is_noticed():
    assert has_text(_image(_written(_tissue(4, (500, 2400)), "DOE JANE 1970", size=40, at=(100, 60))[None]))


@pytest.mark.parametrize("seed", range(20))
def test_tissue_without_writing_is_not_flagged(seed):
    assert not has_text(_image(_tissue(seed)[None].astype(np.uint8)))


@pytest.mark.parametrize("text", ["L", "R", "10 cm"])
def test_a_side_marker_or_a_scale_is_no_name(text):
    assert not has_text(_image(_written(_tissue(3), text, size=18)[None]))


@pytest.mark.parametrize(
    "plane",
    [
        np.zeros((256, 256), np.uint8),
        np.full((256, 256), 7, np.int16),
        np.full((256, 256), np.nan, np.float32),
        np.full((256, 256), np.inf, np.float32),
        np.random.default_rng(0).integers(0, 255, (256, 256), np.uint8),
        np.indices((256, 256)).sum(axis=0).astype(np.uint16) % 2 * 255,
        np.eye(256, dtype=np.uint8) * 255,
        np.ones((3, 3), np.uint8),
        np.ones((1, 5000), np.uint8),
        np.kron(np.indices((250, 250)).sum(axis=0) % 2 == 0, np.ones((8, 8))).astype(np.uint8),
    ],
    ids=["black", "flat", "nan", "inf", "noise", "chequers", "line", "tiny", "thin", "many"],
)
def test_odd_planes_hold_no_writing_and_break_nothing(plane):
    assert not has_text(_image(plane[None]))


# Faces ----------------------------------------------------------------------------------------------------------------


def _head(half_axes_mm=HEAD_MM, *, voxel_mm=4.0, field_mm=260.0, noise=3.0, levels=(0.0, 140.0, 25.0, 90.0)):
    """A head in air, axes up, front, side. ``levels`` of air, skin, skull and brain: those of a T1-weighted MR."""
    n = int(field_mm / voxel_mm)
    z, y, x = (np.mgrid[:n, :n, :n] - n / 2) * voxel_mm
    up, side, front = half_axes_mm
    radius = np.sqrt((z / up) ** 2 + (y / front) ** 2 + (x / side) ** 2)
    air, skin, skull, brain = levels
    image = np.select([radius < 0.84, radius < 0.92, radius < 1.0], [brain, skull, skin], air)
    return (image + np.abs(np.random.default_rng(0).normal(0, noise, image.shape))).astype(np.int16)


def test_a_head_with_its_skin_is_flagged():
    assert has_face(_image(_head(), spacing=(4.0, 4.0, 4.0)))


def test_a_head_in_hounsfield_units_is_flagged():
    hounsfield = _head(levels=(-1000.0, 40.0, 900.0, 35.0), noise=10.0)
    assert has_face(_image(hounsfield, spacing=(4.0, 4.0, 4.0)))


def test_a_head_is_flagged_however_it_lies_in_the_array():
    image = np.ascontiguousarray(_head().transpose(2, 0, 1)[::-1])  # sagittal: axes right to left, up, front
    affine = np.zeros((4, 4))
    affine[:, 3] = (100, 0, 0, 1)
    # (i, j, k) = array axes (2, 1, 0) = front, up, right to left
    affine[1, 0] = affine[2, 1] = 4.0
    affine[0, 2] = -4.0
    grid = grid_of(affine, image.shape)
    assert has_face(ReadImage(image[None], grid, grid.shape_zyx))


def test_a_brain_without_its_skin_is_not():
    image = _head(noise=0.0)
    z, y, x = (np.mgrid[: image.shape[0], : image.shape[1], : image.shape[2]] - image.shape[0] / 2) * 4.0
    inner = np.sqrt((z / 100) ** 2 + (y / 95) ** 2 + (x / 75) ** 2) < 0.8
    assert not has_face(_image(np.where(inner, image, 0).astype(np.int16), spacing=(4.0, 4.0, 4.0)))


@pytest.mark.parametrize("half_axes_mm", [(150.0, 190.0, 120.0), (200.0, 60.0, 60.0), (30.0, 30.0, 30.0)])
def test_a_trunk_a_leg_and_a_fist_are_no_heads(half_axes_mm):
    image = _head(np.array(half_axes_mm), voxel_mm=6.0, field_mm=420.0)
    assert not has_face(_image(image, spacing=(6.0, 6.0, 6.0)))


def test_a_photograph_a_slice_and_an_empty_field_are_no_heads():
    assert not has_face(_image(np.zeros((1, 256, 256), np.uint8), intensity="photograph"))
    assert not has_face(_image(_head()[30:31], spacing=(4.0, 4.0, 4.0)))
    assert not has_face(_image(np.zeros((64, 64, 64), np.int16), spacing=(4.0, 4.0, 4.0)))
    assert not has_face(_image(np.full((64, 64, 64), np.nan, np.float32), spacing=(4.0, 4.0, 4.0)))


# Both -----------------------------------------------------------------------------------------------------------------


def test_warnings_of_the_header_stay_and_those_of_the_voxels_are_added():
    head = _image(_head(), spacing=(4.0, 4.0, 4.0), flags=("gantry_tilt",))
    assert with_pixel_flags(head).flags == ("face", "gantry_tilt")
    assert with_pixel_flags(with_pixel_flags(head)).flags == ("face", "gantry_tilt")


def test_an_image_without_warnings_comes_back_as_it_is():
    image = _image(_tissue(0)[None].astype(np.uint8))
    assert with_pixel_flags(image) is image


def test_looking_changes_no_voxel():
    voxels = _head()
    before = voxels.copy()
    with_pixel_flags(_image(voxels, spacing=(4.0, 4.0, 4.0)))
    np.testing.assert_array_equal(voxels, before)


@pytest.mark.parametrize("at", [(0, 0), (300, 0), (0, 230), (300, 230)])
@pytest.mark.parametrize("grey", [255, 0])
def test_writing_alone_in_a_corner_is_noticed_and_alike_in_every_corner(at, grey):
    ground = np.full((256, 480), 255.0 - grey)
    assert has_text(_image(_written(ground, "DOE JANE", size=16, grey=grey, at=at)[None]))
    assert not has_text(_image(_written(ground, "DO", size=16, grey=grey, at=at)[None]))


def test_a_cup_of_bone_holds_what_cannot_leak_out_and_nothing_else():
    """A sealed shell counts as full; one that is open to the outside counts as its wall."""
    z, y, x = np.mgrid[-60:60, -60:60, -60:60] * 3.0
    distance = np.sqrt((z / HEAD_MM[0]) ** 2 + (y / HEAD_MM[2]) ** 2 + (x / HEAD_MM[1]) ** 2)
    shell = np.where((distance < 1) & (distance > 0.8), 100.0, 0.0).astype(np.float32)
    opened = shell.copy()
    opened[60:, 50:70, 50:70] = 0
    assert has_face(_image(shell, spacing=(3.0, 3.0, 3.0)))
    assert not has_face(_image(opened, spacing=(3.0, 3.0, 3.0)))
