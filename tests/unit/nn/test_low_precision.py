"""Layers in bfloat16: nearly the same answers, and the same bits every time."""

import pytest
import torch
from torch import nn

from hilum.core.recipes import Choice
from hilum.nn.heads import build_network
from hilum.nn.low_precision import autocast

CPU = torch.device("cpu")
THIN = [(1, 3, 3), (2, 1, 1), (2, 2, 2), (2, 6, 6), (2, 16, 16), (3, 3, 3), (4, 4, 4), (8, 4, 4)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rng():
    return torch.Generator().manual_seed(0)


def spoil_free_memory():
    """Whoever reads memory that it did not write finds no number there."""
    spoilt = [torch.full((size,), float("nan")) for size in (100, 1_000, 10_000, 100_000, 500_000) for _ in range(4)]
    del spoilt


def gradients_of(network, images):
    network.zero_grad()
    with autocast(CPU, low=True):
        answer = network(images)
    answer.float().pow(2).mean().backward()
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("space", THIN)
@pytest.mark.parametrize("channels", [(8, 16), (64, 64)])
def test_a_thin_block_has_the_same_gradient_whatever_lay_in_memory(space, channels):
    convolution = nn.Conv3d(*channels, 3, padding=1)
    images = torch.randn(2, channels[0], *space, generator=rng())
    first = gradients_of(convolution, images)
    for _ in range(4):
        spoil_free_memory()
        assert all(torch.equal(a, b) for a, b in zip(first, gradients_of(convolution, images), strict=True))
    assert all(torch.isfinite(gradient).all() for gradient in first)


@pytest.mark.parametrize("kind", ["unet", "unetpp"])
def test_a_whole_network_has_the_same_gradient_every_time(kind):
    architecture = Choice(kind=kind, depth=3, features=(8, 8, 16, 16))
    network = build_network("segment", architecture, spatial_dims=3, in_channels=1, num_classes=2).train()
    images = torch.rand(1, 1, 8, 24, 24, generator=rng())
    first = gradients_of(network, images)
    for _ in range(4):
        spoil_free_memory()
        assert all(torch.equal(a, b) for a, b in zip(first, gradients_of(network, images), strict=True))


def test_layers_compute_in_bfloat16_where_it_is_asked_for_and_nowhere_else():
    convolution, images = nn.Conv3d(2, 4, 3, padding=1), torch.rand(1, 2, 4, 4, 4)
    with autocast(CPU, low=True):
        assert convolution(images).dtype == torch.bfloat16
        assert nn.Conv2d(2, 4, 3)(images[:, :, 0]).dtype == torch.bfloat16
        assert convolution(images[:, :, :2]).dtype == torch.float32
    with autocast(CPU, low=False):
        assert convolution(images).dtype == torch.float32
    assert convolution(images).dtype == torch.float32


def test_bfloat16_answers_nearly_as_float32():
    network = build_network(
        "segment", Choice(kind="unetpp", depth=2, features=(8, 8, 16)), spatial_dims=3, in_channels=1, num_classes=2
    )
    images = torch.rand(1, 1, 8, 8, 8, generator=rng())
    with torch.inference_mode():
        exact = network.eval()(images)
        with autocast(CPU, low=True):
            low = network(images)
    assert torch.allclose(low.float(), exact, atol=0.1)
    assert not torch.equal(low.float(), exact)
