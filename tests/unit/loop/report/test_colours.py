"""Colours: legible on the page in light and dark, apart for colour-blind eyes, random always grey."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.loop.report import render
from hilum.loop.report.colours import DARK, LIGHT, MARKERS, OVERLAYS, marker, overlay, strategy_class

# How the two commonest kinds of colour blindness see linear red, green and blue (Viénot, Brettel and Mollon 1999).
PROTANOPIA = np.asarray([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
DEUTERANOPIA = np.asarray([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])


def linear(colour):
    channels = np.asarray([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """The contrast ratio of WCAG 2.2, 1 to 21."""
    high, low = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def variables(css):
    """The page's colours: in light, and in dark."""
    light, dark = css.split("@media (prefers-color-scheme: dark)")[:2]
    return [dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in (light, dark)]


@pytest.mark.parametrize("colour", LIGHT)
def test_lines_stand_out_from_white_paper(colour):
    assert contrast(colour, "#ffffff") >= 3


@pytest.mark.parametrize("colour", DARK)
def test_lines_stand_out_from_dark_paper(colour):
    assert contrast(colour, "#171a20") >= 3


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("name", ["ink", "muted", "good", "bad", "plain"])
def test_words_can_be_read_on_the_page_in_light_and_in_dark(make_section, scheme, name):
    colours = variables(render([make_section()], title="Report"))[scheme]
    assert contrast(colours[name], colours["paper"]) >= 4.5


@pytest.mark.parametrize("eye", [PROTANOPIA, DEUTERANOPIA])
@pytest.mark.parametrize("palette", [LIGHT[:3], DARK[:3]])
def test_the_first_three_strategies_are_apart_for_colour_blind_eyes(palette, eye):
    seen = [np.clip(eye @ linear(colour), 0, 1) ** (1 / 2.4) for colour in palette]
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(seen, 2)) > 0.12


def test_strategies_differ_by_mark_as_well_as_by_colour():
    assert len(set(MARKERS)) == len(LIGHT) == len(DARK)


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6, unique=True))
def test_every_strategy_has_a_colour_of_its_own_and_random_is_grey(names):
    names = [*(name for name in names if name != "random"), "random"]
    slots = [strategy_class(name, names) for name in names]
    assert len(set(slots)) == len(names)
    assert slots[-1] == "cr"
    assert all(len(marker(slot)) == 1 for slot in slots)


def test_more_strategies_than_colours_begin_again():
    names = [str(k) for k in range(len(LIGHT) + 1)]
    assert strategy_class(names[-1], names) == strategy_class(names[0], names)


@given(st.integers(1, 65_534))
def test_every_class_has_an_overlay_colour(class_id):
    assert overlay(class_id) in OVERLAYS


def test_neighbouring_classes_are_drawn_in_different_colours():
    assert all(overlay(k) != overlay(k + 1) for k in range(1, 100))
