"""When a training stops: after so many checks that are not better than the best."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.recipes import EarlyStopRecipe
from hilum.nn.early_stop import best_check, has_stopped

LOSSES = st.lists(st.floats(0, 10), min_size=1, max_size=20)


@given(LOSSES)
def test_without_a_least_gain_the_best_check_is_the_first_of_the_lowest_losses(losses):
    assert best_check(losses, min_gain=0.0) == losses.index(min(losses))


@given(LOSSES, st.floats(0, 5))
def test_no_check_is_better_than_the_best_by_more_than_the_gain(losses, gain):
    best = best_check(losses, min_gain=gain)
    assert all(loss >= losses[best] - gain for loss in losses)


@given(LOSSES, st.integers(1, 5))
def test_a_training_that_gets_better_at_every_check_goes_on(losses, patience):
    falling = [float(place) for place in range(len(losses), 0, -1)]
    assert not has_stopped(falling, EarlyStopRecipe(patience_checks=patience))


@pytest.mark.parametrize(
    ("losses", "stopped"),
    [([], False), ([1.0], False), ([1.0, 2.0], False), ([1.0, 2.0, 3.0], True), ([3.0, 2.0, 2.5, 1.0], False)],
)
def test_patience_of_two_checks_ends_with_the_second_that_is_no_better(losses, stopped):
    assert has_stopped(losses, EarlyStopRecipe(patience_checks=2)) == stopped


def test_a_gain_that_is_too_small_does_not_count():
    losses = [1.0, 0.95, 0.92]
    assert has_stopped(losses, EarlyStopRecipe(patience_checks=2, min_gain=0.1))
    assert not has_stopped(losses, EarlyStopRecipe(patience_checks=2, min_gain=0.01))
