"""The running mean of weights: follows closely at first, slowly later."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.nn.averaging import RunningMean


def test_what_never_moves_is_its_own_mean():
    weights = torch.arange(3.0)
    average = RunningMean(weights, decay=0.9)
    for step in range(1, 20):
        average.follow(weights, num_steps=step)
    assert torch.equal(average.mean, weights)


@given(st.floats(0.01, 0.999), st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_mean_lies_within_all_that_was_seen(decay, values):
    average = RunningMean(torch.tensor([values[0]]), decay=decay)
    for step, value in enumerate(values, start=1):
        average.follow(torch.tensor([value]), num_steps=step)
    assert min(values) - 1e-5 <= float(average.mean) <= max(values) + 1e-5


def test_the_first_weights_are_soon_forgotten_and_late_ones_move_it_by_what_the_decay_leaves():
    average = RunningMean(torch.zeros(1), decay=0.99)
    average.follow(torch.ones(1), num_steps=1)
    assert float(average.mean) == pytest.approx(1 - 2 / 11)
    before = float(average.mean)
    average.follow(torch.full((1,), before + 1), num_steps=100_000)
    assert float(average.mean) == pytest.approx(before + 0.01)


def test_the_weights_that_it_started_from_may_move_without_it():
    weights = torch.zeros(2)
    average = RunningMean(weights, decay=0.5)
    weights += 1
    assert torch.equal(average.mean, torch.zeros(2))
