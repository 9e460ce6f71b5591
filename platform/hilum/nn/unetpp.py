"""UNet++ in 2D and 3D: nested dense skips, a head on every sub-network, and pruning that deletes nodes.

Node x^{i,j} sits at level i (0 = full resolution) and place j along its skip path:

    x^{i,0} = H(pool(x^{i-1,0}))
    x^{i,j} = H([x^{i,0}, …, x^{i,j-1}, up(x^{i+1,j-1})])        j > 0, i + j <= depth

(https://arxiv.org/abs/1912.05074). The sub-network of depth d needs only the nodes with
i + j <= d and answers from x^{0,d}: train deep once, prune later.
"""

import torch
from torch import Tensor, nn

from hilum.core.errors import RecipeError
from hilum.core.registry import architectures
from hilum.nn.blocks import (
    ConvBlock,
    Encoder,
    NetworkParams,
    class_head,
    crop_to,
    enlarge,
    pad_to_multiple,
    up_sampling,
)


class UNetPPParams(NetworkParams):
    """``deep_supervision`` puts a head on x^{0,1} … x^{0,depth}; without it only the deepest answers."""

    deep_supervision: bool = True


class UNetPP(nn.Module):
    """The nested network. `forward` answers with its deepest head, `forward_heads` with all of them."""

    def __init__(self, params: UNetPPParams, *, spatial_dims: int, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.params = params
        self.sizes = {"spatial_dims": spatial_dims, "in_channels": in_channels, "num_classes": num_classes}
        self.pad_multiple = params.input_stride * 2**params.depth
        self.encoder = Encoder(spatial_dims, in_channels, params)
        features, nodes = params.features, _nodes(params.depth)
        self.ups = nn.ModuleDict(
            {_name(i, j): up_sampling(spatial_dims, features[i + 1], features[i], params.up) for i, j in nodes}
        )
        self.blocks = nn.ModuleDict(
            {_name(i, j): ConvBlock(spatial_dims, (j + 1) * features[i], features[i], params) for i, j in nodes}
        )
        depths = range(1 if params.deep_supervision else params.depth, params.depth + 1)
        self.heads = nn.ModuleDict({str(d): class_head(spatial_dims, features[0], num_classes) for d in depths})

    def forward(self, images_NCS: Tensor) -> Tensor:
        """Logits (N, classes, S) of the deepest head."""
        return self._logits(self._top_row(images_NCS), self.params.depth, images_NCS)

    def forward_heads(self, images_NCS: Tensor) -> list[Tensor]:
        """The logits of every head, shallowest first."""
        top_row = self._top_row(images_NCS)
        return [self._logits(top_row, int(depth), images_NCS) for depth in self.heads]

    def prune(self, depth: int) -> "UNetPP":
        """The sub-network of ``depth`` with every other node deleted; its answer is this network's head ``depth``."""
        if str(depth) not in self.heads:
            raise RecipeError(f"This UNet++ cannot be pruned to depth {depth}: it has heads {', '.join(self.heads)}.")
        pruned = UNetPP(self.params.model_copy(update={"depth": depth}), **self.sizes)
        # The same padding as before pruning, or odd sizes would see other borders.
        pruned.pad_multiple = self.pad_multiple
        kept = pruned.state_dict()
        pruned.load_state_dict({name: tensor for name, tensor in self.state_dict().items() if name in kept})
        return pruned.to(next(self.parameters()).device).train(self.training)

    def _top_row(self, images_NCS: Tensor) -> list[Tensor]:
        """x^{0,0} … x^{0,depth}."""
        levels = self.encoder(pad_to_multiple(images_NCS, self.pad_multiple))
        rows = [[features] for features in levels]
        for j in range(1, self.params.depth + 1):
            for i in range(self.params.depth - j + 1):
                name = _name(i, j)
                rows[i].append(self.blocks[name](torch.cat([*rows[i], self.ups[name](rows[i + 1][j - 1])], dim=1)))
        return rows[0]

    def _logits(self, top_row: list[Tensor], depth: int, images_NCS: Tensor) -> Tensor:
        logits: Tensor = self.heads[str(depth)](top_row[depth])
        return crop_to(enlarge(logits, self.params.input_stride), images_NCS.shape[2:])


@architectures.register("unetpp", params=UNetPPParams)
def unetpp(*, spatial_dims: int, in_channels: int, num_classes: int, **params: object) -> UNetPP:
    """A UNet++ of the given `UNetPPParams`."""
    checked = UNetPPParams.model_validate(params)
    return UNetPP(checked, spatial_dims=spatial_dims, in_channels=in_channels, num_classes=num_classes)


def _nodes(depth: int) -> list[tuple[int, int]]:
    return [(i, j) for j in range(1, depth + 1) for i in range(depth - j + 1)]


def _name(i: int, j: int) -> str:
    return f"{i}_{j}"
