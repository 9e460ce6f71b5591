"""What the training loop asks of whoever teaches: batches, a loss, and what is held out.

The loop knows steps, chunks, workers and the optimizer; a teacher knows what there is to learn.
Everything a teacher gives is a function of the recipe's seed, the step and the chunk.
"""
# ruff: noqa: ARG002, B027 (a teacher answers only what it has an answer to; the rest is nothing to do)

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hilum.nn.heads import Network

Batch = tuple[Tensor, ...]
Arrays = Mapping[str, npt.NDArray[Any]]


def device_at_hand() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Teacher(ABC):
    """Subclass for another thing to learn. ``read`` is called by several threads at a time."""

    @abstractmethod
    def read(self, place: tuple[int, int]) -> Batch:
        """Chunk ``place[1]`` of step ``place[0]``, on the CPU."""

    def on_device(self, batch: Batch, step: int, chunk: int) -> Batch:
        """What was read, ready for the network."""
        device = device_at_hand()
        return tuple(tensor.to(device) for tensor in batch)

    @abstractmethod
    def loss(self, network: Network, batch: Batch, step: int, chunk: int) -> Tensor:
        """What the step minimises: the chunk's mean loss, one float32 number."""

    def held_out(self, chunk: int) -> Iterator[Batch]:
        """One chunk's share of what is never trained on, the same at every check; nothing: no checks."""
        yield from ()

    def held_out_loss(self, network: Network, batch: Batch) -> Tensor:
        """The mean loss of a held-out batch: a number that says how well this was learnt."""
        return self.loss(network, batch, 0, 0)

    @property
    def holds_out(self) -> bool:
        """Whether there is anything in ``held_out``."""
        return False

    def before_step(self, network: Network, step: int) -> None:
        """Called on every worker before a step, with the same weights on all of them."""

    def after_step(self, network: Network, num_steps: int) -> None:
        """Called on rank 0 after a step: to look on, never to change anything."""

    def state(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """What has to be remembered beside the weights to go on exactly."""
        return {}

    def restore(self, state: Arrays) -> None:
        """Take up what ``state`` said."""
