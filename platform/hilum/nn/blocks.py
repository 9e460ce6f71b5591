"""What every network here is made of: convolution blocks, an encoder, up-sampling, dropout.

Shape letters: N = items, C = channels, S = space (Y, X or Z, Y, X). No layer looks at
another item of the batch: there is no batch norm, so an answer never depends on its neighbours.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from hilum.core.registry import Params
from hilum.nn.traced import crop_traced, pad_traced

Norm = Literal["none", "instance", "group"]
Activation = Literal["relu", "leaky_relu", "elu"]
Up = Literal["transposed", "linear"]

_MAX_GROUPS = 8
_MIN_CHANNELS_PER_GROUP = 2


class NetworkParams(Params):
    """What the U-Net family shares.

    ``depth`` counts the poolings; ``features`` holds the channels of every level from full
    resolution down, of which the first ``depth + 1`` are used. ``input_stride`` 2 lets the
    first convolution halve the resolution, and is about four times as fast. ``dropout`` drops
    channels after every convolution, ``head_dropout`` only before a classifier's last layer:
    the first starves a network as small as a campaign's first ones.
    """

    depth: int = Field(default=3, ge=1, le=4)
    features: tuple[int, ...] = (16, 32, 64, 128, 256)
    norm: Norm = "group"
    activation: Activation = "leaky_relu"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    head_dropout: float = Field(default=0.0, ge=0, lt=1)
    up: Up = "transposed"
    input_stride: Literal[1, 2] = 1

    @model_validator(mode="after")
    def _there_are_features_for_every_level(self) -> "NetworkParams":
        if len(self.features) <= self.depth or min(self.features) < 1:
            raise ValueError(
                f"depth {self.depth} needs {self.depth + 1} positive numbers of features; given {list(self.features)}"
            )
        return self


class ChannelDropout(nn.Module):
    """Drops whole channels, with masks from a generator it is given: never from a global.

    In training every item has its own mask. In evaluation it does nothing, unless
    `draw_dropout_from` lends a generator: then all items share one mask, so that a member
    is one sub-network whatever the batch (https://arxiv.org/abs/1906.08158).
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.rng: torch.Generator | None = None

    def forward(self, images_NCS: Tensor) -> Tensor:
        if self.share == 0 or (self.rng is None and not self.training):
            return images_NCS
        assert self.rng is not None, "give the network a generator (draw_dropout_from) before training it"
        num_masks = images_NCS.shape[0] if self.training else 1
        kept = torch.rand(num_masks, images_NCS.shape[1], generator=self.rng) >= self.share
        mask = kept.to(images_NCS) / (1 - self.share)
        return images_NCS * mask.reshape(*mask.shape, *[1] * (images_NCS.ndim - 2))


def draw_dropout_from(network: nn.Module, rng: torch.Generator | None) -> int:
    """Lend ``rng`` (on the CPU) to every dropout layer, or take it back; returns how many really drop."""
    layers = [layer for layer in network.modules() if isinstance(layer, ChannelDropout)]
    for layer in layers:
        layer.rng = rng
    return sum(layer.share > 0 for layer in layers)


class ConvBlock(nn.Sequential):
    """Twice: convolution of 3 voxels a side, norm, activation, dropout."""

    def __init__(self, spatial_dims: int, num_in: int, num_out: int, params: NetworkParams, stride: int = 1) -> None:
        layers: list[nn.Module] = []
        for channels, step in ((num_in, stride), (num_out, 1)):
            layers += [
                _convolution(spatial_dims, channels, num_out, kernel=3, stride=step),
                _norm(spatial_dims, num_out, params.norm),
                _activation(params.activation),
                ChannelDropout(params.dropout),
            ]
        super().__init__(*layers)


class Encoder(nn.Module):
    """The way down: the column x^{i,0} of a U-Net or UNet++, one block a level."""

    def __init__(self, spatial_dims: int, num_in: int, params: NetworkParams) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.features = params.features[: params.depth + 1]
        widths = (num_in, *self.features)
        self.blocks = nn.ModuleList(
            ConvBlock(spatial_dims, a, b, params, stride=1 if level else params.input_stride)
            for level, (a, b) in enumerate(pairwise(widths))
        )

    @property
    def num_features(self) -> int:
        return self.features[-1]

    def forward(self, images_NCS: Tensor) -> list[Tensor]:
        """Features of every level, full resolution first."""
        pool = functional.max_pool2d if self.spatial_dims == 2 else functional.max_pool3d
        levels: list[Tensor] = []
        for block in self.blocks:
            levels.append(block(pool(levels[-1], 2) if levels else images_NCS))
        return levels


def up_sampling(spatial_dims: int, num_in: int, num_out: int, up: Up) -> nn.Module:
    """Twice the resolution, ``num_out`` channels."""
    if up == "transposed":
        transposed = nn.ConvTranspose2d if spatial_dims == 2 else nn.ConvTranspose3d
        return _started(transposed(num_in, num_out, kernel_size=2, stride=2))
    mode = "bilinear" if spatial_dims == 2 else "trilinear"
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode=mode, align_corners=False),
        _convolution(spatial_dims, num_in, num_out, kernel=1),
    )


