"""`hilum submit` against a Ray cluster that somebody else started, with token authentication on."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil
import pytest
from ray.job_submission import JobSubmissionClient

TOKEN = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
NUM_PORTS = 6
START_SECONDS = 120
START_ATTEMPTS = 3


@pytest.fixture(scope="module")
def cluster():
    """The dashboard's address of a one-node cluster with two CPUs."""
    for _ in range(START_ATTEMPTS):
        # A socket's path must be shorter than 108 bytes, so not under pytest's long folders.
        folder = Path(tempfile.mkdtemp(prefix="hr", dir="/tmp"))
        head, address = _start_head(folder)
        try:
            if _is_started(head, folder, address):
                yield address
                return
        finally:
            _stop(head)
            log = (folder / "start.log").read_text()
            shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError(log)


def _start_head(folder):
    ports = _free_ports(NUM_PORTS)
    options = {
        "num-cpus": 2,
        "temp-dir": folder,
        "port": ports[0],
        "dashboard-host": "127.0.0.1",
        "dashboard-port": ports[1],
        "ray-client-server-port": ports[2],
        "dashboard-agent-listen-port": ports[3],
        "metrics-export-port": ports[4],
        "dashboard-agent-grpc-port": ports[5],
        "object-store-memory": 200_000_000,
    }
    ray = Path(sys.executable).with_name("ray")
    head = subprocess.Popen(
        [ray, "start", "--head", "--block", "--disable-usage-stats", *(f"--{k}={v}" for k, v in options.items())],
        env={**_environment(folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN},
        stdout=(folder / "start.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    return head, f"http://127.0.0.1:{ports[1]}"


def _is_started(head, folder, address):
    """False when the head gave up: Ray waits 30 seconds for its own node, which a busy machine may exceed."""
    deadline = time.monotonic() + START_SECONDS
    while head.poll() is None:
        if "Ray runtime started" in (folder / "start.log").read_text() and _answers(address):
            return True
        assert time.monotonic() < deadline, (folder / "start.log").read_text()
        time.sleep(0.3)
    return False


def _answers(address):
    request = Request(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urlopen(request, timeout=5):
            return True
    except (URLError, HTTPError, ConnectionError, TimeoutError):
        return False


def _environment(home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "HILUM_"))}
    # A job's `python` must be this one.
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "HOME": str(home), "RAY_worker_niceness": "0", "COLUMNS": "200"}


def _free_ports(num):
    """Free ports outside 10002 to 19999, which Ray's workers take, and below those of outgoing connections."""
    found = []
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == num:
            return found
    raise AssertionError("no free ports")


def _stop(head):
    """Stop this cluster's processes by id, and no other Ray on the machine."""
    if head.poll() is not None:
        return
    family = [head.pid, *(child.pid for child in psutil.Process(head.pid).children(recursive=True))]
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    head.wait()


def _hilum(tmp_path, *words, token=TOKEN, cwd=None, **more):
    environment = {**_environment(tmp_path), **more}
    if token:
        environment["RAY_AUTH_TOKEN"] = token
    command = [sys.executable, "-m", "hilum", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=280, check=False)


def test_a_campaign_runs_on_the_cluster_and_its_log_is_shown(cluster, tmp_path, begun):
    words = ["submit", "campaign", "run", "noise", "--store", str(tmp_path / "store"), "--address", cluster]
    done = _hilum(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "round 1 evaluated" in done.stderr
    assert "campaign noise: finished" in done.stderr
    assert begun.finished
    assert begun.status.num_answered == 8


def test_recipe_files_in_the_working_folder_are_found_there_and_options_after_dashes_go_to_the_job(cluster, tmp_path):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "mine.yaml").write_text("extends: smoke\ncampaign: {num_in_total: 77}\n")
    words = [
        "submit",
        "--address",
        cluster,
        "--working-dir",
        str(folder),
        "--",
        "recipe",
        "show",
        "mine.yaml",
        "--json",
    ]
    done = _hilum(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert '"num_in_total": 77' in done.stderr
    assert done.stdout.startswith("job ")


def test_a_job_that_is_not_followed_can_be_followed_later_to_its_own_exit_code(cluster, tmp_path):
    sent = _hilum(tmp_path, "submit", "recipe", "show", "smok", "--no-follow", "--json", "--address", cluster)
    answer = json.loads(sent.stdout)
    assert sent.returncode == 0
    assert answer["next"] == [f"hilum submit --job {answer['job_id']} --address {cluster}"]
    followed = _hilum(tmp_path, *answer["next"][0].split()[1:], "--json")
    assert followed.returncode == 2
    assert json.loads(followed.stdout) == {"job_id": answer["job_id"], "exit_code": 2, "next": []}


def test_without_the_clusters_token_one_is_asked_for_it(cluster, tmp_path):
    done = _hilum(tmp_path, "submit", "recipe", "list", "--address", cluster, token=None)
    assert done.returncode == 2
    assert "RAY_AUTH_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_file_is_as_good_as_a_variable(cluster, tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    words = ["submit", "recipe", "list", "--no-follow", "--address", cluster]
    done = _hilum(tmp_path, *words, token=None, RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert done.returncode == 0, done.stderr


def test_a_wrong_token_is_refused_in_one_line(cluster, tmp_path):
    done = _hilum(tmp_path, "submit", "recipe", "list", "--address", cluster, token="f" * 64)
    assert done.returncode == 2
    assert TOKEN not in done.stderr
    assert "f" * 64 not in done.stderr


def test_following_a_job_nobody_submitted_says_so(cluster, tmp_path):
    done = _hilum(tmp_path, "submit", "--job", "raysubmit_nosuch", "--address", cluster)
    assert done.returncode == 2
    assert "raysubmit_nosuch" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_leaves_the_job_running_and_says_how_to_follow_again(cluster, tmp_path):
    slow = tmp_path / "slow"
    slow.mkdir()
    fifo = slow / "recipe.yaml"
    os.mkfifo(fifo)  # reading it waits until somebody writes: a job that goes on for as long as we like
    environment = {**_environment(tmp_path), "RAY_AUTH_TOKEN": TOKEN}
    words = [sys.executable, "-m", "hilum", "submit", "recipe", "show", str(fifo), "--address", cluster]
    following = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert following.stderr is not None
    job_id = following.stderr.readline().split()[-1]
    following.send_signal(signal.SIGINT)
    out, told = following.communicate(timeout=60)
    assert following.returncode == 130
    assert f"hilum submit --job {job_id}" in out
    assert "the same command goes on" not in told
    client = JobSubmissionClient(cluster, headers={"Authorization": f"Bearer {TOKEN}"})
    assert not client.get_job_status(job_id).is_terminal()
    client.stop_job(job_id)
