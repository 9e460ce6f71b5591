"""Norm layers, and batch norm that stays exact when a batch is cut into chunks.

In training every chunk is normalised by its own statistics. They travel with the chunk's
gradient and move the running ones once a step, by their mean over all chunks in order
(decision 0004), so that one worker or many reach the same network. `nn.BatchNorm` alone
would move them at every forward pass, on every worker otherwise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Norm = Literal["none", "batch", "instance", "group"]

_MAX_GROUPS = 8
_MIN_CHANNELS_PER_GROUP = 2
_MOMENTUM = 0.1
"""How far a step moves the running statistics; the first ones move further, or they would
hold what the layer was made with and not what it saw."""


def norm_layer(spatial_dims: int, num_channels: int, norm: Norm) -> nn.Module:
    """The layer behind a convolution of ``num_channels``."""
    match norm:
        case "none":
            return nn.Identity()
        case "batch":
            return (nn.BatchNorm2d if spatial_dims == 2 else nn.BatchNorm3d)(num_channels)
        case "instance":
            return (nn.InstanceNorm2d if spatial_dims == 2 else nn.InstanceNorm3d)(num_channels, affine=True)
        case "group":
            return nn.GroupNorm(_num_groups(num_channels), num_channels)


@contextmanager
def seen_statistics(network: nn.Module) -> Iterator[list[Tensor]]:
    """Fills the list, when the block ends, with the mean and variance that every batch norm saw in it.

    The network's own running statistics are as they were. A network without batch norm has none.
    """
    layers = _batch_norms(network)
    kept = [(layer.running_mean, layer.running_var, layer.num_batches_tracked, layer.momentum) for layer in layers]
    seen: list[Tensor] = []
    for layer in layers:
        # New tensors, because autograd holds on to those of the forward pass.
        layer.running_mean, layer.running_var = layer.running_mean.clone(), layer.running_var.clone()  # type: ignore[union-attr]
        layer.num_batches_tracked = torch.zeros_like(layer.num_batches_tracked)  # type: ignore[arg-type]
        layer.momentum = None  # the plain mean over the block's forward passes
    try:
        yield seen
        seen += [part.clone() for layer in layers for part in (layer.running_mean, layer.running_var)]  # type: ignore[union-attr]
    finally:
        for layer, (mean, variance, num, momentum) in zip(layers, kept, strict=True):
            layer.running_mean, layer.running_var, layer.num_batches_tracked = mean, variance, num
            layer.momentum = momentum


def take_statistics(network: nn.Module, seen: Tensor) -> None:
    """Move the running statistics towards ``seen``: what `seen_statistics` listed, as one vector."""
    place = 0
    for layer in _batch_norms(network):
        assert layer.num_batches_tracked is not None, "a batch norm with running statistics counts its steps"
        share = max(_MOMENTUM, 1 / (1 + int(layer.num_batches_tracked)))
        for running in (layer.running_mean, layer.running_var):
            assert running is not None, "only layers with running statistics are listed"
            running.lerp_(seen[place : place + running.numel()].to(running), share)
            place += running.numel()
        layer.num_batches_tracked += 1
    assert place == seen.numel(), "the statistics are this network's"


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]


def _num_groups(num_channels: int) -> int:
    # A group of one channel is instance norm, whose output has the same mean in every image:
    # the mean over space, which a classifier reads, would then say nothing.
    most = max(1, min(_MAX_GROUPS, num_channels // _MIN_CHANNELS_PER_GROUP))
    return next(n for n in range(most, 0, -1) if num_channels % n == 0)
