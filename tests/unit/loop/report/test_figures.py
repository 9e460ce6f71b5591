"""Plots: names on lines, the page's own colours, text that stays text."""

import itertools
import re
import xml.etree.ElementTree as ET

import pytest

from hilum.loop.comparison import compare
from hilum.loop.curves import Curve, Interval
from hilum.loop.report.figures import NARROW_INCHES, WIDE_INCHES, class_balance, learning_curves, time_curves

NEVER = Interval(0.0, 0.0, 0.0, 5)


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter() if node.tag.endswith("text")]


@pytest.mark.parametrize("width", [WIDE_INCHES, NARROW_INCHES])
def test_every_line_is_named_where_it_ends(make_comparison, width):
    shown = texts(learning_curves(make_comparison(), width_inches=width))
    assert {"margin", "entropy", "random", "all 2,190 labels"} <= set(shown)


def test_without_full_data_no_line_claims_it(make_comparison):
    shown = texts(learning_curves(make_comparison(full=False), width_inches=WIDE_INCHES))
    assert not any(text.startswith("all ") for text in shown)


def test_names_at_line_ends_do_not_touch():
    together = [Curve(s, k, (1, 2), (0.1, 0.5)) for s in ("a", "b", "c", "random") for k in (0, 1)]
    svg = learning_curves(compare(together, metric="m"), width_inches=WIDE_INCHES)
    heights = sorted(float(y) for y in re.findall(r'font-weight: 700[^>]*? y="([\d.]+)"', svg))
    assert len(heights) == 4
    assert all(b - a >= 10 for a, b in itertools.pairwise(heights))


def test_axes_are_named_in_words(make_comparison):
    shown = texts(learning_curves(make_comparison(), width_inches=WIDE_INCHES))
    assert {"labels asked for", "balanced accuracy, held-out patients"} <= set(shown)


@pytest.mark.parametrize("width", [WIDE_INCHES, NARROW_INCHES])
def test_over_people_s_time_every_line_is_named_and_the_axis_says_its_unit(make_comparison, width):
    shown = texts(time_curves(make_comparison(timed=True), width_inches=width))
    assert {"margin", "entropy", "random", "people's time (minutes)"} <= set(shown)


@pytest.mark.parametrize(("longest", "unit"), [(100.0, "seconds"), (9000.0, "minutes"), (36000.0, "hours")])
def test_the_unit_of_time_is_one_that_people_would_take(longest, unit):
    curves = [Curve(s, k, (1, 2), (0.1, 0.5), (longest / 2, longest)) for s in ("a", "random") for k in (0, 1)]
    shown = texts(time_curves(compare(curves, metric="m"), width_inches=WIDE_INCHES))
    assert f"people's time ({unit})" in shown


def test_one_seed_is_drawn_without_a_band(make_comparison):
    assert "FillBetween" in learning_curves(make_comparison(num_seeds=2), width_inches=WIDE_INCHES)
    assert "FillBetween" not in learning_curves(make_comparison(num_seeds=1, full=False), width_inches=WIDE_INCHES)


def test_all_colours_are_the_pages_own(make_comparison, make_section):
    section = make_section()
    for svg in (
        learning_curves(make_comparison(), width_inches=WIDE_INCHES),
        class_balance(section.classes, section.strategies, width_inches=WIDE_INCHES),
        time_curves(make_comparison(timed=True), width_inches=WIDE_INCHES),
    ):
        assert set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", svg)) <= {
            "none",
            *(f"var(--{name})" for name in ("ink", "muted", "rule", "paper", "cr", "c0", "c1")),
        }


def test_fonts_are_the_readers_own(make_comparison):
    svg = learning_curves(make_comparison(), width_inches=WIDE_INCHES)
    assert set(re.findall(r"font-family: ([^;\"]+)", svg)) == {"system-ui, sans-serif"}


def test_the_same_numbers_are_drawn_to_the_same_bytes(make_comparison):
    drawn = [learning_curves(make_comparison(), width_inches=WIDE_INCHES) for _ in range(2)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("name", ["$x^2$", "<img src=x onerror=alert(1)>", "a & b", '"quoted"', "éß漢"])
def test_a_class_name_is_shown_as_it_is_written(make_section, name):
    rows = make_section(text=name).classes
    shown = texts(class_balance(rows, ("margin", "entropy", "random"), width_inches=WIDE_INCHES))
    assert any(text.startswith(f"thalamus{name}"[:25]) for text in shown)


def test_a_long_name_is_cut_rather_than_pushing_the_plot_away(make_section):
    rows = make_section(text="x" * 90).classes
    assert max(map(len, texts(class_balance(rows, ("random",), width_inches=WIDE_INCHES)))) <= 26


def test_a_class_nobody_asked_about_has_its_place(make_section):
    section = make_section()
    never = [
        type(row)(row.name, 0, 0.0, {s: type(i)(0.0, None, None, 1) for s, i in row.shares_asked.items()}, {})
        for row in section.classes
    ]
    assert "thalamus" in texts(class_balance(never, section.strategies, width_inches=WIDE_INCHES))


@pytest.mark.parametrize("width", [WIDE_INCHES, NARROW_INCHES])
def test_shares_are_read_on_an_axis_that_names_none(make_section, width):
    section = make_section()
    never = [
        type(row)(row.name, row.num_in_pool, row.share_in_pool, dict.fromkeys(row.shares_asked, NEVER), {})
        for row in section.classes
    ]
    shown = texts(class_balance(never, section.strategies, width_inches=width))
    shares = [float(text.removesuffix(" %")) for text in shown if text.endswith(" %")]
    assert "0" in shown
    assert 2 <= len(shares) <= 8
    assert shares == sorted(shares)
    assert max(shares) <= 100


def heights_shown(svg):
    return [float(text) for text in texts(svg) if re.fullmatch(r"[01]\.\d+", text)]


def test_a_wild_band_does_not_flatten_the_curves():
    steady = [Curve("random", s, (1, 2), (0.50, 0.60)) for s in (0, 1)]
    wild = [Curve("a", 0, (1, 2), (0.10, 0.20)), Curve("a", 1, (1, 2), (0.95, 0.99))]
    svg = learning_curves(compare([*steady, *wild], metric="m"), width_inches=WIDE_INCHES)
    assert max(heights_shown(svg)) - min(heights_shown(svg)) < 0.3


def test_curves_of_one_height_still_have_an_axis():
    flat = [Curve(s, k, (1, 2), (0.5, 0.5)) for s in ("a", "random") for k in (0, 1)]
    assert len(heights_shown(learning_curves(compare(flat, metric="m"), width_inches=WIDE_INCHES))) >= 2


def test_a_single_measurement_is_still_drawn():
    one = [Curve(s, k, (10,), (0.5,)) for s in ("a", "random") for k in (0, 1)]
    assert {"a", "random"} <= set(texts(learning_curves(compare(one, metric="m"), width_inches=WIDE_INCHES)))


@pytest.mark.parametrize("num", [1, 2, 12, 60])
def test_every_class_has_a_line_of_its_own(make_section, num):
    row = make_section().classes[0]
    many = [type(row)(f"class{k}", k + 1, (k + 1) / 100, row.shares_asked, {}) for k in range(num)]
    shown = texts(class_balance(many, tuple(row.shares_asked), width_inches=WIDE_INCHES))
    assert [text for text in shown if text.startswith("class")] == [f"class{k}" for k in range(num)]
