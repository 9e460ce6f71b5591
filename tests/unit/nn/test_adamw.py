"""AdamW: torch's own rule, on one vector, without torch's compiler."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.nn.adamw import AdamW


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-5, 1e-1), st.floats(0, 0.1))
def test_it_moves_weights_as_torch_s_does(seed, learning_rate, weight_decay):
    rng = torch.Generator().manual_seed(seed)
    start = torch.randn(20, generator=rng)
    gradients = [torch.randn(20, generator=rng) for _ in range(8)]
    ours, theirs = start.clone(), start.clone()
    optimizer = AdamW(ours, weight_decay=weight_decay)
    reference = torch.optim.AdamW([theirs], lr=learning_rate, weight_decay=weight_decay, foreach=False)
    for gradient in gradients:
        optimizer.step(gradient, learning_rate=learning_rate)
        theirs.grad = gradient.clone()
        reference.step()
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert optimizer.num_steps == 8


def test_windows_on_the_vector_move_with_it():
    vector = torch.ones(6)
    window = vector[2:4].view(1, 2)
    AdamW(vector, weight_decay=0.0).step(torch.ones(6), learning_rate=0.1)
    assert torch.allclose(window, torch.full((1, 2), 0.9))


def test_a_gradient_of_nothing_moves_nothing_but_what_decays():
    vector = torch.ones(3)
    optimizer = AdamW(vector, weight_decay=0.5)
    optimizer.step(torch.zeros(3), learning_rate=0.1)
    assert torch.allclose(vector, torch.full((3,), 0.95))


def test_the_gradient_is_left_as_it_was():
    gradient = torch.arange(4.0)
    AdamW(torch.zeros(4), weight_decay=0.1).step(gradient, learning_rate=1.0)
    assert torch.equal(gradient, torch.arange(4.0))


def test_it_finds_the_bottom_of_a_bowl():
    vector = torch.tensor([3.0, -2.0])
    optimizer = AdamW(vector, weight_decay=0.0)
    for _ in range(400):
        optimizer.step(2 * (vector - 1), learning_rate=0.05)
    assert vector.tolist() == pytest.approx([1.0, 1.0], abs=1e-2)


def test_training_does_not_load_torch_s_compiler():
    program = (
        "import sys, torch\n"
        "from hilum.nn import train_loop\n"
        "from hilum.nn.adamw import AdamW\n"
        "AdamW(torch.ones(2), weight_decay=0.0).step(torch.ones(2), learning_rate=0.1)\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
