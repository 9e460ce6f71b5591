"""Shards and training in this very process: unit tests, a debugger, and a worker that is a shard itself."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hilum.core.ports import Counts, TrainContext
from hilum.core.resources import Resources

T = TypeVar("T")


class LocalTrainContext:
    """A training group of one."""

    rank = 0
    num_workers = 1

    def __init__(self) -> None:
        self.reports: list[Counts] = []

    def sum_in_order(self, chunks: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Add the chunks one after the other, as every larger group does."""
        total = chunks[0].copy()
        for chunk in chunks[1:]:
            total += chunk
        return total

    def report(self, metrics: Counts) -> None:
        """Keep what the loop says of itself."""
        self.reports.append(metrics)


class InlineExecutor:
    """Does one shard after the other, in order."""

    def map_shards(
        self,
        work: Callable[[T], Counts],
        shards: Sequence[T],
        *,
        label: str,  # noqa: ARG002
        resources: Resources,  # noqa: ARG002
        num_workers: int,  # noqa: ARG002
    ) -> Iterator[Counts]:
        """Call ``work`` on each shard when its result is asked for."""
        for shard in shards:
            yield work(shard)

    def train(self, work: Callable[[TrainContext], Counts], *, name: str, resources: Resources) -> Counts:  # noqa: ARG002
        """Train with one worker: this one."""
        return work(LocalTrainContext())
