"""Networks that answer pretexts: an architecture whose every voxel is a grey level, or its encoder with a head.

Shape letters: N = items, C = channels, D = features, S = space (Y, X or Z, Y, X).
"""

import torch
from torch import Tensor, nn

from hilum.core.recipes import Choice
from hilum.core.registry import architectures
from hilum.nn.heads import EncoderOnly, Network, Segmenter


class Restorer(Segmenter):
    """A grey level between 0 and 1 for every voxel: the sigmoid of what the architecture says."""

    def restored_heads(self, images_NCS: Tensor) -> list[Tensor]:
        return [torch.sigmoid(logits.float()) for logits in self.forward_heads(images_NCS)]


class Riddler(Network):
    """An encoder and, on its features, whatever head the riddle needs. There is no decoder to take over."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__(EncoderOnly(body))
        self.head = head

    def forward_heads(self, images_NCS: Tensor) -> list[Tensor]:
        return [self.head(self.embed(images_NCS))]


def restorer(architecture: Choice, *, spatial_dims: int, in_channels: int, seed: int) -> Restorer:
    """The architecture with as many outputs as channels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make = architectures.bind(architecture)
        return Restorer(make(spatial_dims=spatial_dims, in_channels=in_channels, num_classes=in_channels))
