"""A real Label Studio for the tests: installed once into a folder of its own, started fresh for every session."""

import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hilum.adapters.label_studio import local_server
from hilum.adapters.label_studio.connection import Access, Connection

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "hilum-tests" / "label-studio"
ENVIRONMENT = f"environment-{local_server.VERSION}"
BRIDGE_KEY = "a key for the tests alone, with forty signs".replace(" ", "-")
WEBHOOK_SECRET = "a-secret-for-the-tests-alone"
BRIDGE_URL = "http://127.0.0.1:9"
_KEPT = ("access.json", "password.txt")


@dataclass(frozen=True)
class Server:
    """Where it is, and how to get in as hilum or as a person."""

    folder: Path
    url: str
    token: str
    user: str
    password: str

    @property
    def connection(self) -> Connection:
        return Connection(Access(self.url, self.token))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HILUM_LABEL_STUDIO_URL": self.url,
            "HILUM_LABEL_STUDIO_TOKEN": self.token,
            "HILUM_BRIDGE_URL": BRIDGE_URL,
            "HILUM_BRIDGE_KEY": BRIDGE_KEY,
        }


RUNNING = "HILUM_TEST_LABEL_STUDIO"
"""While writing tests: the folder of a server that runs already and is left running."""


@contextmanager
def running_label_studio() -> Iterator[Server]:
    """A server with an empty database, stopped at the end."""
    if os.environ.get(RUNNING):
        yield _started(Path(os.environ[RUNNING]))
        return
    template = made_ready()
    folder = Path(tempfile.mkdtemp(prefix="hilum-label-studio-"))
    try:
        (folder / ENVIRONMENT).symlink_to(CACHE / ENVIRONMENT)
        for name in _KEPT:
            shutil.copy2(template / name, folder / name)
        shutil.copytree(template / "data", folder / "data")
        yield _started(folder)
    finally:
        local_server.down(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path) -> Server:
    known = local_server.up(folder, port=free_port())
    password = (folder / local_server.PASSWORD_FILE).read_text().strip()
    return Server(folder, known["url"], known["token"], known["user"], password)


def made_ready() -> Path:
    """Label Studio installed, and a database whose migrations were made, which takes half a minute. Both are kept."""
    made = CACHE / f"template-{local_server.VERSION}"
    if made.exists():
        return made
    local_server.install(CACHE)
    fresh = Path(tempfile.mkdtemp(prefix="template-", dir=CACHE))
    (fresh / ENVIRONMENT).symlink_to(CACHE / ENVIRONMENT)
    _started(fresh)
    local_server.down(fresh)
    (fresh / ENVIRONMENT).unlink()
    sqlite3.connect(fresh / "data" / "label_studio.sqlite3").execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    fresh.rename(made)
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    made_ready()
