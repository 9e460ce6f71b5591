"""Strategies beside random: pairing, levels, order and corrected chances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hilum.core.errors import RecipeError
from hilum.loop.comparison import RANDOMS_FINAL, compare, holm
from hilum.loop.curves import Curve

LABELS = (20, 40, 60, 80, 100)


def curves_of(strategy, height, *, seeds=range(5), spread=0.01):
    """Saturating curves whose seeds differ by a shift that all strategies share."""
    noise = np.random.default_rng(0).normal(0, spread, size=100)
    shape = 1 - np.exp(-np.asarray(LABELS) / 40)
    return [Curve(strategy, s, LABELS, tuple(float(v) for v in height * shape + noise[s])) for s in seeds]


def test_random_comes_last_and_the_others_by_area():
    found = compare([*curves_of("a", 0.6), *curves_of("random", 0.7), *curves_of("z", 0.9)], metric="balanced_accuracy")
    assert [r.name for r in found.strategies] == ["z", "a", "random"]
    assert found.random.difference is None
    assert found.random.savings == {}


def test_without_random_nobody_can_say_whether_it_helped():
    with pytest.raises(RecipeError, match="no curve of 'random'"):
        compare(curves_of("margin", 0.9), metric="dice_mean")


def test_two_curves_of_one_seed_are_refused():
    with pytest.raises(RecipeError, match="two curves for seed 0"):
        compare([*curves_of("random", 0.9), *curves_of("random", 0.9)], metric="dice_mean")


def test_strategies_without_a_common_seed_cannot_be_paired():
    with pytest.raises(RecipeError, match="shares no seed"):
        compare([*curves_of("random", 0.9), *curves_of("margin", 0.9, seeds=[7])], metric="dice_mean")


def test_differences_are_taken_seed_by_seed():
    found = compare([*curves_of("margin", 0.9, spread=0.2), *curves_of("random", 0.8, spread=0.2)], metric="m")
    difference = found.active[0].difference
    # The seeds' own scatter is shared by both strategies and cancels: only the height is left.
    assert difference.interval.high - difference.interval.low == pytest.approx(0, abs=1e-9)
    assert difference.num_seeds_better == 5
    assert difference.p_value == 0


def test_only_shared_seeds_are_paired():
    found = compare([*curves_of("margin", 0.9, seeds=[1, 2]), *curves_of("random", 0.8)], metric="m")
    assert len(found.active[0].difference.per_seed) == 2
    assert found.num_seeds == 5


def test_levels_are_shares_of_the_full_data_score_and_randoms_end():
    found = compare([*curves_of("random", 0.8)], metric="m", full_data=[0.9, 1.0, 1.1], num_full_labels=500)
    assert [level.name for level in found.levels] == [
        RANDOMS_FINAL,
        "90% of full data",
        "95% of full data",
        "100% of full data",
    ]
    assert [level.value for level in found.levels[1:]] == pytest.approx([0.9, 0.95, 1.0])
    assert found.levels[0].value == pytest.approx(found.random.final.mean)
    assert found.full_data.num_labels == 500


def test_without_full_data_the_only_level_is_randoms_end():
    found = compare(curves_of("random", 0.8), metric="m")
    assert [level.name for level in found.levels] == [RANDOMS_FINAL]
    assert found.full_data is None


def test_random_reaches_its_own_end_on_the_mean_curve():
    found = compare(curves_of("random", 0.8, spread=0.1), metric="m")
    assert found.random.needed[RANDOMS_FINAL].on_mean == pytest.approx(100)


def test_seeds_that_did_not_reach_a_level_are_counted_as_such():
    found = compare(curves_of("random", 0.8, spread=0.1), metric="m", full_data=[0.74])
    needed = found.random.needed["100% of full data"]
    assert 0 < needed.num_seeds_reached < 5
    assert needed.per_seed.count(None) == 5 - needed.num_seeds_reached


def test_a_curve_that_rises_faster_needs_fewer_labels_to_randoms_end():
    found = compare([*curves_of("margin", 0.9), *curves_of("random", 0.7)], metric="m")
    saving = found.active[0].savings[RANDOMS_FINAL]
    assert 0 < saving.interval.low <= saving.point.low <= saving.interval.high < 1


P_VALUES = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(0, 1), min_size=1, max_size=6)


@given(P_VALUES)
def test_correction_only_ever_makes_a_finding_less_sure(p_values):
    adjusted = holm(p_values)
    assert set(adjusted) == set(p_values)
    assert all(p_values[name] <= adjusted[name] <= 1 for name in p_values)


@given(P_VALUES)
def test_correction_keeps_the_order_of_strategies(p_values):
    adjusted = holm(p_values)
    names = sorted(p_values, key=lambda n: (p_values[n], n))
    assert [adjusted[n] for n in names] == sorted(adjusted.values())


def test_correction_is_holms():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


@given(st.integers(0, 2**32 - 1))
def test_the_order_in_which_curves_arrive_does_not_matter(seed):
    curves = [*curves_of("a", 0.6), *curves_of("random", 0.7), *curves_of("z", 0.9)]
    shuffled = [curves[i] for i in np.random.default_rng(seed).permutation(len(curves))]
    assert compare(shuffled, metric="m") == compare(curves, metric="m")


def test_a_difference_that_is_not_there_is_found_about_one_time_in_twenty():
    rng = np.random.default_rng(1)

    def p_value():
        made = [Curve(name, s, (10, 20), tuple(rng.normal(0.5, 0.1, 2))) for name in ("a", "random") for s in range(5)]
        return compare(made, metric="m").active[0].difference.p_value

    assert 0.01 < np.mean([p_value() < 0.05 for _ in range(200)]) < 0.10


@given(st.floats(-0.3, 0.3))
def test_an_equal_shift_of_every_curve_changes_no_difference(shift):
    def shifted(strategy, height):
        return [
            Curve(c.strategy, c.seed, c.num_labels, tuple(v + shift for v in c.values))
            for c in curves_of(strategy, height)
        ]

    plain = compare([*curves_of("a", 0.8), *curves_of("random", 0.7)], metric="m").active[0].difference
    moved = compare([*shifted("a", 0.8), *shifted("random", 0.7)], metric="m").active[0].difference
    assert moved.per_seed == pytest.approx(plain.per_seed)


@given(st.floats(0.05, 0.3))
def test_swapping_two_strategies_turns_the_difference_around(gap):
    low, high = 0.6, 0.6 + gap
    up = compare([*curves_of("a", high), *curves_of("random", low)], metric="m").active[0].difference
    down = compare([*curves_of("a", low), *curves_of("random", high)], metric="m").active[0].difference
    assert up.per_seed == pytest.approx([-d for d in down.per_seed])
    assert (up.num_seeds_better, down.num_seeds_better) == (5, 0)


def test_a_t_test_of_pairs_is_the_textbook_one():
    differences = (0.01, 0.03, 0.02, 0.05)
    curves = [Curve("random", s, (1, 2), (0.5, 0.5)) for s in range(4)]
    curves += [Curve("a", s, (1, 2), (0.5 + d, 0.5 + d)) for s, d in enumerate(differences)]
    found = compare(curves, metric="m").active[0].difference
    assert found.p_value == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert found.p_adjusted == found.p_value


def test_a_wider_curve_is_cut_to_what_all_branches_cover():
    long = [Curve("a", s, (*LABELS, 500), (*[0.5] * 5, 0.99)) for s in range(2)]
    found = compare([*long, *curves_of("random", 0.7, seeds=range(2))], metric="m")
    assert (found.low_labels, found.high_labels) == (20, 100)
    assert found.active[0].final.mean == pytest.approx(0.5)


def test_full_data_without_a_number_is_refused():
    with pytest.raises(RecipeError, match="not a number"):
        compare(curves_of("random", 0.7), metric="m", full_data=(0.8, float("nan")))


def test_savings_can_be_repeated_from_their_seed():
    curves = [*curves_of("a", 0.9, spread=0.05), *curves_of("random", 0.7)]
    one, same, other = (compare(curves, metric="m", seed=s).active[0].savings[RANDOMS_FINAL] for s in (1, 1, 2))
    assert one == same
    assert one.point == other.point
