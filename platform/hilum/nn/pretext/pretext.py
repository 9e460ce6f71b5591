"""A pretext: a question that an unlabelled crop answers itself.

Shape letters: N = items, C = channels, Z, Y, X = space, S = space (Y, X or Z, Y, X).
Voxels lie between 0 and 1. All chance comes from ``rng``, so a puzzle is a function of its crop and its seed.
"""
# ruff: noqa: ARG002, B027 (a pretext answers only what it has an answer to; the rest is nothing to do)

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hilum.core.recipes import Choice
from hilum.nn.heads import Network

Floats = npt.NDArray[np.float32]
Puzzle = tuple[npt.NDArray[Any], ...]
"""What is shown (C, Z, Y, X) first, then what is wanted: arrays of one shape and type for every crop of a batch."""


class Pretext(ABC):
    """One question. ``pose`` is called by several threads at a time and changes nothing.

    A pretext that has to know a crop when it sees it again says how many there are, ``num_crops``: only those are
    learnt from, and every puzzle ends with its crop's number, −1 where the crop is held out.
    """

    num_crops: int | None = None

    poses_batches: ClassVar[bool] = False
    """Whether ``pose_batch`` can take the place of ``pose`` where there is a GPU."""

    @abstractmethod
    def network(self, architecture: Choice, *, spatial_dims: int, in_channels: int, seed: int) -> Network:
        """A network that can answer, its first weights drawn from ``seed``.

        The tensors that another task is to take over are those of ``body`` under an architecture's own names.
        """

    @abstractmethod
    def pose(self, crop_CZYX: Floats, rng: np.random.Generator) -> Puzzle:
        """The crop as a puzzle; ``crop_CZYX`` itself is left as it is."""

    def pose_batch(self, crops_NCS: Tensor, rng: torch.Generator) -> tuple[Tensor, ...]:
        """Puzzles of a batch of crops, on their device, as likely as those of ``pose``; ``rng`` is of that device."""
        raise NotImplementedError(f"{type(self).__name__} poses crop by crop.")

    @abstractmethod
    def loss(self, network: Network, puzzles: tuple[Tensor, ...]) -> Tensor:
        """The mean loss of a batch of puzzles (N in front; no Z where images are 2D), float32."""

    def restored(self, network: Network, shown_NCS: Tensor) -> Tensor | None:
        """What the network makes of what it is shown, for pictures; None for a pretext that restores nothing."""
        return None

    def begin(self, draw: Callable[[int], Floats], *, seed: int) -> None:
        """Called once before the first step: ``draw`` returns the crop of a number, the same on every worker."""

    def before_step(self, network: Network, step: int) -> None:
        """A chance to ask the network itself before a step; the same on every worker."""

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """What has to be remembered beside the weights to go on exactly."""
        return {}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take up what ``state`` said."""


def as_batch(puzzles: Sequence[Puzzle], *, spatial_dims: int) -> tuple[Tensor, ...]:
    """Puzzles one on the other; images (C, Z, Y, X) lose their Z where they are 2D."""
    columns = [torch.from_numpy(np.stack(column)) for column in zip(*puzzles, strict=True)]
    return tuple(column[:, :, 0] if spatial_dims == 2 and column.ndim == 5 else column for column in columns)
