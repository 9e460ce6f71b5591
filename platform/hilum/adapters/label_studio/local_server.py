"""A real Label Studio for one user, on this machine alone: installed in its own environment, started, stopped.

It listens on loopback, sends nothing out, and knows one account whose password only this user can read.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hilum.adapters.label_studio.local_access import ACCESS_FILE, local_access
from hilum.adapters.label_studio.local_processes import (
    LOOPBACK,
    check_port_is_free,
    is_running,
    start_detached,
    stop,
    wait_until_healthy,
)
from hilum.core.errors import HilumError

VERSION = "1.23.2"
"""The release that hilum is tested with."""

DEFAULT_PORT = 8080
USER = "annotator@example.com"
PASSWORD_FILE = "password.txt"  # noqa: S105 (a file's name)
_READY = "ready"
_START_SECONDS = 600.0
_WEBHOOK_SECONDS = 5

Say = Callable[[str], None]


def up(folder: Path, *, port: int = DEFAULT_PORT, say: Say = lambda _: None) -> dict[str, Any]:
    """Have Label Studio run from ``folder``; how to get in, as `local_access` reads it."""
    before = local_access(folder)
    if before is not None and is_up(folder, before):
        return before
    check_port_is_free(port, "Label Studio (--port)")
    program = install(folder, say=say)
    _made_private(folder)
    known = {"url": f"http://{LOOPBACK}:{port}", "token": secrets.token_hex(20), "user": USER, **(before or {})}
    known["url"] = f"http://{LOOPBACK}:{port}"
    password = _password(folder)
    # The token is kept before the database that knows it: a start that is cut short can be started again.
    write_access(folder, known)
    say("Starting Label Studio…")
    data, log = folder / "data", folder / "label-studio.log"
    data.mkdir(exist_ok=True)
    command = [str(program), "start", "--no-browser", "--internal-host", LOOPBACK, "--port", str(port)]
    pid = start_detached(command, _environment(folder, known, password), log, data)
    known["pid"] = pid
    write_access(folder, known)
    wait_until_healthy(f"{known['url']}/health", pid, log, seconds=_START_SECONDS)
    return known


def down(folder: Path) -> bool:
    """Stop it; whether it ran. What people answered stays."""
    known = local_access(folder)
    return known is not None and stop(known.get("pid"), str(folder))


def is_up(folder: Path, known: dict[str, Any]) -> bool:
    """Whether the process that was started from ``folder`` is there."""
    return is_running(known.get("pid"), str(folder))


def install(folder: Path, *, say: Say = lambda _: None) -> Path:
    """Label Studio's program in an environment of its own, made if it is not there."""
    environment = folder / f"environment-{VERSION}"
    program = environment / "bin" / "label-studio"
    if (environment / _READY).exists():
        return program
    say(f"Installing Label Studio {VERSION} into {environment} (about 1 GB; once)…")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(environment, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(environment)])
    python = str(environment / "bin" / "python")
    wanted = f"label-studio=={VERSION}"
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is not None:
        _run([uv, "pip", "install", "--quiet", "--python", python, wanted])
    else:
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted])
    (environment / _READY).touch()
    return program


def write_access(folder: Path, known: dict[str, Any]) -> None:
    """How to get in, for this user's eyes."""
    _write_private(folder / ACCESS_FILE, json.dumps(known, indent=2) + "\n")


def _password(folder: Path) -> str:
    file = folder / PASSWORD_FILE
    if not file.exists():
        _write_private(file, secrets.token_urlsafe(12) + "\n")
    return file.read_text().strip()


def _environment(folder: Path, known: dict[str, Any], password: str) -> dict[str, str]:
    """All that it may know. It reads bare names too (HOST, DEBUG, CI, …), so ours are not passed on."""
    nowhere = f"http://{LOOPBACK}:9"
    label_studio = {
        "BASE_DATA_DIR": str(folder / "data"),
        "USERNAME": known["user"],
        "PASSWORD": password,
        "USER_TOKEN": known["token"],
        "ENABLE_LEGACY_API_TOKEN": "true",
        "DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # Nothing is told to anybody: what people do, their mail addresses, errors with what was asked.
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "false",
        # The bridge is on loopback too.
        "SSRF_PROTECTION_ENABLED": "false",
        "ML_BLOCK_LOCAL_IP": "false",
        "WEBHOOK_TIMEOUT": str(_WEBHOOK_SECONDS),
        "LOG_LEVEL": "WARNING",
    }
    return {
        "PATH": os.pathsep.join([str(folder / f"environment-{VERSION}" / "bin"), "/usr/bin", "/bin"]),
        "HOME": str(folder / "data"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        # One page asks a public host for tips, for which there is no switch.
        "HTTPS_PROXY": nowhere,
        "https_proxy": nowhere,
        "NO_PROXY": f"{LOOPBACK},localhost",
        "no_proxy": f"{LOOPBACK},localhost",
        **{f"LABEL_STUDIO_{name}": value for name, value in label_studio.items()},
    }


def _made_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def _write_private(file: Path, text: str) -> None:
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
    partial.replace(file)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own command)
    if done.returncode != 0:
        raise HilumError(f"'{' '.join(command)}' failed:\n{done.stderr[-2000:]}")
