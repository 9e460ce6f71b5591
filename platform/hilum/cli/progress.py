"""Progress on stderr while an executor works: a bar for shards, a spinner for training."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hilum.core.ports import Counts, Executor, TrainContext
from hilum.core.resources import Resources

T = TypeVar("T")


class ShownExecutor:
    """Another executor (`hilum.core.ports.Executor`), with its progress shown to whoever waits at a terminal.

    It is made when there is work: a command that finds everything done starts no Ray.
    """

    def __init__(self, make_executor: Callable[[], Executor]) -> None:
        self._make_executor = make_executor

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
        """Train, with the seconds running."""
        with _progress() as shown:
            shown.add_task(name, total=None)
            return self._executor.train(work, name=name, resources=resources)


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
