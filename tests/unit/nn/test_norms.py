"""Norms; above all what batch norms see of a chunk, which moves them once a step and in no other way."""

import pytest
import torch
from torch import nn

from hilum.nn.norms import norm_layer, seen_statistics, take_statistics


def layers(num=2):
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Sequential(nn.Conv2d(3, 3, 1), norm_layer(2, 3, "batch")) for _ in range(num)]).train()


def images(seed, num=5):
    return 2 + 3 * torch.randn(num, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def buffers(network):
    return {name: tensor.clone() for name, tensor in network.named_buffers()}


def test_every_norm_keeps_the_shape():
    for spatial_dims in (2, 3):
        features = torch.rand(2, 6, *[4] * spatial_dims)
        for norm in ("none", "batch", "instance", "group"):
            assert norm_layer(spatial_dims, 6, norm)(features).shape == features.shape


def test_a_block_shows_the_mean_and_variance_of_what_passed():
    layer = norm_layer(2, 3, "batch")
    with seen_statistics(layer) as seen:
        layer(images(0))
    mean, variance = seen
    by_channel = images(0).transpose(0, 1).flatten(1)
    assert torch.allclose(mean, by_channel.mean(dim=1), atol=1e-5)
    assert torch.allclose(variance, by_channel.var(dim=1), atol=1e-4)


def test_two_passes_are_seen_as_their_mean():
    layer = norm_layer(2, 3, "batch")
    with seen_statistics(layer) as one:
        layer(images(0))
    with seen_statistics(layer) as other:
        layer(images(1))
    with seen_statistics(layer) as both:
        layer(images(0))
        layer(images(1))
    for a, b, mean in zip(one, other, both, strict=True):
        assert torch.allclose((a + b) / 2, mean, atol=1e-5)


def test_looking_moves_nothing():
    network = layers()
    before = buffers(network)
    with seen_statistics(network):
        network(images(0)).sum().backward()
    assert buffers(network).keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in buffers(network).items())


def test_a_pass_that_fails_moves_nothing():
    network = layers()
    before = buffers(network)
    with pytest.raises(RuntimeError), seen_statistics(network):
        network(torch.rand(2, 7, 4, 4))
    assert all(torch.equal(tensor, before[name]) for name, tensor in buffers(network).items())
    assert all(layer[1].momentum == 0.1 for layer in network)


def test_gradients_are_those_of_plain_batch_norm():
    network, plain = layers(), layers()
    with seen_statistics(network):
        value = network(images(0)).square().sum()
    value.backward()
    plain(images(0)).square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(network.parameters(), plain.parameters(), strict=True))


def step(network, *seeds):
    """One step over chunks, as the training loop does it."""
    total = None
    for seed in seeds:
        with seen_statistics(network) as seen:
            network(images(seed))
        total = torch.cat(seen) if total is None else total + torch.cat(seen)
    take_statistics(network, total / len(seeds))


def test_the_first_step_takes_what_was_seen_and_later_ones_move_towards_it():
    layer = norm_layer(2, 3, "batch").train()
    step(layer, 0)
    first = layer.running_mean.clone()
    assert torch.allclose(first, images(0).mean(dim=(0, 2, 3)), atol=1e-5)
    for _ in range(200):
        step(layer, 1)
    assert torch.allclose(layer.running_mean, images(1).mean(dim=(0, 2, 3)), atol=1e-4)
    assert int(layer.num_batches_tracked) == 201


def test_a_long_trained_layer_moves_by_a_tenth():
    layer = norm_layer(2, 3, "batch").train()
    layer.num_batches_tracked += 1000
    step(layer, 0)
    assert torch.allclose(layer.running_mean, 0.1 * images(0).mean(dim=(0, 2, 3)), atol=1e-6)


def test_in_evaluation_an_item_is_normalised_by_what_training_saw():
    network = layers()
    step(network, 0, 1)
    network.eval()
    seen = images(2)
    before = buffers(network)
    answer = network(seen)[:1]
    seen[1:] = 100.0
    assert torch.equal(network(seen)[:1], answer)
    assert all(torch.equal(tensor, before[name]) for name, tensor in buffers(network).items())


def test_a_layer_that_nothing_passed_stays_as_it_was():
    network = layers(2)
    step(network[0], 0)
    step(network[1], 1)
    before = buffers(network)
    with seen_statistics(network) as seen:
        pass
    take_statistics(network, torch.cat(seen))
    after = buffers(network)
    assert all(torch.equal(after[name], before[name]) for name in after if "running" in name)


def test_a_network_without_batch_norm_shows_nothing():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), norm_layer(2, 3, "group"), norm_layer(2, 3, "instance"))
    with seen_statistics(network) as seen:
        network(images(0))
    assert seen == []
    take_statistics(network, torch.zeros(0))


def test_statistics_of_another_network_are_noticed():
    with pytest.raises(AssertionError, match="this network's"):
        take_statistics(layers(1), torch.zeros(7))
