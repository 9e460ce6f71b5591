"""The learning rate: up, then as the recipe says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.recipes import FinetuneRecipe
from hilum.nn.schedule import chunks_of, learning_rate


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_the_learning_rate_rises_then_falls_to_nearly_nothing(schedule):
    recipe = FinetuneRecipe(num_steps=100, warm_up=0.2, learning_rate=1.0, schedule=schedule)
    rates = [learning_rate(recipe, step) for step in range(100)]
    assert rates[:20] == sorted(rates[:20])
    assert rates[19] == rates[20] == 1.0
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[-1] < 0.03


def test_a_constant_rate_rises_and_stays():
    recipe = FinetuneRecipe(num_steps=10, warm_up=0.2, learning_rate=1.0, schedule="constant")
    assert [learning_rate(recipe, step) for step in range(10)] == [0.5] + [1.0] * 9


def test_half_way_a_polynomial_is_at_the_power_of_a_half():
    recipe = FinetuneRecipe(num_steps=100, warm_up=0.0, learning_rate=1.0, schedule="poly")
    assert learning_rate(recipe, 50) == pytest.approx(0.5**0.9)


def test_without_warm_up_the_first_step_is_the_fastest():
    assert learning_rate(FinetuneRecipe(num_steps=1, warm_up=0.0, learning_rate=0.5), 0) == 0.5


@given(st.integers(1, 40), st.data())
def test_every_chunk_is_somebody_s_in_order_and_nobody_has_two_more_than_another(num_chunks, data):
    num_workers = data.draw(st.integers(1, num_chunks))
    shares = [chunks_of(num_chunks, rank=rank, num_workers=num_workers) for rank in range(num_workers)]
    assert [chunk for share in shares for chunk in share] == list(range(num_chunks))
    assert min(map(len, shares)) >= 1
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
