"""Group and instance norm written out in means of one axis at a time, for runtimes that add up carelessly.

onnxruntime sums a whole group in float32 in one go: on images of 520 × 696 pixels its answers are 1e-4 away from
float64's, where means of rows, and then means of those, are as close as PyTorch's.
"""

import copy
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
Norm = nn.GroupNorm | nn.InstanceNorm2d | nn.InstanceNorm3d
_OURS = (nn.GroupNorm, nn.InstanceNorm2d, nn.InstanceNorm3d)  # and not what is derived from them and does more


class NormOfMeans(nn.Module):
    """What ``norm`` computes: (N, C, S) in, the same out."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.num_groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else norm.num_features

    def forward(self, features_NCS: Tensor) -> Tensor:
        grouped = features_NCS.reshape(features_NCS.shape[0], self.num_groups, -1, *features_NCS.shape[2:])
        centred = grouped - _mean(grouped)
        scale = torch.rsqrt(_mean(centred * centred) + self.eps)
        channels = (self.num_groups, -1, *[1] * (features_NCS.ndim - 2))
        weight, bias = self.weight.reshape(channels), self.bias.reshape(channels)
        answer: Tensor = (centred * (scale * weight) + bias).flatten(1, 2)
        return answer


def with_exact_norms(network: Module) -> Module:
    """A copy of the network whose group and instance norms add up axis by axis. Batch norm adds up nothing."""
    copied = copy.deepcopy(network)
    replace_layers(copied, _OURS, lambda norm: NormOfMeans(cast(Norm, norm)))
    return copied


def replace_layers(
    network: nn.Module, kinds: tuple[type[nn.Module], ...], make: Callable[[nn.Module], nn.Module]
) -> None:
    """Put what ``make`` makes of it in the place of every layer of these very kinds."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) in kinds:
                setattr(parent, name, make(child))


def _mean(grouped: Tensor) -> Tensor:
    """The mean over a group's channels and all of space, kept as axes of one, the last axis first."""
    for axis in range(grouped.ndim - 1, 1, -1):
        grouped = grouped.mean(dim=axis, keepdim=True)
    return grouped
