"""Processes that go on when the command that started them has ended, known again by what their command line says."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from hilum.core.errors import HilumError, RequestError

LOOPBACK = "127.0.0.1"
_LOG_LINES = 15
_LOOKS, _LOOK_SECONDS = 5, 0.2


def start_detached(command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> int:
    """Start a process that outlives this one, with this environment and no other; its number."""
    # A log may name what was opened with which signature: it is this user's alone.
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=folder,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    return process.pid


def is_running(pid: int | None, mark: str) -> bool:
    """Whether process ``pid`` is there and has ``mark`` in its command line: numbers are given again.

    On a busy machine the command line of a process that lives cannot be read at every moment: it is looked at again.
    """
    for _ in range(_LOOKS if pid is not None else 0):
        said = _living(pid or 0)
        if mark in said or not said:
            return bool(said)
        time.sleep(_LOOK_SECONDS)
    return False


def _living(pid: int) -> str:
    """State and command line of a process; '' when it is gone. One that ends has lost its command line before."""
    ps = shutil.which("ps")
    if ps is None:
        return ""
    asked = [ps, "-p", str(pid), "-ww", "-o", "stat=,command="]  # all of it, however narrow the screen is
    said = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
    return "" if said.stdout.lstrip().startswith("Z") else said.stdout.strip()


def stop(pid: int | None, mark: str, *, seconds: float = 20) -> bool:
    """End the process of that number, if it is the one that is meant; whether there was one."""
    if pid is None or not is_running(pid, mark):
        return False
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not _living(pid):
                return True
            time.sleep(0.1)
    raise HilumError(f"Process {pid} does not end.")


def wait_until_healthy(url: str, pid: int, log: Path, *, seconds: float) -> None:
    """Until ``url`` answers with 200; HilumError with the log's end when the process dies or is too slow."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=5).status_code == 200:
                return
        if _has_ended(pid):
            raise HilumError(f"It ended while starting. The end of {log}:\n{_end_of(log)}")
        time.sleep(0.3)
    raise HilumError(f"It was not ready after {seconds:g} seconds. The end of {log}:\n{_end_of(log)}")


def check_port_is_free(port: int, what: str) -> None:
    """RequestError when something listens there: Label Studio would move to the next port without a word."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((LOOPBACK, port)) == 0:
            raise RequestError(f"Port {port} is taken; choose another one for {what}.")


def _has_ended(pid: int) -> bool:
    """Of a process that this one started. While it begins, its command line is not there yet."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return True


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:]) if log.exists() else ""