def class_head(spatial_dims: int, num_in: int, num_classes: int) -> nn.Module:
    """A convolution of one voxel: features to logits."""
    return _convolution(spatial_dims, num_in, num_classes, kernel=1)


def pad_to_multiple(images_NCS: Tensor, multiple: int) -> Tensor:
    """Repeat the last voxels of each axis until it divides by ``multiple`` and is at least twice as long."""
    if torch.compiler.is_exporting():
        return pad_traced(images_NCS, [multiple] * (images_NCS.ndim - 2))
    missing = [max(2, -(-size // multiple)) * multiple - size for size in images_NCS.shape[2:]]
    if not any(missing):
        return images_NCS
    return functional.pad(images_NCS, [n for size in reversed(missing) for n in (0, size)], mode="replicate")


def crop_to(images_NCS: Tensor, space: Sequence[int]) -> Tensor:
    """The corner that `pad_to_multiple` left as it was."""
    if torch.compiler.is_exporting():
        return crop_traced(images_NCS, space)
    for axis, size in enumerate(space, start=2):
        images_NCS = images_NCS.narrow(axis, 0, size)
    return images_NCS


def enlarge(images_NCS: Tensor, factor: int) -> Tensor:
    """Linear interpolation to ``factor`` times the resolution."""
    if factor == 1:
        return images_NCS
    mode = "bilinear" if images_NCS.ndim == 4 else "trilinear"
    return functional.interpolate(images_NCS, scale_factor=float(factor), mode=mode, align_corners=False)


def _convolution(spatial_dims: int, num_in: int, num_out: int, *, kernel: int, stride: int = 1) -> nn.Module:
    convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    return _started(convolution(num_in, num_out, kernel, stride=stride, padding=kernel // 2))


def _started(layer: nn.Module) -> nn.Module:
    """He's normal start (https://arxiv.org/abs/1502.01852), as in the UNet++ paper."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _norm(spatial_dims: int, num_channels: int, norm: Norm) -> nn.Module:
    if norm == "none":
        return nn.Identity()
    if norm == "instance":
        instance = nn.InstanceNorm2d if spatial_dims == 2 else nn.InstanceNorm3d
        return instance(num_channels, affine=True)
    # A group of one channel is instance norm, whose output has the same mean in every image:
    # the mean over space, which a classifier reads, would then say nothing.
    most = max(1, min(_MAX_GROUPS, num_channels // _MIN_CHANNELS_PER_GROUP))
    groups = next(n for n in range(most, 0, -1) if num_channels % n == 0)
    return nn.GroupNorm(groups, num_channels)


def _activation(activation: Activation) -> nn.Module:
    match activation:
        case "relu":
            return nn.ReLU(inplace=True)
        case "leaky_relu":
            return nn.LeakyReLU(0.01, inplace=True)
        case "elu":
            return nn.ELU(inplace=True)
