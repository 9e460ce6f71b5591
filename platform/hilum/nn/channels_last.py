"""Networks whose numbers lie channels last, as convolutions on processors read them: up to twice as fast.

PyTorch's own group norm sums carelessly over numbers that lie so (8e-5 off in a probability, where 3e-6 is usual), so
it is written out here: means of rows by a matrix product, then means of those. Of one image alone it sends 3D
convolutions to a way several times as slow, so that oneDNN is called by its name.
"""

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hilum.nn.exact_norms import replace_layers

_FEW = 1 << 16
Module = TypeVar("Module", bound=nn.Module)


class GroupNormOfRows(nn.Module):
    """What a GroupNorm computes, of numbers that lie channels last: (N, C, S) in, the same out.

    Few numbers are sooner laid out otherwise and back than their rows are counted.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.num_groups, self.eps = norm.num_groups, norm.eps

    def forward(self, features_NCS: Tensor) -> Tensor:
        if features_NCS.numel() <= _FEW:
            apart = functional.group_norm(features_NCS.contiguous(), self.num_groups, self.weight, self.bias, self.eps)
            return apart.contiguous(memory_format=layout(features_NCS.ndim - 2))
        centred = features_NCS - self._mean(features_NCS)
        over_channels = (1, -1, *[1] * (features_NCS.ndim - 2))
        scale = self.weight.view(over_channels) * torch.rsqrt(self._mean(centred * centred) + self.eps)
        return torch.addcmul(self.bias.view(over_channels), centred, scale)

    def _mean(self, features_NCS: Tensor) -> Tensor:
        """The mean over a channel's group and all of space, one for each channel."""
        num, channels, *space = features_NCS.shape
        rows_NRXC = features_NCS.movedim(1, -1).reshape(num, -1, space[-1], channels)
        weights_1X = features_NCS.new_full((1, space[-1]), 1 / space[-1])
        means_NC = torch.matmul(weights_1X, rows_NRXC).mean(dim=(1, 2))
        groups_NG = means_NC.view(num, self.num_groups, -1).mean(dim=2)
        of_channels: Tensor = groups_NG.repeat_interleave(channels // self.num_groups, dim=1)
        return of_channels.view(num, channels, *[1] * len(space))


class DirectConv3d(nn.Module):
    """What a Conv3d computes on a processor, always by oneDNN."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self._how = convolution.padding, convolution.stride, convolution.dilation, convolution.groups

    def forward(self, images_NCZYX: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            padding, stride, dilation, groups = self._how
            return functional.conv3d(images_NCZYX, self.weight, self.bias, stride, padding, dilation, groups)
        answered: Tensor = torch.ops.aten.mkldnn_convolution(images_NCZYX, self.weight, self.bias, *self._how)
        return answered


def _direct(convolution: nn.Module) -> nn.Module:
    convolution = cast(nn.Conv3d, convolution)
    is_plain = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return DirectConv3d(convolution) if is_plain else convolution


def channels_last(network: Module, spatial_dims: int) -> Module:
    """A copy of the network that lies so."""
    copied = copy.deepcopy(network)
    replace_layers(copied, (nn.GroupNorm,), lambda norm: GroupNormOfRows(cast(nn.GroupNorm, norm)))
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if has_onednn and not torch.cuda.is_available():
        replace_layers(copied, (nn.Conv3d,), _direct)
    return copied.to(memory_format=layout(spatial_dims))  # type: ignore[call-overload, no-any-return]  # stubs: 2D alone


def layout(spatial_dims: int) -> torch.memory_format:
    """How images lie for it."""
    return torch.channels_last_3d if spatial_dims == 3 else torch.channels_last
