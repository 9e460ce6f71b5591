"""From a hint to an outline: what is pointed at, and nothing that is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.label_studio.asked import Asked
from hilum.adapters.label_studio.prompts import Prompt, outline, outlined, prompts_of
from hilum.adapters.label_studio.slices import Pages
from hilum.core.asking import IGNORE
from hilum.core.errors import DataError
from hilum.core.geometry import Patch

SHAPE = (40, 50)
A, B = np.mgrid[:40, :50]
LEFT, RIGHT = (A - 12) ** 2 + (B - 12) ** 2 <= 36, (A - 25) ** 2 + (B - 35) ** 2 <= 64


def at(a, b, *, positive=True, sort="click"):
    where = np.zeros(SHAPE, bool)
    where[a, b] = True
    return Prompt(sort, 1, 0, where, positive)


def two_discs(seed=0, noise=20.0):
    grey = np.random.default_rng(seed).normal(100, noise, SHAPE)
    return (grey + 300 * (LEFT | RIGHT)).astype(np.float32)


def seen(inside=0.9, outside=0.02):
    return np.where(LEFT | RIGHT, inside, outside).astype(np.float32)


@pytest.mark.parametrize("inside", [0.9, 0.5, 0.3, 0.08])
def test_a_click_takes_the_part_of_what_the_model_sees_that_it_lies_in(inside):
    assert (outline([at(12, 12)], two_discs(), seen(inside, 0.01)) == LEFT).all()


def test_two_clicks_take_two_parts():
    assert (outline([at(12, 12), at(25, 35)], two_discs(), seen()) == (LEFT | RIGHT)).all()


def test_what_the_model_does_not_see_is_grown_from_grey_levels():
    blind = np.full(SHAPE, 0.01, np.float32)
    found = outline([at(12, 12)], two_discs(), blind)
    assert (found == outline([at(12, 12)], two_discs(), None)).all()
    assert found[LEFT].mean() > 0.9
    assert not found[~LEFT].mean() > 0.02


def test_without_a_model_a_click_grows_to_the_edge_and_no_further():
    found = outline([at(25, 35)], two_discs(), None)
    assert found[25, 35]
    assert 2 * (found & RIGHT).sum() / (found.sum() + RIGHT.sum()) > 0.95


def test_where_there_is_no_edge_the_page_is_not_flooded():
    flat = np.full(SHAPE, 7.0, np.float32)
    assert outline([at(20, 20)], flat, None).sum() == 1


def test_a_box_restricts_to_what_is_in_it():
    box = at(slice(4, 22), slice(3, 23), sort="box")
    assert (outline([box], two_discs(), seen()) == LEFT).all()
    assert (outline([box], two_discs(), None) == LEFT).all()
    assert (outline([box], two_discs(), np.full(SHAPE, 0.01, np.float32)) == LEFT).all()


def test_a_dark_thing_in_a_box_is_found_as_a_bright_one_is():
    assert (outline([at(slice(4, 22), slice(3, 23), sort="box")], 1000 - two_discs(), None) == LEFT).all()


def test_a_click_in_a_box_does_not_leave_it():
    box = at(slice(4, 13), slice(0, 50), sort="box")
    assert (outline([box, at(12, 12)], two_discs(), seen()) == (LEFT & box.where)).all()


def test_a_scribble_takes_what_it_runs_over_though_it_slips():
    scribble = at(slice(8, 17), 12, sort="scribble")
    slipped = Prompt("scribble", 1, 0, scribble.where | at(17, slice(17, 18)).where)
    assert (outline([slipped], two_discs(), seen())[LEFT]).all()


def test_a_negative_click_is_never_inside():
    probs = seen()
    probs[18:25, 12:30] = 0.6  # a bridge between the two
    probs[LEFT | RIGHT] = 0.9
    assert outline([at(12, 12)], two_discs(), probs)[25, 35]
    assert (outline([at(12, 12), at(20, 20, positive=False)], two_discs(), probs) == LEFT).all()


@given(
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 49), st.booleans()), min_size=1, max_size=5),
)
def test_positive_clicks_are_inside_and_negative_ones_outside_whatever_is_shown(seed, has_model, clicks):
    rng = np.random.default_rng(seed)
    probs = rng.random(SHAPE).astype(np.float32) if has_model else None
    prompts = [at(a, b, positive=positive) for a, b, positive in clicks]
    found = outline(prompts, rng.normal(0, 1, SHAPE).astype(np.float32), probs)
    no = {(a, b) for a, b, positive in clicks if not positive}
    assert not any(found[a, b] for a, b in no)
    assert found.any() == any(positive and (a, b) not in no for a, b, positive in clicks)


def asked(kind="segment"):
    # The page shows Y and X of an array turned around: down runs along X, against it.
    patch = Patch("a1", (3, 4, 5), (2, *SHAPE))
    pages = Pages(patch, (2, 0, 0), (4, 50, 60), (0, 1), (2, -1), (1, 1), (2, 3))
    return Asked(kind, ("background", "organ", "lesion"), pages)


def said(page, row, column, label="lesion", **more):
    height, width = asked().pages.shape_yx
    value = {
        "x": (column + 0.5) / width * 100,
        "y": (row + 0.5) / height * 100,
        "width": 0.3,
        "keypointlabels": [label],
    }
    return {
        "type": "keypointlabels",
        "value": value,
        "original_width": width,
        "original_height": height,
        "item_index": page,
        **more,
    }


def test_a_click_of_the_interface_is_the_voxel_that_it_shows():
    pages = asked().pages
    voxel = (4, 4 + 25, 5 + 35)
    page, rows, columns = pages.pixels(voxel)
    prompts = prompts_of({"result": [said(page, rows.start, columns.start)]}, asked())
    assert [(p.sort, p.class_id, p.plane, p.is_positive) for p in prompts] == [("click", 2, 1, True)]
    assert np.argwhere(prompts[0].where).tolist() == [[25, 35]]
    label_map = outlined(
        asked(),
        prompts,
        np.stack([two_discs()] * 2),
        np.stack([1 - seen(), np.zeros_like(seen()), seen()])[:, None].repeat(2, 1),
    )
    assert (label_map[1] == np.where(RIGHT, 2, IGNORE)).all()
    assert (label_map[0] == IGNORE).all()


def test_a_click_of_the_background_is_a_negative_one():
    page, rows, columns = asked().pages.pixels((3, 10, 10))
    prompts = prompts_of({"result": [said(page, rows.start, columns.start, "background")]}, asked())
    assert not prompts[0].is_positive
    assert (outlined(asked(), prompts, np.zeros((2, *SHAPE)), None) == IGNORE).all()


def test_a_click_into_the_context_says_nothing():
    assert prompts_of({"result": [said(0, 10, 10)]}, asked()) == ()


@pytest.mark.parametrize(
    "context",
    [
        None,
        [],
        {},
        {"result": []},
        {"result": 3},
        {"result": [3]},
        {"result": [{}]},
        {"result": [said(0, 1, 1)] * 65},
        {"result": [said(9, 1, 1)]},
        {"result": [said(1, 1, 1, "tumour")]},
    ],
    ids=lambda c: repr(c)[:40],
)
def test_a_context_that_cannot_be_meant_is_refused(context):
    with pytest.raises(DataError):
        prompts_of(context, asked())
