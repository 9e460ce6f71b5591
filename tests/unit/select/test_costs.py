"""How long a question takes: learnt from told times, and never more than is there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.select.costs import LEAST_SECONDS, Rates, learnt, per_second, terms, within

PRIOR = Rates(5.0, 2.0, 1.0)
TRUE = Rates(12.0, 1.5, 4.0)


def questions(num, seed=0):
    """Terms of questions of 1 to 40 slices, with none to 20,000 outlined voxels."""
    rng = np.random.default_rng(seed)
    shapes = np.column_stack([rng.integers(1, 41, num), np.full((num, 2), 32)])
    return terms(shapes, rng.integers(0, 20_000, num) * (rng.random(num) < 0.7))


def rates_of(found):
    return np.array([found.opening_seconds, found.seconds_per_slice, found.seconds_per_1000_voxels])


def test_exact_times_give_the_rates_that_made_them():
    terms_NT = questions(30)
    found = learnt(PRIOR, terms_NT, TRUE.seconds(terms_NT), min_times=20)
    assert found.num_times == 30
    assert rates_of(found) == pytest.approx(rates_of(TRUE), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_noisy_times_with_coffee_breaks_give_nearly_the_same_seconds(seed):
    rng = np.random.default_rng(seed)
    terms_NT = questions(300, seed)
    told_N = TRUE.seconds(terms_NT) * np.exp(rng.normal(0, 0.2, 300))
    told_N[rng.random(300) < 0.05] *= 20
    found = learnt(PRIOR, terms_NT, told_N, min_times=20)
    new = questions(200, seed + 100)
    assert np.median(np.abs(found.seconds(new) / TRUE.seconds(new) - 1)) < 0.08


def test_too_few_times_leave_what_the_recipe_says():
    terms_NT = questions(30)
    told_N = TRUE.seconds(terms_NT)
    told_N[19:] = 0
    assert learnt(PRIOR, terms_NT, told_N, min_times=20) == PRIOR
    told_N[19] = 1.0
    assert learnt(PRIOR, terms_NT, told_N, min_times=20).num_times == 20


def test_what_equal_questions_cannot_tell_apart_is_shared_out_as_in_the_recipe():
    terms_NT = terms(np.tile([1, 16, 16], (25, 1)), np.zeros(25))
    found = learnt(PRIOR, terms_NT, np.full(25, 14.0), min_times=20)
    assert found.opening_seconds + found.seconds_per_slice == pytest.approx(14.0, rel=1e-3)
    assert found.seconds_per_1000_voxels == pytest.approx(PRIOR.seconds_per_1000_voxels)
    assert found.opening_seconds > PRIOR.opening_seconds
    assert found.seconds_per_slice > PRIOR.seconds_per_slice


@given(st.integers(0, 2**32 - 1), st.integers(20, 60))
def test_no_rate_is_below_0_and_the_order_of_answers_does_not_matter(seed, num):
    rng = np.random.default_rng(seed)
    terms_NT, told_N = questions(num, seed), rng.lognormal(3, 1.5, num)
    found = learnt(PRIOR, terms_NT, told_N, min_times=20)
    assert rates_of(found).min() >= 0
    order = rng.permutation(num)
    again = learnt(PRIOR, terms_NT[order], told_N[order], min_times=20)
    assert again.seconds(terms_NT) == pytest.approx(found.seconds(terms_NT), rel=1e-3)
    assert found.seconds(terms_NT).min() >= LEAST_SECONDS


def test_a_patch_that_is_thin_along_any_axis_is_one_slice():
    shapes = np.array([[1, 9, 9], [9, 1, 9], [9, 9, 1], [9, 4, 4]])
    assert terms(shapes, np.array([0.0, 0, 0, 500])).tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 0], [1, 9, 0.5]]


def test_every_score_is_there_as_it_was_and_for_each_second():
    scores = per_second({"margin": np.array([1.0, 1.0], np.float32)}, np.array([2.0, 4.0]))
    assert {name: values.tolist() for name, values in scores.items()} == {
        "margin": [1.0, 1.0],
        "margin_per_second": [0.5, 0.25],
    }


def test_each_arm_has_its_share_of_the_seconds():
    arms = ["top", "top", "top", "random", "random"]
    # Without shares the first two would take all of it.
    assert within([50, 50, 50, 20, 20], arms, {"top": 0.8, "random": 0.2}, 100) == [0, 3, 4]


def test_what_does_not_fit_is_passed_over_and_what_is_left_over_is_spent():
    assert within([90, 30, 30, 10], ["top", "top", "top", "random"], {"top": 0.5, "random": 0.5}, 100) == [1, 2, 3]


def test_one_question_is_asked_however_long_it_takes():
    assert within([90, 80], ["top", "top"], {"top": 1.0}, 10) == [0]
    assert within([], [], {"top": 1.0}, 10) == []


@given(st.lists(st.floats(1, 100), max_size=20), st.floats(1, 500), st.integers(0, 3))
def test_more_than_the_seconds_are_never_spent(seconds, most, num_at_random):
    arms = ["top"] * max(0, len(seconds) - num_at_random) + ["random"] * min(num_at_random, len(seconds))
    kept = within(seconds, arms, {"top": 0.7, "random": 0.3}, most)
    assert kept == sorted(set(kept))
    assert len(kept) == 1 or sum(seconds[place] for place in kept) <= most + 1e-6
