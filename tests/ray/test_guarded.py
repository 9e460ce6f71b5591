"""Nobody without the token commands a Ray that hilum started, or one that it is pointed at."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from tests.ray.test_submit import TOKEN, cluster  # noqa: F401 (a fixture)

STARTED = """
import ray
from hilum.adapters.ray_data import connect
connect()
print(ray.get_runtime_context().gcs_address, flush=True)
input()
"""
PROBE = """
import logging, os, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
print("LET IN", ray.cluster_resources()["CPU"])
"""


def _environment(home, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", **more}


@pytest.fixture(scope="module")
def own():
    """The address of a Ray that hilum started, its session's folder and its home."""
    home = Path(tempfile.mkdtemp(prefix="hg", dir="/tmp"))
    (home / "home").mkdir()
    environment = _environment(home / "home", RAY_TMPDIR=str(home))
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    address = process.stdout.readline().strip()
    assert re.fullmatch(r"[\d.]+:\d+", address), address
    yield process, address, home
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    shutil.rmtree(home, ignore_errors=True)


def _probe(address, home, **more):
    done = subprocess.run(
        [sys.executable, "-c", PROBE, address],
        env=_environment(home, **more),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_ray_that_hilum_started_lets_in_who_has_the_token_and_nobody_else(own, tmp_path):
    _, address, home = own
    file = home / "home" / ".ray" / "auth_token"
    assert file.stat().st_mode & 0o077 == 0
    assert "LET IN" in _probe(address, home / "home", RAY_AUTH_MODE="token")
    for mode in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}):
        said = _probe(address, tmp_path, **mode)
        assert "LET IN" not in said
        assert file.read_text() not in said


def test_no_port_of_a_ray_that_hilum_started_runs_a_job_for_who_has_no_token(own, tmp_path):
    """Whatever listens, agents and metrics among it, is asked as CVE-2023-48022 is used."""
    process, _, _ = own
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = {c.laddr for one in family for c in one.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert len(listening) >= 3
    body = json.dumps({"entrypoint": f"touch {tmp_path}/ran"}).encode()
    answers = {}
    for host, port in listening:
        reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        for path in ("/api/jobs/", "/api/job_agent/jobs/"):
            request = Request(f"http://{reached}:{port}{path}", data=body, headers={"Content-Type": "application/json"})
            try:
                with urlopen(request, timeout=5) as answer:
                    answers[port, path] = answer.status
            except HTTPError as refusal:
                answers[port, path] = refusal.code
            except (OSError, HTTPException):
                answers[port, path] = None  # it does not speak HTTP/1
    assert [place for place, status in answers.items() if status and status < 400] == []
    assert 401 in answers.values(), "no job server was met"
    assert not (tmp_path / "ran").exists()


def test_the_token_is_in_no_argument_and_no_log_of_ray(own):
    process, _, home = own
    token = (home / "home" / ".ray" / "auth_token").read_text()
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        assert token not in " ".join(one.cmdline())
    logs = [path for path in home.glob("**/session_*/logs/**/*") if path.is_file()]
    assert logs
    assert [str(path) for path in logs if token.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("path", ["/api/jobs/", "/api/cluster_status", "/nodes?view=summary", "/api/v0/actors"])
@pytest.mark.parametrize("token", [None, "f" * 64])
def test_a_dashboard_refuses_a_probe_without_its_token(cluster, path, token):  # noqa: F811
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with pytest.raises(HTTPError) as refusal:
        urlopen(Request(cluster + path, headers=headers), timeout=30)
    assert refusal.value.code in (401, 403)
    assert TOKEN not in refusal.value.read().decode()


def test_a_job_posted_without_the_token_does_not_run(cluster, tmp_path):  # noqa: F811
    """As CVE-2023-48022 is used."""
    body = json.dumps({"entrypoint": f"touch {tmp_path}/ran"}).encode()
    request = Request(f"{cluster}/api/jobs/", data=body, headers={"Content-Type": "application/json"})
    with pytest.raises(HTTPError) as refusal:
        urlopen(request, timeout=30)
    assert refusal.value.code in (401, 403)
    assert not (tmp_path / "ran").exists()


def test_a_command_pointed_at_a_guarded_ray_without_its_token_is_told_so_in_one_line(own, tmp_path):
    _, address, _ = own
    init = [sys.executable, "-m", "hilum", "init", str(tmp_path / "store")]
    environment = _environment(tmp_path, HILUM_STATE=str(tmp_path / "state"), COLUMNS="250")
    subprocess.run(init, check=True, env=environment, capture_output=True)
    (tmp_path / "scans").mkdir()
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "scans" / "a.png")
    words = ["ingest", str(tmp_path / "scans"), "--store", str(tmp_path / "store"), "--address", address]
    done = subprocess.run(
        [sys.executable, "-m", "hilum", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "asks for its token. Set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH" in done.stderr
    assert "Traceback" not in done.stderr
