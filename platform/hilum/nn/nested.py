"""The nested U-Net family in 2D and 3D: one network, wired in four ways.

Node x^{i,j} sits at level i (0 = full resolution) and place j along its skip path
(https://arxiv.org/abs/1912.05074):

    x^{i,0} = H(pool(x^{i-1,0}))
    x^{i,j} = H([x^{i,k} for every k that the wiring reads, up(x^{i+1,j-1})])     j > 0, i + j <= depth

The answer of depth d comes from x^{0,d}, which needs no node with i + j > d: train deep once,
prune later.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from hilum.core.errors import RecipeError
from hilum.core.registry import architectures
from hilum.nn.blocks import (
    Activation,
    Column,
    ConvBlock,
    DeepParams,
    Encoder,
    LayerParams,
    NetworkParams,
    class_head,
    crop_to,
    enlarge,
    keeping_up_sampling,
    pad_to_multiple,
    up_sampling,
)
from hilum.nn.norms import Norm

Node = tuple[int, int]


@dataclass(frozen=True)
class Wiring:
    """A member of the family: which earlier nodes of its level x^{i,j} reads.

    With ``one_decoder`` there are only the nodes with i + j = depth.
    """

    title: str
    reads: Callable[[int], Sequence[int]]
    one_decoder: bool = False

    def nodes(self, depth: int) -> list[Node]:
        """Every node with j > 0. The order is that in which first weights are drawn, and must stay."""
        if self.one_decoder:
            return [(i, depth - i) for i in range(depth)]
        return [(i, j) for j in range(1, depth + 1) for i in range(depth - j + 1)]

    def needed(self, depth: int, answers: Iterable[int]) -> list[Node]:
        """The nodes that the answers of these depths need, each after those it reads."""
        wanted = {(0, answer) for answer in answers}
        for i, j in sorted(self.nodes(depth), key=_place, reverse=True):
            if (i, j) in wanted:
                wanted |= {(i + 1, j - 1), *((i, k) for k in self.reads(j))}
        return sorted((node for node in wanted if node[1] > 0), key=_place)

    def name(self, node: Node) -> str:
        return str(node[0]) if self.one_decoder else f"{node[0]}_{node[1]}"


UNET = Wiring("U-Net", lambda _: (0,), one_decoder=True)
UNET_E = Wiring("U-Net^e", lambda _: (0,))
UNET_PLUS = Wiring("UNet+", lambda j: (j - 1,))
UNETPP = Wiring("UNet++", range)


class WideUNetParams(NetworkParams):
    """A U-Net with about as many parameters as the UNet++ of the paper."""

    features: tuple[int, ...] = (35, 70, 140, 280, 560)


class GenesisParams(NetworkParams):
    """The U-Net of Models Genesis (https://arxiv.org/abs/1908.06912), in 3D with 19,073,665 parameters."""

    halves_first: ClassVar[bool] = True
    keeps_channels: ClassVar[bool] = True
    features: tuple[int, ...] = (64, 128, 256, 512)
    norm: Norm = "batch"
    activation: Activation = "relu"


class UNetPPParams(NetworkParams, DeepParams):
    """UNet++ and UNet+."""


class NestedNetwork(nn.Module):
    """`forward` answers with the deepest head, `forward_heads` with all of them. Any size of image goes in."""

    encoder: Column
    pad_multiple: tuple[int, ...]

    def __init__(
        self, wiring: Wiring, params: LayerParams, *, spatial_dims: int, in_channels: int, num_classes: int
    ) -> None:
        super().__init__()
        self.wiring, self.params = wiring, params
        self.sizes = {"spatial_dims": spatial_dims, "in_channels": in_channels, "num_classes": num_classes}
        self.encoder = encoder = self.make_encoder(spatial_dims, in_channels)
        self.pad_multiple = encoder.pad_multiple
        features, flat = encoder.features, encoder.is_flat
        nodes = wiring.nodes(params.depth)
        num_from_below = [features[i + 1] if params.keeps_channels else features[i] for i in range(params.depth)]
        self.ups = nn.ModuleDict(
            {
                wiring.name((i, j)): keeping_up_sampling(spatial_dims, features[i + 1], params.up, flat=flat[i])
                if params.keeps_channels
                else up_sampling(spatial_dims, features[i + 1], features[i], params.up, flat=flat[i])
                for i, j in nodes
            }
        )
        self.blocks = nn.ModuleDict(
            {
                wiring.name((i, j)): ConvBlock(
                    spatial_dims,
                    len(wiring.reads(j)) * features[i] + num_from_below[i],
                    features[i],
                    params,
                    flat=flat[i],
                )
                for i, j in nodes
            }
        )
        if wiring.one_decoder:
            self.head = class_head(spatial_dims, features[0], num_classes)
        else:
            self.heads = nn.ModuleDict(
                {str(depth): class_head(spatial_dims, features[0], num_classes) for depth in self.answers}
            )

    def make_encoder(self, spatial_dims: int, in_channels: int) -> Column:
        """The column x^{i,0}."""
        assert isinstance(self.params, NetworkParams), "other encoders come with a network of their own"
        return Encoder(spatial_dims, in_channels, self.params)

    @property
    def answers(self) -> list[int]:
        """The depths that have a head, shallowest first."""
        all_of_them = not self.wiring.one_decoder and getattr(self.params, "deep_supervision", True)
        return list(range(1 if all_of_them else self.params.depth, self.params.depth + 1))

    def forward(self, images_NCS: Tensor) -> Tensor:
        """Logits (N, classes, S) of the deepest head."""
        return self._answer(images_NCS, [self.params.depth])[0]

    def forward_and_deepest(self, images_NCS: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the deepest head, and the encoder's deepest features (N, F, S) that they came from."""
        levels = self.encoder(pad_to_multiple(images_NCS, self.pad_multiple))
        return self._decoded(images_NCS, levels, [self.params.depth])[0], levels[-1]

    def forward_heads(self, images_NCS: Tensor) -> list[Tensor]:
        """The logits of every head, shallowest first."""
        return self._answer(images_NCS, self.answers)

    def prune(self, depth: int) -> Self:
        """The sub-network of ``depth`` with every other node deleted; its answer is this network's head ``depth``."""
        title = self.wiring.title
        if self.wiring.one_decoder:
            raise RecipeError(
                f"A {title} cannot be pruned: it has one decoder, which needs every level. "
                "Train a unetpp, unet_plus or unet_e, or a unet of the depth you want."
            )
        if depth not in self.answers:
            heads = ", ".join(map(str, self.answers))
            raise RecipeError(f"This {title} cannot be pruned to depth {depth}: it has heads {heads}.")
        pruned = type(self)(self.wiring, self.params.cut_to(depth), **self.sizes)
        kept = pruned.state_dict()
        pruned.load_state_dict({name: tensor for name, tensor in self.state_dict().items() if name in kept})
        return pruned.to(next(self.parameters()).device).train(self.training)

    def _answer(self, images_NCS: Tensor, answers: Sequence[int]) -> list[Tensor]:
        return self._decoded(images_NCS, self.encoder(pad_to_multiple(images_NCS, self.pad_multiple)), answers)

    def _decoded(self, images_NCS: Tensor, levels: Sequence[Tensor], answers: Sequence[int]) -> list[Tensor]:
        done: dict[Node, Tensor] = {(i, 0): features for i, features in enumerate(levels)}
        for i, j in self.wiring.needed(self.params.depth, answers):
            name = self.wiring.name((i, j))
            row = [done[i, k] for k in self.wiring.reads(j)]
            done[i, j] = self.blocks[name](torch.cat([*row, self.ups[name](done[i + 1, j - 1])], dim=1))
        return [self._logits(done[0, depth], depth, images_NCS) for depth in answers]

    def _logits(self, features_NCS: Tensor, depth: int, images_NCS: Tensor) -> Tensor:
        head = self.head if self.wiring.one_decoder else self.heads[str(depth)]
        return crop_to(enlarge(head(features_NCS), self.encoder.input_stride), images_NCS.shape[2:])


def _register(kind: str, wiring: Wiring, params: type[NetworkParams]) -> None:
    def make(*, spatial_dims: int, in_channels: int, num_classes: int, **given: object) -> NestedNetwork:
        checked = params.model_validate(given)
        return NestedNetwork(
            wiring, checked, spatial_dims=spatial_dims, in_channels=in_channels, num_classes=num_classes
        )

    architectures.register(kind, params=params)(make)


_KINDS: dict[str, tuple[Wiring, type[NetworkParams]]] = {
    "unet": (UNET, NetworkParams),
    "wide_unet": (UNET, WideUNetParams),
    "genesis_unet": (UNET, GenesisParams),
    "unet_e": (UNET_E, NetworkParams),
    "unet_plus": (UNET_PLUS, UNetPPParams),
    "unetpp": (UNETPP, UNetPPParams),
}
for _kind, (_wiring, _params) in _KINDS.items():
    _register(_kind, _wiring, _params)


def _place(node: Node) -> tuple[int, int]:
    return node[1], node[0]
