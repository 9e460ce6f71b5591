"""What every network here is made of: convolution blocks, an encoder, up-sampling, dropout.

Shape letters: N = items, C = channels, S = space (Y, X or Z, Y, X). In evaluation no layer
looks at another item of the batch, so an answer never depends on its neighbours.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from hilum.core.errors import RecipeError
from hilum.core.registry import Params
from hilum.nn.norms import Norm, norm_layer
from hilum.nn.traced import crop_traced, pad_traced

Activation = Literal["relu", "leaky_relu", "elu"]
Up = Literal["transposed", "linear"]


class LayerParams(Params):
    """What every encoder and decoder here is told.

    ``depth`` counts the poolings. ``dropout`` drops channels after every convolution,
    ``head_dropout`` only before a classifier's last layer: the first starves a network as small
    as a campaign's first ones. ``pruned_from`` is the depth of the network that this one was
    cut out of: images are padded as they were for that one.
    """

    depth: int = Field(default=3, ge=1, le=4)
    norm: Norm = "group"
    activation: Activation = "leaky_relu"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    head_dropout: float = Field(default=0.0, ge=0, lt=1)
    up: Up = "transposed"
    keeps_channels: ClassVar[bool] = False
    pruned_from: int | None = Field(default=None, ge=1, le=4)

    @property
    def padded_depth(self) -> int:
        return self.pruned_from or self.depth

    def cut_to(self, depth: int) -> Self:
        """Those of the sub-network of ``depth``. It pads as before, or odd sizes would see other borders."""
        return self.model_copy(update={"depth": depth, "pruned_from": self.padded_depth})

    @model_validator(mode="after")
    def _pruning_makes_no_deeper(self) -> "LayerParams":
        if self.padded_depth < self.depth:
            raise ValueError(f"pruned_from {self.pruned_from} must not be below depth {self.depth}")
        return self


class DeepParams(LayerParams):
    """``deep_supervision`` puts a head on x^{0,1} … x^{0,depth}; without it only the deepest answers."""

    deep_supervision: bool = True


class NetworkParams(LayerParams):
    """What the U-Net family shares.

    ``features`` holds the channels of every level from full resolution down, of which the
    first ``depth + 1`` are used. ``input_stride`` 2 lets the first convolution halve the
    resolution, and is about four times as fast. The first ``num_flat_levels`` levels of a 3D
    network look at one slice at a time and keep all slices when they pool: for slices that
    are much thicker than their voxels are wide. Where ``halves_first`` the first convolution of an encoder's block
    has half the block's features; a way up that ``keeps_channels`` leaves their number to the block behind it.
    """

    halves_first: ClassVar[bool] = False
    features: tuple[int, ...] = (16, 32, 64, 128, 256)
    input_stride: Literal[1, 2] = 1
    num_flat_levels: int = Field(default=0, ge=0, le=5)

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
    """Twice: convolution of 3 voxels a side (one slice where ``flat``), norm, activation, dropout."""

    def __init__(
        self,
        spatial_dims: int,
        num_in: int,
        num_out: int,
        params: LayerParams,
        *,
        num_between: int | None = None,
        stride: int = 1,
        flat: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        between = num_between or num_out
        for before, after, step in ((num_in, between, stride), (between, num_out, 1)):
            layers += [
                _convolution(spatial_dims, before, after, kernel=3, stride=step, flat=flat),
                norm_layer(spatial_dims, after, params.norm),
                _activation(params.activation),
                ChannelDropout(params.dropout),
            ]
        super().__init__(*layers)


class Column(nn.Module):
    """What a nested network stands on: x^{i,0}, a list of features, the highest resolution first.

    ``input_stride`` is how much smaller along each axis the first features are than the image;
    ``pad_multiple`` what images are padded to; flat levels keep every slice.
    """

    features: tuple[int, ...]
    num_features: int
    is_flat: tuple[bool, ...]
    input_stride: tuple[int, ...]
    pad_multiple: tuple[int, ...]


class Encoder(Column):
    """The way down: the column x^{i,0} of the U-Net family, one block a level."""

    def __init__(self, spatial_dims: int, num_in: int, params: NetworkParams) -> None:
        super().__init__()
        if params.num_flat_levels and spatial_dims == 2:
            raise RecipeError(
                f"num_flat_levels {params.num_flat_levels} is for patches of several slices; these have one. "
                "Leave it out, or give the pool a patch_shape_zyx of more slices."
            )
        self.features = params.features[: params.depth + 1]
        self.num_features = self.features[-1]
        self.is_flat = tuple(level < params.num_flat_levels for level in range(params.padded_depth + 1))
        self.input_stride = per_axis(params.input_stride, spatial_dims, flat=self.is_flat[0])
        self.pools = [per_axis(2, spatial_dims, flat=flat) for flat in self.is_flat[:-1]]
        self.pad_multiple = tuple(math.prod(steps) for steps in zip(self.input_stride, *self.pools, strict=True))
        widths = (num_in, *self.features)
        self.blocks = nn.ModuleList(
            ConvBlock(
                spatial_dims,
                a,
                b,
                params,
                num_between=b // 2 if params.halves_first else None,
                stride=1 if level else params.input_stride,
                flat=self.is_flat[level],
            )
            for level, (a, b) in enumerate(pairwise(widths))
        )

    def forward(self, images_NCS: Tensor) -> list[Tensor]:
        """Features of every level, full resolution first."""
        pool = functional.max_pool2d if images_NCS.ndim == 4 else functional.max_pool3d
        levels = [self.blocks[0](images_NCS)]
        for block, step in zip(self.blocks[1:], self.pools, strict=False):
            levels.append(block(pool(levels[-1], step)))
        return levels


def up_sampling(spatial_dims: int, num_in: int, num_out: int, up: Up, *, flat: bool = False) -> nn.Module:
    """Twice the resolution (but as many slices, where ``flat``), ``num_out`` channels."""
    scale = per_axis(2, spatial_dims, flat=flat)
    if up == "transposed":
        transposed = nn.ConvTranspose2d if spatial_dims == 2 else nn.ConvTranspose3d
        return _started(transposed(num_in, num_out, kernel_size=scale, stride=scale))  # type: ignore[arg-type]
    mode = "bilinear" if spatial_dims == 2 else "trilinear"
    return nn.Sequential(
        nn.Upsample(scale_factor=tuple(map(float, scale)), mode=mode, align_corners=False),
        _convolution(spatial_dims, num_in, num_out, kernel=1),
    )


def keeping_up_sampling(spatial_dims: int, num_channels: int, up: Up, *, flat: bool = False) -> nn.Module:
    """Twice the resolution and as many channels as before: by interpolation there is nothing to learn."""
    both = up_sampling(spatial_dims, num_channels, num_channels, up, flat=flat)
    return both[0] if isinstance(both, nn.Sequential) else both


def class_head(spatial_dims: int, num_in: int, num_classes: int) -> nn.Module:
    """A convolution of one voxel: features to logits."""
    return _convolution(spatial_dims, num_in, num_classes, kernel=1)


def per_axis(number: int, spatial_dims: int, *, flat: bool = False) -> tuple[int, ...]:
    """``number`` along every axis, but 1 along Z where ``flat``."""
    return (1 if flat else number, *[number] * (spatial_dims - 1))


def pad_to_multiple(images_NCS: Tensor, multiple: int | Sequence[int]) -> Tensor:
    """Repeat the last voxels of each axis until it divides by ``multiple`` and is at least twice as long."""
    space = images_NCS.shape[2:]
    multiples = per_axis(multiple, len(space)) if isinstance(multiple, int) else multiple
    if torch.compiler.is_exporting():
        return pad_traced(images_NCS, multiples)
    missing = [max(2, -(-size // of)) * of - size for size, of in zip(space, multiples, strict=True)]
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


def enlarge(images_NCS: Tensor, factors: Sequence[int]) -> Tensor:
    """Linear interpolation to ``factors`` times the resolution, one factor an axis."""
    if all(factor == 1 for factor in factors):
        return images_NCS
    mode = "bilinear" if images_NCS.ndim == 4 else "trilinear"
    return functional.interpolate(images_NCS, scale_factor=tuple(map(float, factors)), mode=mode, align_corners=False)


def _convolution(
    spatial_dims: int, num_in: int, num_out: int, *, kernel: int, stride: int = 1, flat: bool = False
) -> nn.Module:
    convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    kernels, strides = (per_axis(size, spatial_dims, flat=flat) for size in (kernel, stride))
    padding = tuple(size // 2 for size in kernels)
    return _started(convolution(num_in, num_out, kernels, stride=strides, padding=padding))  # type: ignore[arg-type]


def _started(layer: nn.Module) -> nn.Module:
    """He's normal start (https://arxiv.org/abs/1502.01852), as in the UNet++ paper."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _activation(activation: Activation) -> nn.Module:
    match activation:
        case "relu":
            return nn.ReLU(inplace=True)
        case "leaky_relu":
            return nn.LeakyReLU(0.01, inplace=True)
        case "elu":
            return nn.ELU(inplace=True)
