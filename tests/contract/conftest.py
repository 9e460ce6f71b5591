"""A real Postgres server for the ledger's contract: private, on loopback, stopped by its own process."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.fixture(scope="session")
def postgres_port() -> Iterator[int]:
    """The port of a Postgres server that this session started and will stop."""
    assert SERVERS, "Postgres is not installed: run `.ci/setup-servers`"
    programs = SERVERS[-1].parent
    # Postgres refuses to run as root, and its user must be able to reach its own data.
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="hilum-postgres-"))
    if user:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    initialise = [programs / "initdb", "-D", data, "-U", "hilum", "--auth=trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(initialise, check=True, capture_output=True, cwd=folder, **user)
    port = _free_port()
    serve = [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(serve, stdout=log, stderr=log, cwd=folder, **user)
    try:
        _wait_until_ready(port, server, folder / "log")
        yield port
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_port: int) -> str:
    """An empty database of its own for one test."""
    name = f"ledger_{uuid4().hex[:12]}"
    with psycopg.connect(_url(postgres_port, "postgres"), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    return _url(postgres_port, name)


def _url(port: int, database: str) -> str:
    return f"postgresql://hilum@127.0.0.1:{port}/{database}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        try:
            psycopg.connect(_url(port, "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())
