"""Nesterov's momentum: torch's own rule, on one vector."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.nn.sgd import Sgd


@settings(max_examples=10)
@given(st.integers(0, 1000), st.floats(1e-5, 1e-1), st.floats(0, 0.1))
def test_it_moves_weights_as_torch_s_does(seed, learning_rate, weight_decay):
    rng = torch.Generator().manual_seed(seed)
    start = torch.randn(20, generator=rng)
    gradients = [torch.randn(20, generator=rng) for _ in range(8)]
    ours, theirs = start.clone(), start.clone()
    optimizer = Sgd(ours, weight_decay=weight_decay)
    reference = torch.optim.SGD(
        [theirs], lr=learning_rate, momentum=0.99, nesterov=True, weight_decay=weight_decay, foreach=False
    )
    for gradient in gradients:
        optimizer.step(gradient, learning_rate=learning_rate)
        theirs.grad = gradient.clone()
        reference.step()
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_left_as_it_was():
    gradient = torch.arange(4.0)
    Sgd(torch.ones(4), weight_decay=0.1).step(gradient, learning_rate=1.0)
    assert torch.equal(gradient, torch.arange(4.0))


def test_it_keeps_rolling_when_the_slope_ends():
    vector = torch.zeros(1)
    optimizer = Sgd(vector, weight_decay=0.0)
    optimizer.step(torch.ones(1), learning_rate=0.1)
    before = float(vector)
    optimizer.step(torch.zeros(1), learning_rate=0.1)
    assert float(vector) < before
