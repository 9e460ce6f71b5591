"""Learning loss: a small module beside a network that learns which items the network gets wrong.

Yoo & Kweon 2019, https://arxiv.org/abs/1905.03677. It reads the mean over space of every encoder level and learns
to put a batch's items in the order of their losses: the numbers it gives have an order and no unit.

Shape letters: N = items, P = pairs of them, F = features of a level, S = space.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from hilum.core.asking import IGNORE
from hilum.core.errors import RecipeError

if TYPE_CHECKING:
    from hilum.nn.heads import Network


class LossPredictor(nn.Module):
    """A linear layer and ReLU on each level's mean features, and a linear layer on all of these together."""

    def __init__(self, num_features: Sequence[int], width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Linear(num, width) for num in num_features)
        self.last = nn.Linear(width * len(num_features), 1)

    def forward(self, means_by_level: Sequence[Tensor]) -> Tensor:
        """One number (N) an item, of each level's means (N, F); in float32 whatever the network computes in."""
        with torch.autocast(means_by_level[0].device.type, enabled=False):
            seen = [torch.relu(layer(means)) for layer, means in zip(self.levels, means_by_level, strict=True)]
            predicted_N1: Tensor = self.last(torch.cat(seen, dim=1))
        return predicted_N1[:, 0]


def loss_predictor(encoder: nn.Module, width: int) -> LossPredictor:
    """The module for this encoder; RecipeError where the encoder does not say what its levels hold."""
    features = getattr(encoder, "features", None)
    if features is None:
        raise RecipeError(
            "finetune.learning_loss reads every level of the encoder, and this architecture's does not say, as its "
            "'features', how many channels each has. Leave learning_loss out, or use another architecture."
        )
    return LossPredictor(features, width)


@contextmanager
def level_means(network: "Network") -> Iterator[list[Tensor]]:
    """Fills the list with each encoder level's mean over space (N, F), of the latest pass in the block."""
    latest: list[Tensor] = []

    def remember(_encoder: nn.Module, _images: object, levels: Sequence[Tensor]) -> None:
        latest[:] = [level_NFS.flatten(2).mean(dim=2, dtype=torch.float32) for level_NFS in levels]

    encoder: nn.Module = network.body.encoder  # type: ignore[assignment]
    hook = encoder.register_forward_hook(remember)
    try:
        yield latest
    finally:
        hook.remove()


def ranking_loss(predicted_N: Tensor, losses_N: Tensor, *, margin: float) -> Tensor:
    """How far pairs are from being ``margin`` apart in the order of their losses; 0 where there is no pair.

    The first item is paired with the last, the second with the last but one; of an odd number the middle one has no
    partner. A pair whose losses are equal costs ``margin`` and teaches nothing.
    """
    num_pairs = len(predicted_N) // 2
    if num_pairs == 0:
        return predicted_N.sum() * 0.0
    gap_P = (predicted_N - predicted_N.flip(0))[:num_pairs]
    order_P = torch.sign(losses_N - losses_N.flip(0))[:num_pairs].detach()
    return torch.relu(margin - order_P * gap_P).mean()


def item_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each item's cross-entropy (N), over its answered voxels the mean, and which items (N) were answered at all.

    Without a Dice term whatever the training minimises: of one patch that holds nothing Dice tells no more than that.
    """
    entropies = functional.cross_entropy(logits.detach().float(), labels, ignore_index=IGNORE, reduction="none")
    answered_NS = (labels != IGNORE).reshape(len(labels), -1)
    num_answered_N = answered_NS.sum(dim=1)
    return entropies.reshape(len(labels), -1).sum(dim=1) / num_answered_N.clamp(min=1), num_answered_N > 0
