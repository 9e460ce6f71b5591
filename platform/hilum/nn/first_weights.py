"""What random weights a network begins with, where a recipe asks for others than its architecture draws."""

import math
from typing import Literal

import torch
from torch import nn

from hilum.nn.chance import generator
from hilum.nn.heads import Network

FirstWeights = Literal["he", "xavier", "uniform"]

UNIFORM_LIMIT = 0.05
_CHANCE = 9
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def draw_first_weights(network: Network, rule: FirstWeights, *, seed: int) -> None:
    """Draw every convolution anew by ``rule``, in the network's order, its biases 0; 'he' leaves all as they are.

    'xavier' is uniform in ±√(6 / (fan-in + fan-out)), 'uniform' in ±0.05.
    """
    if rule == "he":
        return
    rng = generator(seed, _CHANCE)
    for layer in network.modules():
        if not isinstance(layer, _CONVOLUTIONS):
            continue
        limit = UNIFORM_LIMIT if rule == "uniform" else _glorot_limit(layer.weight)
        with torch.no_grad():
            layer.weight.copy_((torch.rand(layer.weight.shape, generator=rng) * 2 - 1) * limit)
            if layer.bias is not None:
                layer.bias.zero_()


def _glorot_limit(weight: torch.Tensor) -> float:
    """https://proceedings.mlr.press/v9/glorot10a.html; a transposed kernel swaps the two fans, whose sum stays."""
    one, other = weight.shape[:2]
    num_voxels = math.prod(weight.shape[2:])
    return math.sqrt(6 / ((one + other) * num_voxels))
