"""Looking on while a training runs: what it leaves in its run's folder is passed on as it comes.

Whoever trains may be another process on another machine; the store is what both see.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from hilum.cli.console import complain_softly
from hilum.core.ports import Counts
from hilum.steps.progress_file import PICTURES, read_progress
from hilum.store.layout import filesystem
from hilum.store.manifest import read_bytes

_SECONDS_BETWEEN = 1.0


class Onlooker(Protocol):
    """Somebody who is told of reports and pictures, each once and in the order of their steps."""

    def report(self, metrics: Counts, *, num_steps: int) -> None: ...

    def picture(self, step: int, png: bytes) -> None: ...


class Follower:
    """Passes on what is new in a run's folder, each time it looks."""

    def __init__(self, run_url: str, onlookers: Sequence[Onlooker]) -> None:
        self._url, self._onlookers = run_url, onlookers
        self._last_step = 0
        self._seen: set[str] = set()

    def look(self) -> None:
        """Read the folder once."""
        progress = read_progress(self._url)
        for report in progress.reports if progress else ():
            if report["step"] > self._last_step:
                self._last_step = report["step"]
                for onlooker in self._onlookers:
                    onlooker.report(report, num_steps=progress.num_steps if progress else 0)
        for name in self._new_pictures():
            png = read_bytes(f"{self._url}/{PICTURES}/{name}")
            for onlooker in self._onlookers:
                onlooker.picture(int(name.removeprefix("step-").removesuffix(".png")), png)
            self._seen.add(name)

    def _new_pictures(self) -> list[str]:
        fs, path = filesystem(f"{self._url}/{PICTURES}")
        fs.invalidate_cache()
        names = {str(found).rsplit("/", 1)[-1] for found in fs.glob(f"{path}/step-*.png")}
        return sorted(names - self._seen)


@contextmanager
def followed(run_url: str, onlookers: Sequence[Onlooker]) -> Iterator[None]:
    """Look on in a thread of its own. Whatever goes wrong with looking on is said, and training goes on."""
    follower, over, wrong = Follower(run_url, onlookers), threading.Event(), list[Exception]()

    def look_until_over() -> None:
        try:
            while not over.wait(_SECONDS_BETWEEN):
                follower.look()
            follower.look()
        except Exception as error:
            wrong.append(error)

    thread = threading.Thread(target=look_until_over, name="hilum-onlooker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if wrong:
            complain_softly(f"The training was not followed to its end: {str(wrong[0]) or type(wrong[0]).__name__}")
