"""A command in a process of its own that starts a Ray of its own, watched from outside.

What is watched is every process that came of it, the driver, Ray's own and the workers: they all
carry one mark in their environment. Ray's session, its logs among it, stays to be looked through.
"""

import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

MARK = "HILUM_TEST_MARK"
OWN = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_metrics_report_interval_ms": "250",
}


@dataclass
class Watched:
    """What a command said and did. ``peaks_bytes`` has the most memory of each process by its id."""

    code: int = -1
    out: str = ""
    err: str = ""
    driver: int = 0
    peaks_bytes: dict = field(default_factory=dict)
    commands: dict = field(default_factory=lambda: defaultdict(set))
    metrics: str = ""
    session: Path = Path()

    def peaks_of(self, name):
        """The most memory of each process that was ever called ``name``: Ray names a worker by what it is at."""
        return {pid: peak for pid, peak in self.peaks_bytes.items() if any(name in c for c in self.commands[pid])}


@contextmanager
def watched(command, *, folder, **variables):
    """The command, run in ``folder`` to its end; its Ray's session is there as long as the context lasts."""
    # Sockets lie in it, and their paths must be shorter than 108 characters.
    session = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    try:
        yield _run(command, session, folder, variables)
    finally:
        shutil.rmtree(session, ignore_errors=True)


def _run(command, session, folder, variables):
    mark = secrets.token_hex(8)
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    own = {MARK: mark, "RAY_TMPDIR": str(session), "HILUM_STATE": str(folder / "state")}
    seen = Watched(session=session)
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(
            command,
            env=inherited | OWN | own | variables,
            cwd=folder,
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
        )
        seen.driver = process.pid
        while process.poll() is None:
            _look(seen, f"{MARK}={mark}".encode())
            time.sleep(0.02)
    seen.code, seen.out, seen.err = process.returncode, (folder / "out").read_text(), (folder / "err").read_text()
    return seen


def _look(seen, mark):
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            if mark in (place / "environ").read_bytes():
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                pid, peak = int(place.name), _peak_bytes(place)
                seen.peaks_bytes[pid] = max(peak, seen.peaks_bytes.get(pid, 0))
                seen.commands[pid].add(command)
    for port in seen.session.rglob("metrics_export_port_*"):
        with suppress(OSError, ValueError, urllib.error.URLError):
            url = f"http://127.0.0.1:{int(port.read_text())}/metrics"
            with urllib.request.urlopen(url, timeout=1) as answer:
                seen.metrics = answer.read().decode() or seen.metrics


def _peak_bytes(place):
    found = re.search(r"VmHWM:\s+(\d+) kB", (place / "status").read_text())
    return int(found[1]) << 10 if found else 0
