"""What the steps need of the outside world. Adapters implement these; steps see nothing else."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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

        Rank 0 holds the first chunks, rank 1 the next, and so on; they need not hold equally
        many, but each at least one. The sum is the same to the last bit whatever W is.
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

    def refused(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """Answers that were given but cannot be used: candidate id and the reason. They are still waited for."""
        ...

    def declined(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        """What people looked at and will not answer: candidate id and the reason. Nobody waits for these."""
        ...


@dataclass(frozen=True)
class CampaignPlace:
    """Where a campaign is. ``version`` counts its moves, so that a late mover is noticed."""

    name: str
    round_number: int
    stage: str
    version: int


class CampaignLedger(Protocol):
    """Who may move a campaign next: every move is a compare-and-set."""

    def start(self, name: str, stage: str) -> CampaignPlace:
        """Enter a new campaign at round 0; one that is there already stays where it is."""
        ...

    def place(self, name: str) -> CampaignPlace | None: ...

    def places(self) -> Sequence[CampaignPlace]:
        """Every campaign, by name."""
        ...

    def move(self, before: CampaignPlace, round_number: int, stage: str) -> CampaignPlace:
        """Move on from ``before``; ConflictError when the campaign is no longer there."""
        ...


class AliasLedger(Protocol):
    """Where a model's aliases (``champion``) point."""

    def alias(self, model: str, alias: str) -> str | None:
        """The checkpoint the alias points at, or None."""
        ...

    def aliases(self) -> Mapping[tuple[str, str], str]:
        """Where every alias points: (model, alias) -> checkpoint, by model."""
        ...

    def point(self, model: str, alias: str, checkpoint_id: str, *, expected: str | None) -> None:
        """Point the alias at ``checkpoint_id`` if it points at ``expected``; ConflictError when it does not.

        Pointing it where it points already does nothing.
        """
        ...

    def drop(self, model: str, alias: str) -> None:
        """Let the alias point nowhere; one that points nowhere stays so."""
        ...


class LeaseLedger(Protocol):
    """Who works on something now. Leases save double work; correctness never leans on them."""

    def hold(self, name: str, holder: str, seconds: float) -> str:
        """Take or renew the lease unless somebody else's is still good. Returns who holds it now."""
        ...

    def release(self, name: str, holder: str) -> None:
        """Give the lease back, if ``holder`` has it."""
        ...

    def holders(self) -> Mapping[str, str]:
        """Every lease that is still good: its name and who holds it."""
        ...


class TaskLedger(Protocol):
    """What an outside labelling tool calls each task."""

    def remember_tasks(self, selection_id: str, external_ids: Mapping[str, str]) -> None:
        """Note candidate id -> the tool's id. What was noted first stands."""
        ...

    def external_ids(self, selection_id: str) -> Mapping[str, str]: ...


class Ledger(CampaignLedger, AliasLedger, LeaseLedger, TaskLedger, Protocol):
    """All that needs compare-and-set. Campaigns and aliases can be rebuilt from manifests and events."""

    def restore(self, places: Sequence[CampaignPlace], aliases: Mapping[tuple[str, str], str]) -> None:
        """Replace every campaign and alias by these, in one transaction."""
        ...


class Meter(Protocol):
    """Counts and timings for whoever watches. Metric names are declared in `core.telemetry`."""

    def count(self, metric: str, value: float = 1, /, **labels: str) -> None: ...

    def observe(self, metric: str, value: float, /, **labels: str) -> None: ...

    def set(self, metric: str, value: float, /, **labels: str) -> None: ...
