"""`hilum ask` in a process of its own: watched, killed where it is told to, and asked again."""

import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError

_MARK = "HILUM_EVIDENCE_MARK"
_LOOK_SECONDS = 0.5
_GONE_SECONDS = 120.0


class TooLateError(HilumError):
    """A command was to be killed, and was done before."""


@dataclass
class Memory:
    """The most memory (bytes, proportional set size) that all processes held together, and each kind of them."""

    peak_bytes: int = 0
    of_kind: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """One command: which recipe of which store. Its Ray is its own."""

    recipe: Path
    store: Path
    checkpoint: str
    ingest: str

    @property
    def words(self) -> list[str]:
        given = ["--store", str(self.store), "--checkpoint", self.checkpoint, "--ingest", self.ingest, "--json"]
        return [sys.executable, "-m", "hilum", "ask", str(self.recipe), *given]

    def to_the_end(self, memory: Memory) -> dict[str, dict[str, Any]]:
        """The runs it ended with, by step."""
        with self._started(memory) as process:
            out, _ = process.communicate()
        if process.returncode:
            raise HilumError(f"hilum ask ended with exit code {process.returncode}.")
        return {run["step"]: run for run in json.loads(out)["runs"]}

    def killed_when(self, due: Callable[[], bool], memory: Memory) -> None:
        """Run it until ``due``, then end it with SIGKILL. TooLateError when it is done before."""
        with self._started(memory) as process:
            while process.poll() is None and not due():
                time.sleep(0.02)
            process.kill()
            if process.wait() == 0:
                raise TooLateError("It was done before it was to be killed.")

    def parts(self, score_id: str) -> dict[str, int]:
        """The parts of a score run there are, each with when it was written (ns)."""
        return {path.name: path.stat().st_mtime_ns for path in self.run("score", score_id).glob("part-*.parquet")}

    def is_done(self, step: str, run_id: str) -> bool:
        return (self.run(step, run_id) / "manifest.json").exists()

    def run(self, step: str, run_id: str) -> Path:
        """The folder of a run."""
        return self.store / "runs" / step / run_id

    @contextmanager
    def _started(self, memory: Memory) -> Iterator["subprocess.Popen[str]"]:
        """The command; when the context is left, nothing that came of it runs any more."""
        mark = f"{_MARK}={secrets.token_hex(8)}"
        name, value = mark.split("=")
        own = {name: value, "RAY_worker_niceness": "0", "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
        inherited = {key: text for key, text in os.environ.items() if key != "RAY_ADDRESS"}
        process = subprocess.Popen(self.words, env=inherited | own, stdout=subprocess.PIPE, text=True)
        ended = threading.Event()
        watch = threading.Thread(target=_watch, args=(mark.encode(), memory, ended), daemon=True)
        watch.start()
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            ended.set()
            watch.join()
            _wait_until_gone(mark.encode())


def _watch(mark: bytes, memory: Memory, ended: threading.Event) -> None:
    while not ended.wait(_LOOK_SECONDS):
        held: dict[str, int] = {}
        for place in _processes(mark):
            with suppress(OSError):
                kind = _kind((place / "cmdline").read_bytes())
                held[kind] = held.get(kind, 0) + _pss_bytes(place)
        memory.peak_bytes = max(memory.peak_bytes, sum(held.values()))
        for kind, num_bytes in held.items():
            memory.of_kind[kind] = max(num_bytes, memory.of_kind.get(kind, 0))


def _processes(mark: bytes) -> Iterator[Path]:
    """Every process that came of the command: they all carry its mark in their environment."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (place / "environ").read_bytes():
                yield place


def _kind(command: bytes) -> str:
    if b"hilum\0ask" in command:
        return "the command"
    return "its workers" if b"ray::Worker" in command else "Ray"


def _pss_bytes(place: Path) -> int:
    found = re.search(r"^Pss:\s+(\d+) kB", (place / "smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _wait_until_gone(mark: bytes) -> None:
    until = time.monotonic() + _GONE_SECONDS
    while any(True for _ in _processes(mark)):
        if time.monotonic() > until:
            raise HilumError(f"Processes of a killed command still run after {_GONE_SECONDS:.0f} s.")
        time.sleep(0.1)
