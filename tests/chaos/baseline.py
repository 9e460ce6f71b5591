"""What of this machine is in use, and whether a campaign gave it back."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass
class Baseline:
    """What was in use at first. ``folders`` are those in which nothing may stay: temporary ones, shared memory."""

    folders: tuple[Path, ...] = ()
    before: "InUse" = field(init=False)

    def __post_init__(self) -> None:
        self.before = InUse.now(self.folders)

    def back(self, *, seconds: float = 0.0) -> None:
        """AssertionError when more is in use than before, after at most so many seconds of waiting."""
        until = time.monotonic() + seconds
        while (more := InUse.now(self.folders).beyond(self.before)) and time.monotonic() < until:
            time.sleep(0.2)
        assert not more, more


@dataclass(frozen=True)
class InUse:
    """Children of this process, the ports they and it listen at, shared memory, and what lies in some folders."""

    processes: frozenset[int]
    ports: frozenset[int]
    files: frozenset[str]

    @classmethod
    def now(cls, folders: tuple[Path, ...]) -> "InUse":
        me = psutil.Process()
        family = [me, *me.children(recursive=True)]
        return cls(
            frozenset(child.pid for child in family[1:] if _is_alive(child)),
            frozenset(port for process in family for port in _ports(process)),
            frozenset(str(path) for folder in folders if folder.exists() for path in folder.iterdir()),
        )

    def beyond(self, before: "InUse") -> dict[str, list[object]]:
        more = {
            "processes": sorted(self.processes - before.processes),
            "ports": sorted(self.ports - before.ports),
            "files": sorted(self.files - before.files),
        }
        return {what: list(found) for what, found in more.items() if found}


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _ports(process: psutil.Process) -> list[int]:
    try:
        return [c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []
