"""Learning curves: what may be read from them, for any curves at all."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hilum.core.errors import RecipeError
from hilum.loop.curves import (
    UNKNOWN,
    Curve,
    Range,
    area,
    band,
    common_grid,
    common_range,
    labels_to_reach,
    on_grid,
    saving,
    t_interval,
)

SCORES = st.floats(0, 1, allow_nan=False)


@st.composite
def grids_and_values(draw, min_points=2, num_curves=1):
    num_points = draw(st.integers(min_points, 8))
    grid = np.cumsum(draw(st.lists(st.integers(1, 50), min_size=num_points, max_size=num_points))).astype(float)
    row = st.lists(SCORES, min_size=num_points, max_size=num_points)
    values = np.asarray(draw(st.lists(row, min_size=num_curves, max_size=num_curves)))
    return grid, values


@given(grids_and_values())
def test_an_area_lies_between_the_lowest_and_the_highest_value(drawn):
    grid, values = drawn
    assert values.min() - 1e-9 <= area(grid, values)[0] <= values.max() + 1e-9


@given(grids_and_values(), st.floats(-1, 1))
def test_raising_a_curve_raises_its_area_by_as_much(drawn, rise):
    grid, values = drawn
    assert area(grid, values + rise)[0] == pytest.approx(area(grid, values)[0] + rise)


@given(grids_and_values(), st.floats(0.1, 100))
def test_the_unit_of_the_label_axis_does_not_change_an_area(drawn, scale):
    grid, values = drawn
    assert area(grid * scale, values)[0] == pytest.approx(area(grid, values)[0])


def test_a_straight_line_has_the_area_of_its_middle():
    assert area(np.asarray([10.0, 30.0]), np.asarray([[0.2, 0.6]]))[0] == pytest.approx(0.4)


def test_a_curve_of_one_point_has_that_point_as_area():
    assert area(np.asarray([10.0]), np.asarray([[0.7]]))[0] == 0.7


@given(grids_and_values(), SCORES)
def test_a_level_is_reached_where_the_curve_stands_at_it(drawn, level):
    grid, values = drawn
    needed = labels_to_reach(grid, values[0], level)
    if needed is None:
        assert values[0].max() < level
    else:
        assert grid[0] <= needed <= grid[-1]
        assert np.interp(needed, grid, values[0]) >= level - 1e-6
        assert values[0][grid < needed - 1e-6].max(initial=-1) < level


@given(grids_and_values(), SCORES, SCORES)
def test_a_higher_level_never_needs_fewer_labels(drawn, one, other):
    grid, values = drawn
    low, high = (labels_to_reach(grid, values[0], level) for level in sorted((one, other)))
    assert high is None or (low is not None and low <= high + 1e-9)


@given(grids_and_values())
def test_every_curve_reaches_its_own_end(drawn):
    grid, values = drawn
    assert labels_to_reach(grid, values[0], float(values[0][-1])) is not None


def test_between_two_measurements_the_curve_is_a_line():
    assert labels_to_reach([10, 20], [0.5, 0.7], 0.6) == pytest.approx(15)


def test_a_level_above_the_curve_is_not_reached_rather_than_far_away():
    assert labels_to_reach([10, 20], [0.5, 0.7], 0.71) is None


def test_a_level_below_the_first_measurement_was_reached_by_then():
    assert labels_to_reach([10, 20], [0.5, 0.7], 0.1) == 10


@given(st.lists(SCORES, min_size=2, max_size=9))
def test_a_t_interval_is_centred_on_the_mean_and_grows_with_confidence(values):
    narrow, wide = t_interval(values, confidence=0.8), t_interval(values, confidence=0.99)
    assert wide.low <= narrow.low <= narrow.mean + 1e-12
    assert narrow.mean - 1e-12 <= narrow.high <= wide.high
    assert narrow.mean - narrow.low == pytest.approx(narrow.high - narrow.mean)


def test_a_t_interval_is_the_textbook_one():
    interval = t_interval([0.1, 0.2, 0.3])
    assert interval.mean == pytest.approx(0.2)
    assert interval.high - interval.mean == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)


def test_a_t_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [t_interval(rng.normal(0.5, 0.1, size=5)) for _ in range(2000)]
    assert 0.93 < np.mean([i.low <= 0.5 <= i.high for i in intervals]) < 0.97


def test_one_seed_has_no_interval_and_excludes_nothing():
    interval = t_interval([0.4])
    assert (interval.low, interval.high, interval.excludes_zero) == (None, None, False)


def test_a_band_has_one_interval_for_every_number_of_labels():
    curves = [Curve("margin", s, (10, 20, 30), (0.1 * s, 0.2 * s, 0.3 * s)) for s in (1, 2, 3)]
    drawn = band(curves)
    assert drawn.at == (10, 20, 30)
    assert drawn.mean == pytest.approx((0.2, 0.4, 0.6))
    assert all(p.low < p.mean < p.high and p.num_seeds == 3 for p in drawn.points)


def test_curves_are_compared_only_where_all_were_measured():
    curves = [Curve("a", 0, (10, 20, 40), (0, 0, 0)), Curve("b", 0, (15, 30), (1, 1))]
    assert common_range(curves) == (15, 30)
    assert list(common_grid(curves)) == [15, 20, 30]


def test_curves_without_a_common_number_of_labels_are_refused():
    with pytest.raises(RecipeError, match="share no number of labels"):
        common_grid([Curve("a", 0, (1, 2), (0, 0)), Curve("b", 0, (3, 4), (0, 0))])


@given(grids_and_values())
def test_a_curve_on_its_own_grid_is_itself(drawn):
    grid, values = drawn
    curve = Curve("a", 0, tuple(int(n) for n in grid), tuple(values[0]))
    assert on_grid([curve], common_grid([curve]))[0] == pytest.approx(values[0])


@pytest.mark.parametrize(
    ("num_labels", "values", "reason"),
    [
        ((10, 20), (0.5,), "one value for each"),
        ((), (), "at least one"),
        ((20, 10), (0.5, 0.6), "that grow"),
        ((10, 10), (0.5, 0.6), "that grow"),
        ((10, 20), (0.5, math.nan), "not a number"),
    ],
)
def test_a_curve_that_cannot_be_meant_is_refused_in_words(num_labels, values, reason):
    with pytest.raises(RecipeError, match=reason):
        Curve("margin", 0, num_labels, values)


@given(grids_and_values(num_curves=4), st.integers(0, 100))
def test_a_strategy_compared_with_itself_saves_nothing(drawn, seed):
    grid, values = drawn
    mean = values.mean(axis=0)
    assume(mean[-1] - mean[0] > 1e-6)
    found = saving(grid, values, values, None, rng=np.random.default_rng(seed), num_resamples=50)
    assert found.point == Range(1.0, 1.0)
    assert found.interval.low <= 1 <= found.interval.high


@given(grids_and_values(num_curves=6), SCORES)
def test_the_seen_saving_never_contradicts_its_bounds(drawn, level):
    grid, values = drawn
    found = saving(grid, values[:3], values[3:], level, rng=np.random.default_rng(0), num_resamples=50)
    assert 0 <= found.point.low <= found.point.high
    assert 0 <= found.interval.low <= found.interval.high


def test_a_strategy_twice_as_fast_needs_half_the_labels():
    grid = np.linspace(0, 100, 11)
    random = np.stack([grid / 100 * h for h in (0.8, 0.9, 1.0)])
    active = np.minimum(2 * random, random[:, -1:])
    found = saving(grid, active, random, None, rng=np.random.default_rng(0))
    assert found.point.low == found.point.high == pytest.approx(0.5)
    assert found.interval.low <= 0.5 <= found.interval.high <= 0.56


def test_random_falling_short_bounds_the_saving_from_above():
    grid = np.asarray([10.0, 20.0, 40.0])
    active, random = np.asarray([[0.1, 0.9, 0.9]] * 3), np.asarray([[0.1, 0.2, 0.3]] * 3)
    found = saving(grid, active, random, 0.9, rng=np.random.default_rng(0))
    assert found.point == Range(0.0, 0.5)
    assert found.interval == Range(0.0, 0.5)


def test_a_strategy_falling_short_bounds_the_saving_from_below():
    grid = np.asarray([10.0, 20.0, 40.0])
    active, random = np.asarray([[0.1, 0.2, 0.3]] * 3), np.asarray([[0.1, 0.9, 0.9]] * 3)
    found = saving(grid, active, random, 0.9, rng=np.random.default_rng(0))
    assert found.point == Range(2.0, math.inf)


def test_a_level_nobody_reached_says_nothing_about_saving():
    grid, low = np.asarray([10.0, 20.0]), np.asarray([[0.1, 0.2]] * 3)
    found = saving(grid, low, low, 0.9, rng=np.random.default_rng(0))
    assert found.point == UNKNOWN
    assert not found.interval.known


def test_a_level_that_was_there_at_the_first_measurement_may_have_needed_fewer_labels():
    grid = np.asarray([10.0, 20.0, 40.0])
    ready, late = np.asarray([[0.9, 0.9, 0.9]] * 3), np.asarray([[0.1, 0.2, 0.8]] * 3)
    rng = np.random.default_rng(0)
    assert saving(grid, ready, late, 0.8, rng=rng).point == Range(0.0, 0.25)
    assert saving(grid, late, ready, 0.8, rng=rng).point == Range(4.0, math.inf)
    assert saving(grid, ready, ready, 0.8, rng=rng).point == UNKNOWN


def test_one_pair_of_seeds_has_a_saving_but_no_interval():
    grid = np.asarray([0.0, 10.0])
    found = saving(grid, np.asarray([[0.0, 2.0]]), np.asarray([[0.0, 1.0]]), None, rng=np.random.default_rng(0))
    assert found.point == Range(0.5, 0.5)
    assert found.interval == UNKNOWN


def test_pairs_that_agree_give_a_narrower_interval_than_pairs_that_do_not():
    rng, grid = np.random.default_rng(3), np.linspace(10, 100, 10)
    random = np.log(grid) * 0.1 + rng.normal(0, 0.02, (8, 1))
    steady = saving(grid, random + 0.05, random, None, rng=np.random.default_rng(0))
    shaken = saving(grid, random + 0.05 + rng.normal(0, 0.05, (8, 1)), random, None, rng=np.random.default_rng(0))
    assert steady.interval.high - steady.interval.low < shaken.interval.high - shaken.interval.low


def test_the_same_seed_resamples_to_the_same_interval():
    rng, grid = np.random.default_rng(3), np.linspace(10, 100, 10)
    values = np.sort(rng.random((6, 10)), axis=1)
    found = [saving(grid, values[:3], values[3:], None, rng=np.random.default_rng(7)) for _ in range(2)]
    assert found[0] == found[1]
