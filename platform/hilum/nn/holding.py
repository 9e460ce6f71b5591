"""Weights that stay as they are for a training's first steps, so that what is new learns to read them first.

Their gradients are computed, clipped and remembered by the optimizer like all others; only the step is undone. So
the optimizer knows them when they are let go, and its first step is no longer than any other. The running
statistics of batch norms are not held: in training a batch norm divides by what its batch holds, and the answer
would be another one in evaluation if what it saw were not remembered.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from hilum.nn.heads import Network


class Held:
    """The weights of these names, up to step ``num_steps``."""

    def __init__(self, names: Collection[str] = (), *, num_steps: int = 0) -> None:
        self._names, self._num_steps = frozenset(names), num_steps

    @contextmanager
    def during(self, step: int, network: Network) -> Iterator[None]:
        """Whatever the block does to the weights that are held at ``step`` is undone."""
        if step >= self._num_steps:
            yield
            return
        held = [parameter.data for name, parameter in network.named_parameters() if name in self._names]
        before = [weights.clone() for weights in held]
        yield
        for weights, kept in zip(held, before, strict=True):
            weights.copy_(kept)
