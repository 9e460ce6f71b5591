"""Pretexts that restore: shown a damaged crop, the network says what was there.

Shape letters: N = items, C = channels, Z, Y, X = space, S = space (Y, X or Z, Y, X).
"""

from abc import abstractmethod

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hilum.core.recipes import Choice
from hilum.core.registry import Params, pretexts
from hilum.nn.heads import Network
from hilum.nn.pretext.networks import Restorer, restorer
from hilum.nn.pretext.pretext import Floats, Pretext, Puzzle


class Restoring(Pretext):
    """Mean squared error between the sigmoid of every head and the crop, over the voxels that count."""

    @abstractmethod
    def damaged(self, crop_CZYX: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, Floats | None]:
        """What is shown, what is wanted, and which voxels count (1 or 0; None: all)."""

    def network(self, architecture: Choice, *, spatial_dims: int, in_channels: int, seed: int) -> Network:
        return restorer(architecture, spatial_dims=spatial_dims, in_channels=in_channels, seed=seed)

    def pose(self, crop_CZYX: Floats, rng: np.random.Generator) -> Puzzle:
        shown, wanted, counted = self.damaged(crop_CZYX, rng)
        return (shown, wanted) if counted is None else (shown, wanted, counted)

    def loss(self, network: Network, puzzles: tuple[Tensor, ...]) -> Tensor:
        shown, wanted, *counted = puzzles
        assert isinstance(network, Restorer), "made by `network`"
        errors = [(head - wanted) ** 2 for head in network.restored_heads(shown)]
        if not counted:
            return torch.stack([error.mean() for error in errors]).mean()
        weight = counted[0].expand_as(wanted)
        return torch.stack([(error * weight).sum() / weight.sum().clamp(min=1) for error in errors]).mean()

    def restored(self, network: Network, shown_NCS: Tensor) -> Tensor:
        assert isinstance(network, Restorer), "made by `network`"
        return network.restored_heads(shown_NCS)[-1]


@pretexts.register("autoencoder")
class Autoencoder(Restoring):
    """Nothing is damaged: the network only has to copy (identity mapping)."""

    def damaged(self, crop_CZYX: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, None]:  # noqa: ARG002
        return crop_CZYX, crop_CZYX, None


class DenoisingParams(Params):
    """Gaussian noise whose standard deviation is drawn from 0 to ``std``, in the crop's grey levels."""

    std: float = Field(default=0.1, gt=0, le=1)


@pretexts.register("denoising", params=DenoisingParams)
class Denoising(Restoring):
    """Gaussian noise is added (https://arxiv.org/abs/1908.06912, the comparison's de-noising)."""

    def __init__(self, *, std: float) -> None:
        self._std = std

    def damaged(self, crop_CZYX: Floats, rng: np.random.Generator) -> tuple[Floats, Floats, None]:
        noise = rng.standard_normal(crop_CZYX.shape, dtype=np.float32) * np.float32(rng.uniform(0, self._std))
        return crop_CZYX + noise, crop_CZYX, None
