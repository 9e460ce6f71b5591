"""An executor, an annotator and a ledger that stop at the n-th point: to be killed where it hurts.

Every wrapper passes points, before and after each thing it does: a shard, a training step,
a task published, a call of the ledger. A `Countdown` counts them, and at the n-th it stops
the process, or raises.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from hilum.core.asking import Annotation, Task
from hilum.core.ports import Annotator, CampaignPlace, Counts, Executor, Ledger, TrainContext
from hilum.core.resources import Resources

T = TypeVar("T")


@dataclass
class Countdown:
    """Counts points; at number ``stop_at`` (from 1; 0: never) it calls ``stop``."""

    stop: Callable[[], None]
    stop_at: int = 0
    passed: list[str] = field(default_factory=list)

    def point(self, where: str) -> None:
        self.passed.append(where)
        if len(self.passed) == self.stop_at:
            self.stop()

    def around(self, where: str, call: Callable[[], T]) -> T:
        self.point(f"before {where}")
        result = call()
        self.point(f"after {where}")
        return result


@dataclass
class InterruptedExecutor:
    """Stops around shards and, in training, at sums of gradients. For executors that work in this process."""

    inner: Executor
    countdown: Countdown

    def map_shards(
        self,
        work: Callable[[T], Counts],
        shards: Sequence[T],
        *,
        label: str,
        resources: Resources,
        num_workers: int,
    ) -> Iterator[Counts]:
        def stopping(shard: T) -> Counts:
            return self.countdown.around(f"a shard of {label}", lambda: work(shard))

        yield from self.inner.map_shards(stopping, shards, label=label, resources=resources, num_workers=num_workers)

    def train(self, work: Callable[[TrainContext], Counts], *, name: str, resources: Resources) -> Counts:
        def stopping(context: TrainContext) -> Counts:
            return work(InterruptedTrainContext(context, self.countdown))

        return self.countdown.around("training", lambda: self.inner.train(stopping, name=name, resources=resources))


@dataclass
class InterruptedTrainContext:
    """Stops in the middle of training."""

    inner: TrainContext
    countdown: Countdown

    @property
    def rank(self) -> int:
        return self.inner.rank

    @property
    def num_workers(self) -> int:
        return self.inner.num_workers

    def sum_in_order(self, chunks: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        self.countdown.point("in a training step")
        return self.inner.sum_in_order(chunks)

    def report(self, metrics: Counts) -> None:
        self.countdown.around("a training report", lambda: self.inner.report(metrics))


@dataclass
class InterruptedAnnotator:
    """Publishes one task after the other, and stops between them."""

    inner: Annotator
    countdown: Countdown

    def publish(self, tasks: Sequence[Task]) -> int:
        return sum(self._publish(task) for task in tasks)

    def collect(self, tasks: Sequence[Task]) -> Sequence[Annotation]:
        return self.countdown.around("collecting", lambda: self.inner.collect(tasks))

    def refused(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        return self.inner.refused(tasks)

    def declined(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        return self.inner.declined(tasks)

    def _publish(self, task: Task) -> int:
        return self.countdown.around("publishing a task", lambda: self.inner.publish([task]))


class InterruptedLedger:
    """Stops around every write of the ledger (leases too)."""

    def __init__(self, inner: Ledger, countdown: Countdown) -> None:
        self._inner = inner
        self._countdown = countdown

    def start(self, name: str, stage: str) -> CampaignPlace:
        return self._countdown.around("starting a campaign", lambda: self._inner.start(name, stage))

    def move(self, before: CampaignPlace, round_number: int, stage: str) -> CampaignPlace:
        return self._countdown.around(f"the move to {stage}", lambda: self._inner.move(before, round_number, stage))

    def point(self, model: str, alias: str, checkpoint_id: str, *, expected: str | None) -> None:
        self._countdown.around(
            "pointing the alias", lambda: self._inner.point(model, alias, checkpoint_id, expected=expected)
        )

    def hold(self, name: str, holder: str, seconds: float) -> str:
        return self._countdown.around("taking a lease", lambda: self._inner.hold(name, holder, seconds))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
