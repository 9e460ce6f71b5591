"""Images in the report: sharp, windowed, outlined where the truth is, and not too many bytes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline
from PIL import Image

from hilum.core.asking import IGNORE
from hilum.loop.report.content import AskedRound, Tile
from hilum.loop.report.gallery import (
    MOST_TILES,
    classes_shown,
    describe,
    draft_is_right,
    fitted,
    legend,
    outlines,
    png,
    shown_8bit,
    tile_svg,
)

NAMES = ("background", "thalamus", "caudate")
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)


def rings(markup):
    """Every path of an SVG as a list of closed polygons."""
    path = str(markup).split('d="')[1].split('"')[0]
    return [
        np.asarray([[float(v) for v in point.split()] for point in ring.rstrip("Z").split("L")])
        for ring in path.split("M")[1:]
    ]


@given(arrays(np.bool_, st.tuples(st.integers(2, 9), st.integers(2, 9))))
def test_outlines_go_around_exactly_the_voxels_of_their_class(mask):
    markup = outlines(mask.astype(np.uint16))
    if not mask.any():
        assert markup == ""
        return
    centres = np.stack(np.meshgrid(np.arange(mask.shape[1]) + 0.5, np.arange(mask.shape[0]) + 0.5), axis=-1)
    inside = np.zeros(mask.shape, dtype=int)
    for ring in rings(markup):
        inside += Outline(ring).contains_points(centres.reshape(-1, 2)).reshape(mask.shape)
    # Holes lie inside two rings, islands in holes inside three: odd is in.
    assert ((inside % 2 == 1) == mask).all()


def test_each_class_has_its_own_colour_and_background_and_unanswered_none():
    drawn = str(outlines(np.asarray([[0, 1, 1], [2, 2, IGNORE]], dtype=np.uint16)))
    assert drawn.count("<path") == 2
    assert all(colour in drawn for _, colour in legend(NAMES))


def test_no_map_is_nothing_drawn():
    assert outlines(None) == ""


@given(arrays(np.uint8, (5, 7, 1)))
def test_a_small_image_is_shown_voxel_by_voxel(image):
    assert (np.asarray(Image.open(io.BytesIO(png(image)))) == image[..., 0]).all()


def test_colour_stays_colour():
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(png(image)))) == image).all()


def test_an_image_larger_than_a_page_can_show_is_made_smaller():
    shown = Image.open(io.BytesIO(png(np.zeros((400, 800, 1), dtype=np.uint8))))
    assert shown.size == (160, 80)


@given(arrays(np.float32, (1, 4, 4), elements=st.floats(-1000, 1000, width=32)))
def test_the_window_maps_low_to_black_and_high_to_white_in_order(image):
    shown = shown_8bit(image, low=-100.0, high=300.0)
    assert shown.shape == (4, 4, 1)
    assert (shown[image[0] <= -100] == 0).all()
    assert (shown[image[0] >= 300] == 255).all()
    order = np.argsort(image[0].ravel(), kind="stable")
    assert (np.diff(shown.ravel()[order].astype(int)) >= 0).all()


def test_a_window_without_width_does_not_divide_by_zero():
    assert shown_8bit(np.full((1, 2, 2), 5.0), low=5.0, high=5.0).dtype == np.uint8


def test_of_many_channels_the_first_is_shown_and_of_three_all():
    assert shown_8bit(np.zeros((4, 2, 2)), low=0.0, high=1.0).shape == (2, 2, 1)
    assert shown_8bit(np.zeros((3, 2, 2)), low=0.0, high=1.0).shape == (2, 2, 3)


def noisy_round(number, num_tiles, size=64):
    rng = np.random.default_rng(number)
    tiles = tuple(Tile(rng.integers(0, 256, (size, size, 1), dtype=np.uint8), "", "a") for _ in range(num_tiles))
    return AskedRound(number, 0, num_tiles, tiles)


@given(st.integers(1, 6), st.integers(1, MOST_TILES), st.integers(0, 400_000))
def test_a_gallery_stays_within_its_bytes_or_shows_one_image_a_round(num_rounds, num_tiles, most_bytes):
    gallery = {"random": tuple(noisy_round(n, num_tiles) for n in range(num_rounds))}
    kept = fitted(gallery, most_bytes=most_bytes)["random"]
    counts = {len(r.tiles) for r in kept}
    assert len(counts) == 1
    size = sum(len(png(t.image_yxc)) * 4 // 3 for r in kept for t in r.tiles)
    assert size <= most_bytes or counts == {1}
    assert [r.num_asked for r in kept] == [num_tiles] * num_rounds


def test_a_tile_is_put_in_words_for_those_who_listen():
    tile = Tile(GREY, "margin 0.04", "top_k", truth_class=1, draft_class=2)
    assert describe(tile, NAMES) == "thalamus; model said caudate. Asked by top_k: margin 0.04"
    assert draft_is_right(tile) is False


def test_before_there_was_a_model_nothing_is_right_or_wrong():
    tile = Tile(GREY, "", "cold start", truth_class=1)
    assert describe(tile, NAMES) == "thalamus; no model yet. Asked by cold start"
    assert draft_is_right(tile) is None


@pytest.mark.parametrize(("class_id", "title"), [(-1, "unknown"), (None, "unknown"), (7, "class 7")])
def test_a_class_without_a_name_is_not_an_error(class_id, title):
    assert describe(Tile(GREY, "", "a", truth_class=class_id), NAMES).startswith(title)


def test_classes_in_a_slice_are_listed_without_background():
    shown = np.asarray([[0, 2], [1, IGNORE]], dtype=np.uint16)
    assert classes_shown(shown, NAMES) == "thalamus, caudate"
    assert classes_shown(np.zeros((2, 2), dtype=np.uint16), NAMES) == "nothing"


def test_draft_and_truth_stand_side_by_side_over_one_embedded_image():
    truth = np.zeros((8, 8), dtype=np.uint16)
    truth[2:5, 2:5] = 1
    svg = str(tile_svg(Tile(GREY, "", "a", truth_yx=truth, draft_yx=truth * 2), NAMES, name="t0"))
    assert svg.count("data:image/png;base64,") == 1
    assert svg.count("<path") == 2
    assert 'href="#t0"' in svg
