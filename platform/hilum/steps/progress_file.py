"""How a training goes, in its run's folder for whoever looks on: ``progress.json``, gone when the training is over.

It is told by rank 0 and read by any process that sees the store. Nothing is computed from it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.errors import NotFoundError
from hilum.core.ports import Counts, TrainContext
from hilum.store.layout import filesystem
from hilum.store.manifest import read_json, write_json

FILE = "progress.json"
PICTURES = "pictures"
"""The folder of a pretraining's pictures, a file every so many steps."""

_SECONDS_BETWEEN = 1.0


@dataclass(frozen=True)
class Progress:
    """The reports of a training so far, by step, and how many steps it will take."""

    num_steps: int
    reports: tuple[Counts, ...]


class ToldContext:
    """Another context, whose reports are also written to the run's folder, about once a second."""

    def __init__(
        self, inner: TrainContext, run_url: str, *, num_steps: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._inner, self._url, self._num_steps, self._clock = inner, run_url, num_steps, clock
        before = read_progress(run_url) if inner.rank == 0 else None
        self._reports = {report["step"]: report for report in before.reports} if before else {}
        self._written_at = -_SECONDS_BETWEEN
        self._all_written = True

    @property
    def rank(self) -> int:
        return self._inner.rank

    @property
    def num_workers(self) -> int:
        return self._inner.num_workers

    def sum_in_order(self, chunks: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """What the other context adds."""
        return self._inner.sum_in_order(chunks)

    def report(self, metrics: Counts) -> None:
        """Tell the other context; tell the folder if it was not told just now."""
        self._inner.report(metrics)
        if self.rank == 0:
            self._reports[metrics["step"]] = dict(metrics)
            self._all_written = False
            if self._clock() - self._written_at >= _SECONDS_BETWEEN:
                self.write()

    def write(self) -> None:
        """Leave all reports so far in the folder."""
        if self._all_written:
            return
        reports: list[dict[str, Any]] = [self._reports[step] for step in sorted(self._reports)]
        write_json(f"{self._url}/{FILE}", {"num_steps": self._num_steps, "reports": reports})
        self._written_at, self._all_written = self._clock(), True


@contextmanager
def told_in(run_url: str, context: TrainContext, *, num_steps: int) -> Iterator[ToldContext]:
    """A context that tells the folder too; when training ends, whatever was not told yet."""
    told = ToldContext(context, run_url, num_steps=num_steps)
    yield told
    told.write()


def read_progress(run_url: str) -> Progress | None:
    """What was told so far; None when nothing was, or the training is over."""
    try:
        found = read_json(f"{run_url}/{FILE}")
    except NotFoundError:
        return None
    return Progress(int(found["num_steps"]), tuple(found["reports"]))


def forget_progress(run_url: str) -> None:
    """Remove what was told of a training that is over."""
    fs, path = filesystem(f"{run_url}/{FILE}")
    if fs.exists(path):
        fs.rm_file(path)
