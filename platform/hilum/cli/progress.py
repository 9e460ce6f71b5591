"""Progress on stderr while an executor works: a bar for shards, and for training with its step, loss and learning rate.

A training can also be tracked (`hilum.adapters.tracking`), terminal or not.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from hilum.adapters.tracking import Tracker
from hilum.cli.following import Onlooker, followed
from hilum.core.ports import Counts, Executor, TrainContext
from hilum.core.resources import Resources
from hilum.store.layout import Store

T = TypeVar("T")
_FOLLOWED = ("finetune", "pretrain")


class ShownExecutor:
    """Another executor (`hilum.core.ports.Executor`), with its progress shown to whoever waits at a terminal.

    It is made when there is work: a command that finds everything done starts no Ray. Trainings of ``store`` are
    shown step by step, and tracked.
    """

    def __init__(
        self,
        make_executor: Callable[[], Executor],
        *,
        store: Store | None = None,
        make_tracker: Callable[[str], Tracker] | None = None,
    ) -> None:
        self._make_executor, self._store, self._make_tracker = make_executor, store, make_tracker

    @cached_property
    def _executor(self) -> Executor:
        return self._make_executor()

    def map_shards(
        self,
        work: Callable[[T], Counts],
        shards: Sequence[T],
        *,
        label: str,
        resources: Resources,
        num_workers: int,
    ) -> Iterator[Counts]:
        """Every result as it comes, counted."""
        if not shards:
            return
        results: Iterable[Counts] = self._executor.map_shards(
            work, shards, label=label, resources=resources, num_workers=num_workers
        )
        yield from counted(results, len(shards), label)

    def train(self, work: Callable[[TrainContext], Counts], *, name: str, resources: Resources) -> Counts:
        """Train, with the seconds running and, where the run's folder is known, the loss."""
        with ExitStack() as looking_on:
            shown = looking_on.enter_context(_progress())
            task = shown.add_task(name, total=None)
            step, _, run_id = name.rpartition("-")
            if self._store is not None and step in _FOLLOWED:
                onlookers: list[Onlooker] = [] if shown.disable else [_OnScreen(shown, task, name)]
                if self._make_tracker is not None:
                    onlookers.append(_Tracked(looking_on.enter_context(closing(self._make_tracker(name)))))
                if onlookers:
                    looking_on.enter_context(followed(self._store.run(step, run_id), onlookers))
            return self._executor.train(work, name=name, resources=resources)


class _OnScreen:
    """The newest report beside the bar."""

    def __init__(self, shown: Progress, task: TaskID, name: str) -> None:
        self._shown, self._task, self._name = shown, task, name

    def report(self, metrics: Counts, *, num_steps: int) -> None:
        told = training_line(self._name, metrics, num_steps=num_steps)
        self._shown.update(self._task, description=told, completed=metrics["step"], total=num_steps)

    def picture(self, step: int, png: bytes) -> None:
        """A terminal has no room for it."""


class _Tracked:
    """Every report as points on curves, and every picture."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def report(self, metrics: Counts, *, num_steps: int) -> None:  # noqa: ARG002
        values = {label: float(value) for label, value in metrics.items() if label != "step"}
        self._tracker.scalars(int(metrics["step"]), values)

    def picture(self, step: int, png: bytes) -> None:
        self._tracker.picture(step, png)


def training_line(name: str, metrics: Counts, *, num_steps: int) -> str:
    """One report of a training, for a line on the screen."""
    held_out = f"  held out {metrics['held_out_loss']:.4g}" if "held_out_loss" in metrics else ""
    told = f"loss {metrics['loss']:.4g}{held_out}  learning rate {metrics['learning_rate']:.3g}"
    return f"{name}  step {metrics['step']}/{num_steps}  {told}"


def counted(items: Iterable[T], num: int, label: str) -> Iterator[T]:
    """Every item as it comes, counted on a bar."""
    with _progress(MofNCompleteColumn()) as shown:
        task = shown.add_task(label, total=num)
        for item in items:
            shown.advance(task)
            yield item


def _progress(*columns: MofNCompleteColumn) -> Progress:
    console = Console(stderr=True)
    described = TextColumn("[progress.description]{task.description}")
    # Transient: what stays on the screen is the command's answer.
    return Progress(
        SpinnerColumn(),
        described,
        BarColumn(),
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
