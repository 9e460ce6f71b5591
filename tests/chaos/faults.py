"""What strikes a driver from within, and only once it is there: every blow is noted before it falls."""

import errno
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hilum.core.errors import HilumError
from hilum.core.ports import Ledger
from hilum.store.manifest import Manifest, Run
from hilum.testing.interruptions import Countdown

Kind = Literal["none", "kill", "interrupt", "disk", "ledger", "desk", "pause"]
KINDS: tuple[Kind, ...] = ("kill", "interrupt", "disk", "ledger", "desk", "pause")
"""SIGKILL; Ctrl-C; a store that refuses to write; a ledger and a labelling tool that do not answer; SIGSTOP."""

FURTHEST: dict[Kind, int] = {"kill": 70, "interrupt": 70, "disk": 20, "ledger": 30, "desk": 7, "pause": 70}
"""Where each may strike, counted in points passed, writes, or requests since the driver began: what some get to."""


@dataclass(frozen=True)
class Fault:
    """``at``: which point, write or request is struck; ``num`` of them in a row; ``late``: after it was carried out."""

    kind: Kind = "none"
    at: int = 0
    num: int = 1
    late: bool = False

    @classmethod
    def drawn(cls, chance: random.Random) -> "Fault":
        kind = chance.choice(KINDS)
        at, late = chance.randint(1, FURTHEST[kind]), chance.random() < 0.5
        return cls(kind, at, chance.choice((1, 1, 3)), late)


@dataclass
class Blow:
    """One fault as it falls: counts what it may hit, notes that it hit, and says when."""

    fault: Fault
    notes: Path
    num_seen: int = 0
    num_hit: int = 0

    def falls(self, kind: Kind, where: str) -> bool:
        if kind != self.fault.kind:
            return False
        self.num_seen += 1
        hit = self.fault.at <= self.num_seen < self.fault.at + self.fault.num
        if hit:
            self.num_hit += 1
            self._note(where)
        return hit

    def countdown(self) -> Countdown:
        """Points at which this process is killed, interrupted or stopped."""
        return _Points(lambda: None, blow=self)

    def line(self, what: str) -> str:
        """For a `Desk`: what becomes of the next request."""
        return ("after" if self.fault.late else "before") if self.falls("desk", what) else ""

    def _note(self, where: str) -> None:
        # One write, appended: whoever is killed next has said so.
        descriptor = os.open(self.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{self.fault.kind}\t{where}\n".encode())
        os.close(descriptor)


class _Points(Countdown):
    def __init__(self, stop: Callable[[], None], *, blow: Blow) -> None:
        super().__init__(stop)
        self._blow = blow

    def point(self, where: str) -> None:
        if self._blow.falls("kill", where):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._blow.falls("pause", where):
            os.kill(os.getpid(), signal.SIGSTOP)
        if self._blow.falls("interrupt", where):
            raise KeyboardInterrupt


class FailingLedger:
    """A ledger whose server goes away around a call: before it is carried out, or before it is answered."""

    def __init__(self, inner: Ledger, blow: Blow) -> None:
        self._inner, self._blow = inner, blow

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*given: Any, **named: Any) -> Any:
            lost = self._blow.falls("ledger", name)
            if not lost or self._blow.fault.late:
                found = method(*given, **named)
            if lost:
                raise HilumError("The ledger at postgresql://desk.test did not answer: connection refused.")
            return found

        return call


def break_disk(folder: str, blow: Blow) -> None:
    """From now on opening, renaming and linking files of the store fails where the blow falls, as on a full disk.

    It lasts as long as this process: an audit hook cannot be taken back.
    """

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.link") or not str(given[0]).startswith(folder):
            return
        writes = event != "open" or _is_for_writing(given[1], given[2])
        if writes and "ledger.sqlite" not in str(given[0]) and blow.falls("disk", Path(str(given[0])).name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(given[0]))

    sys.addaudithook(hook)


def interrupt_commits(countdown: Countdown) -> None:
    """Points before and after each step's commit, in this process from now on."""
    commit = Run.commit

    def stopping(self: Run, files: list[str] | None = None, **results: Any) -> Manifest:
        return countdown.around(f"the commit of {self.step}", lambda: commit(self, files, **results))

    Run.commit = stopping  # type: ignore[method-assign]


def _is_for_writing(mode: str | None, flags: int) -> bool:
    return bool(set(mode or "") & set("wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
