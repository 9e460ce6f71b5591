"""The sentences: who won, also when random did and when nobody can tell."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.loop.comparison import compare
from hilum.loop.curves import UNKNOWN, Curve, Interval, Range, Saving
from hilum.loop.findings import (
    findings,
    labels_text,
    metric_title,
    range_text,
    saving_text,
    signed,
    signed_interval,
)

LABELS = (20, 40, 60, 80, 100)


def curves_of(strategy, values, *, num_seeds=5, spread=0.004):
    rng = np.random.default_rng(len(strategy))
    return [
        Curve(strategy, s, LABELS, tuple(float(v) for v in np.asarray(values) + rng.normal(0, spread, 5)))
        for s in range(num_seeds)
    ]


RANDOM = curves_of("random", (0.4, 0.5, 0.56, 0.6, 0.62))


def read(*curves, **options):
    return findings(compare([c for group in curves for c in group], metric="balanced_accuracy", **options))


def test_a_clear_winner_is_named_with_its_saving_and_interval():
    found = read(curves_of("margin", (0.5, 0.62, 0.7, 0.74, 0.76)), RANDOM)
    assert (found.verdict, found.winner) == ("active", "margin")
    assert re.fullmatch(
        "“margin” won: to be as good as random was at the end of its budget, it needed \\d\\d\xa0% "
        "of random's labels \\(95\xa0% interval \\d\\d–\\d\\d\xa0%\\)\\.",
        found.headline,
    )


def test_random_is_said_to_have_won_when_it_did():
    found = read(curves_of("entropy", (0.3, 0.4, 0.46, 0.5, 0.52)), RANDOM)
    assert (found.verdict, found.winner) == ("random", "random")
    assert found.headline.startswith("Random won: even the best other strategy, “entropy”, did worse (−0.1")
    assert any("did not reach random's final score" in s for s in found.sentences)
    assert any("is no number" in c for c in found.cautions)


AT_CHANCE = (0.5, 0.51, 0.49, 0.5, 0.5)


def test_models_that_only_guess_say_nothing_about_strategies():
    found = read(curves_of("margin", AT_CHANCE), curves_of("random", AT_CHANCE), chance=0.5)
    assert (found.verdict, found.winner) == ("untold", None)
    assert found.headline.startswith("No model learnt anything, so nothing can be said of the strategies")
    assert "without looking at the image it would be 0.500" in found.headline
    assert not any("random" in sentence for sentence in found.sentences)


def test_one_model_that_learnt_is_enough_to_speak_of_strategies():
    full = read(
        curves_of("margin", AT_CHANCE), curves_of("random", AT_CHANCE), chance=0.5, full_data=(0.7,), num_full_labels=9
    )
    assert full.verdict == "unclear"
    assert read(curves_of("margin", (0.5, 0.5, 0.6, 0.7, 0.8)), RANDOM, chance=0.5).verdict != "untold"


def test_a_difference_within_chance_has_no_winner():
    found = read(curves_of("margin", (0.4, 0.5, 0.56, 0.6, 0.62), spread=0.05), RANDOM)
    assert (found.verdict, found.winner) == ("unclear", None)
    assert found.headline.startswith("No winner: 5 seeds cannot tell “margin” from random.")


def test_one_seed_tells_nothing_however_large_the_difference():
    found = read(curves_of("margin", (0.9,) * 5, num_seeds=1), curves_of("random", (0.1,) * 5, num_seeds=1))
    assert (found.verdict, found.winner) == ("untold", None)
    assert "One seed cannot tell who won" in found.headline
    assert any("1 seed is few" in c for c in found.cautions)


def test_random_alone_is_compared_with_nothing():
    found = read(RANDOM)
    assert found.verdict == "untold"
    assert found.headline == "Only random was run, so there is nothing to compare it with."


def test_few_seeds_are_a_caution_and_five_are_not():
    few = read(curves_of("margin", (0.9,) * 5, num_seeds=3), RANDOM[:3])
    assert any(c.startswith("3 seeds are few") for c in few.cautions)
    enough = read(curves_of("margin", (0.9,) * 5), RANDOM)
    assert not any("few" in c for c in enough.cautions)


def test_one_good_and_one_bad_strategy_are_each_called_by_their_name():
    found = read(
        curves_of("margin", (0.5, 0.62, 0.7, 0.74, 0.76)), curves_of("worst", (0.3, 0.4, 0.46, 0.5, 0.52)), RANDOM
    )
    assert found.winner == "margin"
    assert any(s.startswith("“margin” was better than random") for s in found.sentences)
    assert any(s.startswith("“worst” was worse than random") for s in found.sentences)
    assert any("corrected for that (Holm)" in c for c in found.cautions)


def test_trying_many_strategies_makes_a_lucky_one_unsure():
    # One difference that alone would be judged clear, among nine that are nothing.
    lucky = [Curve("lucky", s, (10, 20), (v, v)) for s, v in enumerate((0.52, 0.53, 0.55, 0.505, 0.535))]
    base = [Curve("random", s, (10, 20), (0.5, 0.5)) for s in range(5)]
    idle = [Curve(f"idle{k}", s, (10, 20), (0.5 + (-1) ** (s + k) * 0.01,) * 2) for k in range(9) for s in range(5)]
    alone, among = read(lucky, base), read(lucky, idle, base)
    assert alone.verdict == "active"
    assert among.verdict == "unclear"
    assert any("look good by luck" in s for s in among.sentences)


def test_a_strategy_that_starts_behind_and_ends_ahead_is_told_so():
    found = read(curves_of("margin", (0.3, 0.5, 0.6, 0.7, 0.75)), RANDOM)
    assert any("began behind random" in s and "ended ahead" in s for s in found.sentences)


def test_a_strategy_that_starts_ahead_and_ends_behind_is_told_so():
    found = read(curves_of("typical", (0.6, 0.6, 0.6, 0.58, 0.55)), RANDOM)
    assert any("began ahead of random" in s and "ended behind" in s for s in found.sentences)


def test_full_data_is_set_beside_what_each_strategy_needed():
    found = read(
        curves_of("margin", (0.5, 0.62, 0.7, 0.74, 0.76)), RANDOM, full_data=[0.76, 0.78], num_full_labels=2190
    )
    told = " ".join(found.sentences)
    assert "With all 2,190 labels of the pool the same training reaches 0.770 balanced accuracy." in told
    assert re.search(
        r"“margin” reached 95\xa0% of that after \d+ labels; “random” did not reach it within 100 labels\.", told
    )


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), min_size=2, max_size=8),
    st.lists(st.floats(0.01, 1), max_size=3),
)
def test_any_curves_can_be_read_out_loud(rows, full_data):
    half = len(rows) // 2
    made = [Curve("margin", s, LABELS, tuple(r)) for s, r in enumerate(rows[:half])]
    made += [Curve("random", s, LABELS, tuple(r)) for s, r in enumerate(rows[half:])]
    found = read(made, full_data=full_data, num_full_labels=10)
    told = [found.headline, *found.sentences, *found.cautions]
    assert all(s.endswith(".") and "nan" not in s and "inf" not in s and "None" not in s for s in told)


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 5), min_size=3, max_size=6))
def test_a_winner_is_never_named_while_its_interval_covers_zero(rows):
    made = [Curve("margin", s, LABELS, r) for s, r in enumerate(rows)]
    comparison = compare([*made, *RANDOM], metric="m")
    interval = comparison.active[0].difference.interval
    if not interval.excludes_zero:
        assert findings(comparison).winner is None


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (Range(0.41, 0.41), "41 %"),
        (Range(0.32, 0.55), "32–55 %"),
        (Range(0.0, 0.6), "at most 60 %"),
        (Range(1.2, math.inf), "at least 120 %"),
        (UNKNOWN, "unknown"),
    ],
)
def test_a_range_says_what_is_known_and_no_more(span, text):
    assert range_text(span).replace("\xa0", " ") == text
    assert saving_text(Saving(span, UNKNOWN)) == range_text(span)


def test_labels_are_whole_and_never_rounded_in_our_favour():
    assert labels_text(83.2) == "84 labels"
    assert labels_text(84.0) == "84 labels"
    assert labels_text(None) == "not reached"


def test_signs_are_always_shown():
    assert (signed(0.0312), signed(-0.0312)) == ("+0.031", "−0.031")
    assert signed_interval(Interval(0.1, None, None, 1)) == "+0.100 (one seed: no interval)"


def test_a_metric_is_called_what_people_call_it():
    assert metric_title("balanced_accuracy") == "balanced accuracy"
    assert metric_title("surface_dice") == "surface dice"
