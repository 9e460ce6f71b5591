"""Chance: one stream for every place, and never the global one."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from hilum.nn.chance import generator

PLACES = st.lists(st.integers(0, 2**31), min_size=1, max_size=4)


def stream(*place):
    return torch.rand(8, generator=generator(*place)).tolist()


@given(PLACES)
def test_a_place_has_one_stream(place):
    assert stream(*place) == stream(*place)


@given(PLACES, PLACES)
def test_two_places_have_two_streams(one, other):
    # Trailing zeros name the same place for numpy's seeds, so both are written to one length.
    longest = max(len(one), len(other)) + 1
    one, other = ([*place, *[0] * (longest - 1 - len(place)), len(place)] for place in (one, other))
    assert (stream(*one) == stream(*other)) == (one == other)


def test_neighbouring_seeds_do_not_look_alike():
    numbers = torch.tensor([stream(seed, step) for seed in range(8) for step in range(8)])
    correlation = torch.corrcoef(numbers.T) - torch.eye(8)
    assert correlation.abs().max() < 0.5
    assert abs(numbers.mean().item() - 0.5) < 0.05


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    stream(1, 2, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
