"""A real Postgres server: private, on loopback, stopped by its own process, and started again where it was."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


class Postgres:
    """One server with its own data. Use it in a ``with``."""

    def __enter__(self) -> "Postgres":
        assert SERVERS, "Postgres is not installed: run `.ci/setup-servers`"
        self._programs = SERVERS[-1].parent
        # Postgres refuses to run as root, and its user must be able to reach its own data.
        self._user: dict[str, Any] = (
            {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        )
        self._folder = Path(tempfile.mkdtemp(prefix="hilum-postgres-"))
        if self._user:
            shutil.chown(self._folder, "postgres", "postgres")
        initialise = [self._programs / "initdb", "-D", self._data, "-U", "hilum", "--auth=trust", "--no-sync"]
        subprocess.run([*initialise, "-E", "UTF8"], check=True, capture_output=True, cwd=self._folder, **self._user)
        self.port = _free_port()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        serve = [self._programs / "postgres", "-D", self._data, "-p", str(self.port), "-h", "127.0.0.1"]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [*serve, "-k", self._folder, "-F"], stdout=log, stderr=log, cwd=self._folder, **self._user
            )
        self._wait_until_ready()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT breaks all connections off and ends in order; SIGQUIT ends as a crash does."""
        self._server.send_signal(how)
        self._server.wait(timeout=30)

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"ledger_{uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://hilum@127.0.0.1:{self.port}/{database}"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _wait_until_ready(self) -> None:
        for _ in range(300):
            assert self._server.poll() is None, self._log.read_text()
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(self._log.read_text())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
