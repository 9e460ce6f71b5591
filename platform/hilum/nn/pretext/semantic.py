"""Semantic Genesis: restore the crop, and say which place of the body it is from.

Shape letters: N = items, C = channels, D = features, Z, Y, X = space, S = space (Y, X or Z, Y, X).

From https://arxiv.org/abs/2007.06959: classes that were discovered (`hilum.steps.discover`), an encoder, a decoder and
a classifier on the encoder, and a loss of which restoration is a hundred times the classification. A crop is bent
elastically, and then one deformation is drawn, all four alike. Ours is to want the bent crop back, not the straight
one: how it was bent leaves no trace that could be undone.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hilum.core.recipes import DISCOVERING, Choice
from hilum.core.registry import Params, architectures, pretexts
from hilum.nn.heads import Network
from hilum.nn.pretext.elastic import bent_in_plane
from hilum.nn.pretext.networks import Restorer
from hilum.nn.pretext.pretext import Floats
from hilum.nn.pretext.restoring import Restoring
from hilum.nn.pretext.single_deformations import SINGLE_DEFORMATIONS


class SemanticParams(Params):
    """How much classification counts beside restoration, and the bending.

    ``num_classes`` and ``num_crops`` are those of the discovery, and are written here by it.
    """

    num_classes: int = Field(default=44, ge=2)
    num_crops: int = Field(default=26400, ge=2)
    classification_weight: float = Field(default=0.01, ge=0)
    elastic_alpha: float = Field(default=991.0, ge=0)
    elastic_sigma: float = Field(default=8.0, gt=0)


class SemanticNetwork(Restorer):
    """Encoder and decoder of an architecture, and a linear classifier on the mean of the encoder's deepest features."""

    def __init__(self, body: nn.Module, num_classes: int) -> None:
        super().__init__(body)
        self.classifier = nn.Linear(int(body.encoder.num_features), num_classes)  # type: ignore[union-attr, arg-type]

    def restored_and_classified(self, images_NCS: Tensor) -> tuple[list[Tensor], Tensor]:
        """The restorations of every head, and the classes' logits, from one pass through the encoder."""
        seen: list[list[Tensor]] = []
        watching = self.body.encoder.register_forward_hook(lambda _module, _given, levels: seen.append(levels))  # type: ignore[union-attr, operator]
        try:
            heads = self.restored_heads(images_NCS)
        finally:
            watching.remove()
        return heads, self.classifier(seen[0][-1].flatten(2).mean(dim=2)).float()


@pretexts.register(DISCOVERING, params=SemanticParams)
class Semantic(Restoring):
    """A crop's class follows from its number: every class has as many crops, one class after the other."""

    def __init__(
        self,
        *,
        num_classes: int,
        num_crops: int,
        classification_weight: float,
        elastic_alpha: float,
        elastic_sigma: float,
    ) -> None:
        self.num_crops = self._num_crops = num_crops
        self._num_classes, self._weight = num_classes, classification_weight
        self._alpha, self._sigma = elastic_alpha, elastic_sigma

    def network(self, architecture: Choice, *, spatial_dims: int, in_channels: int, seed: int) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            make = architectures.bind(architecture)
            body = make(spatial_dims=spatial_dims, in_channels=in_channels, num_classes=in_channels)
            return SemanticNetwork(body, self._num_classes)

    def damaged(self, crop_CZYX: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, None]:
        bent = bent_in_plane(crop_CZYX, rng, alpha=self._alpha, sigma=self._sigma)
        deform = SINGLE_DEFORMATIONS[int(rng.integers(len(SINGLE_DEFORMATIONS)))]
        return deform(bent, rng=rng), bent, None

    def loss(self, network: Network, puzzles: tuple[Tensor, ...]) -> Tensor:
        """A crop that is held out is of no class that was discovered: it is restored only."""
        shown, wanted, number_N = puzzles
        assert isinstance(network, SemanticNetwork), "made by `network`"
        heads, logits_NC = network.restored_and_classified(shown)
        restoration = torch.stack([((head - wanted) ** 2).mean() for head in heads]).mean()
        class_N = torch.where(number_N < 0, -1, number_N * self._num_classes // self._num_crops)
        errors_N = cross_entropy(logits_NC, class_N, ignore_index=-1, reduction="none")
        return restoration + self._weight * errors_N.mean()
