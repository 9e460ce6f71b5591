"""What the steps need of the outside world. Adapters implement these; steps see nothing else."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from hilum.core.asking import Annotation, Task
from hilum.core.resources import Resources

Counts = dict[str, Any]
"""What comes back from a worker: a row of counts, names and reasons. Never voxels."""

T = TypeVar("T")


class TrainContext(Protocol):
    """One training worker's view of its group."""

    @property
    def rank(self) -> int: ...

    @property
    def num_workers(self) -> int: ...

    def sum_in_order(self, chunks: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Add every worker's chunks in the order of their global place.

        Worker r of W holds the global chunks r·n … r·n+n−1. The sum is the same to the
        last bit whatever W is.
        """
        ...

    def report(self, metrics: Counts) -> None:
        """Say how it goes. Checkpoints are the loop's own, in the run folder."""
        ...


class Executor(Protocol):
    """Where shards and training run. Functions and arguments travel; only ids, recipes and counts do."""

    def map_shards(
        self,
        work: Callable[[T], Counts],
        shards: Sequence[T],
        *,
        label: str,
        resources: Resources,
        num_workers: int,
    ) -> Iterable[Counts]:
        """Call ``work`` once for every shard, in any order, and yield each result as it comes.

        ``work`` may run twice for a shard whose worker died: it must be idempotent.
        """
        ...

    def train(self, work: Callable[[TrainContext], Counts], *, name: str, resources: Resources) -> Counts:
        """Call ``work`` on every worker of a group and return rank 0's counts."""
        ...


class Annotator(Protocol):
    """Somebody who answers: an oracle, a folder, Label Studio."""

    def publish(self, tasks: Sequence[Task]) -> int:
        """Ask. Publishing the same task twice asks once. Returns how many were new."""
        ...

    def collect(self, tasks: Sequence[Task]) -> Sequence[Annotation]:
        """Every answer there is to these tasks by now, newest revision only."""
        ...


class Meter(Protocol):
    """Counts and timings for whoever watches. Metric names are declared in `core.telemetry`."""

    def count(self, metric: str, value: float = 1, **labels: str) -> None: ...

    def observe(self, metric: str, value: float, **labels: str) -> None: ...
