"""DeepCluster: crops that the network finds alike become a class, and it learns to tell the classes apart.

Shape letters: N = items, K = clusters, D = features, Z, Y, X = space, S = space (Y, X or Z, Y, X).

From https://arxiv.org/abs/1807.05520; 260 classes are those of the comparison in https://arxiv.org/abs/2004.07882.
Features are whitened and of length 1 before they are clustered, the classifier's last layer starts anew after every
clustering, and a class counts the same however many crops it has: all that is the paper's. Ours is that there are
``num_crops`` crops, drawn once, and that their augmentation is mirroring.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from hilum.core.recipes import Choice
from hilum.core.registry import Params, architectures, pretexts
from hilum.nn.chance import generator
from hilum.nn.heads import Network
from hilum.nn.pretext.cluster import k_means, nearest
from hilum.nn.pretext.networks import Riddler
from hilum.nn.pretext.pretext import Floats, Pretext, Puzzle, as_batch

_CLUSTER, _HEAD = 10, 11
_EMBEDDED_TOGETHER = 8
_FIRST_WEIGHTS = 0.01
_TINY = 1e-5


class DeepClusterParams(Params):
    """``num_crops`` crops are put into ``num_classes`` (never more than there are crops) ``every`` so many steps."""

    num_classes: int = Field(default=260, ge=2)
    num_crops: int = Field(default=2048, ge=2)
    every: int = Field(default=100, ge=1)


@pretexts.register("deep_cluster", params=DeepClusterParams)
class DeepCluster(Pretext):
    """What is remembered: every crop's class, and where the classes lie in the whitened features."""

    def __init__(self, *, num_classes: int, num_crops: int, every: int) -> None:
        self.num_crops = num_crops
        self._num_classes, self._every = min(num_classes, num_crops), every
        self._draw: Callable[[int], Floats] | None = None
        self._seed = 0
        self._state: dict[str, Tensor] = {}

    def network(self, architecture: Choice, *, spatial_dims: int, in_channels: int, seed: int) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            make = architectures.bind(architecture)
            body = make(spatial_dims=spatial_dims, in_channels=in_channels, num_classes=in_channels)
            return Riddler(body, nn.Linear(int(body.encoder.num_features), self._num_classes))

    def pose(self, crop_CZYX: Floats, rng: np.random.Generator) -> Puzzle:
        mirrored = [axis for axis, length in enumerate(crop_CZYX.shape) if axis and length > 1 and rng.random() < 0.5]
        return (np.ascontiguousarray(np.flip(crop_CZYX, mirrored)),)

    def loss(self, network: Network, puzzles: tuple[Tensor, ...]) -> Tensor:
        shown, number_N = puzzles
        features_ND = network.embed(shown)
        assert isinstance(network, Riddler), "made by `network`"
        class_N, weight_K = self._classes(features_ND.detach(), number_N), self._balance()
        errors_N = cross_entropy(network.head(features_ND).float(), class_N.to(shown.device), reduction="none")
        return (errors_N * weight_K[class_N].to(shown.device)).mean()

    def begin(self, draw: Callable[[int], Floats], *, seed: int) -> None:
        self._draw, self._seed = draw, seed

    def before_step(self, network: Network, step: int) -> None:
        if step % self._every:
            return
        features_ND = self._embedded(network)
        mean_D, whitening_DD = whitening(features_ND)
        placed_ND = _placed(features_ND, mean_D, whitening_DD)
        rng = np.random.default_rng([_CLUSTER, self._seed, step])
        class_N, centres_KD = k_means(placed_ND, self._num_classes, rng=rng)
        self._state = {"class": class_N, "centres": centres_KD, "mean": mean_D, "whitening": whitening_DD}
        self._start_last_layer(network, step)

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        return {name: tensor.numpy().copy() for name, tensor in self._state.items()}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self._state = {name: torch.from_numpy(array.copy()) for name, array in state.items()}

    def _classes(self, features_ND: Tensor, number_N: Tensor) -> Tensor:
        """Each crop's class; one that is held out has that of the nearest centre."""
        number_N = number_N.cpu()
        known_N = self._state["class"][number_N.clamp(min=0)]
        if not (number_N < 0).any():
            return known_N
        placed_ND = _placed(features_ND.float().cpu(), self._state["mean"], self._state["whitening"])
        return torch.where(number_N < 0, nearest(placed_ND, self._state["centres"]), known_N)

    def _balance(self) -> Tensor:
        """What an error counts: all classes alike, crops 1 on average."""
        counts_K = torch.bincount(self._state["class"], minlength=self._num_classes)
        return len(self._state["class"]) / (self._num_classes * counts_K.float())

    def _embedded(self, network: Network) -> Tensor:
        """The features of every numbered crop, as the network is now; no batch norm learns from them."""
        assert self._draw is not None, "`begin` comes first"
        assert self.num_crops is not None, "given"
        device = next(network.parameters()).device
        training = network.training
        network.eval()
        found: list[Tensor] = []
        with torch.no_grad():
            for first in range(0, self.num_crops, _EMBEDDED_TOGETHER):
                numbers = range(first, min(first + _EMBEDDED_TOGETHER, self.num_crops))
                crops: list[Puzzle] = [(self._draw(number),) for number in numbers]
                (shown,) = as_batch(crops, spatial_dims=2 if crops[0][0].shape[1] == 1 else 3)
                found.append(network.embed(shown.to(device)).float().cpu())
        network.train(training)
        return torch.cat(found)

    def _start_last_layer(self, network: Network, step: int) -> None:
        """The classes are others: what was known of the old ones is no start."""
        assert isinstance(network, Riddler), "made by `network`"
        assert isinstance(network.head, nn.Linear), "made by `network`"
        drawn = torch.randn(network.head.weight.shape, generator=generator(self._seed, _HEAD, step))
        with torch.no_grad():
            network.head.weight.copy_(drawn * _FIRST_WEIGHTS)
            network.head.bias.zero_()


def whitening(features_ND: Tensor) -> tuple[Tensor, Tensor]:
    """The features' mean, and the matrix after which they are uncorrelated and vary alike.

    Directions in which features hardly vary are let go: their whitened values would be noise.
    """
    mean_D = features_ND.mean(dim=0)
    centred_ND = features_ND - mean_D
    values_D, vectors_DD = torch.linalg.eigh(centred_ND.T @ centred_ND / max(1, len(features_ND) - 1))
    kept_D = values_D > _TINY * values_D.max().clamp(min=_TINY)
    scale_D = torch.where(kept_D, values_D.clamp(min=_TINY**2).rsqrt(), torch.zeros_like(values_D))
    return mean_D, vectors_DD * scale_D


def _placed(features_ND: Tensor, mean_D: Tensor, whitening_DD: Tensor) -> Tensor:
    return normalize((features_ND - mean_D) @ whitening_DD, dim=1)
