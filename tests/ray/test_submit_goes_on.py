"""A RayJob that is lost with its head goes on: its command really runs, and is really killed in the middle.

The Kubernetes API is the stand-in of tests/helm; what it runs is the job's own entrypoint, as a process of this machine
with a Ray of its own. Killed is all of it at once, as a head's node takes it along.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

import psutil
import yaml
from tests.helm import engine
from tests.helm.api_server import DONE, RUNNING, Api, Moment, failed, kubeconfig, lost, serving

from hilum.cli.main import main

KILL_AT = "round 1 selected"


def _really(session, kill_at=None):
    """What a job's entrypoint says and how it ends, line by line."""

    def moments(job):
        yield RUNNING
        words = shlex.split(job["spec"]["entrypoint"].replace("$$(", "$("))
        settings = yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]
        own = {"RAY_TMPDIR": session, "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", "COLUMNS": "200"}
        process = subprocess.Popen(
            [sys.executable, *words[1:]],
            env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | own | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        for line in process.stdout:
            yield Moment(line=line.rstrip("\n"), seconds=0)
            if kill_at and kill_at in line:
                _kill(process)
                yield lost()
                return
        code = process.wait()
        yield failed(code) if code else DONE

    return moments


def _kill(process):
    """The command and the Ray that it started, each by its id, before any of them can say good-bye."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in family:
        one.suspend()
    for one in family:
        one.kill()
    process.wait()


def test_a_job_lost_with_its_head_goes_on_with_the_same_runs(tmp_path, begun, monkeypatch, capsys):
    (chart,) = [
        one
        for one in engine.objects(engine.CHART / "ci" / "jobs-values.yaml")
        if one["metadata"]["name"] == "hilum-rayjob-template"
    ]
    # Sockets lie in it, and their paths must be shorter than 108 characters.
    session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    store = str(tmp_path / "store")
    api = Api([_really(session, KILL_AT), _really(session)], template=yaml.safe_load(chart["data"]["rayjob.yaml"]))
    try:
        with serving(api) as address:
            monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, address)))
            monkeypatch.setenv("HILUM_STATE", str(tmp_path / "state"))
            words = ["submit", "--to", "k8s", "--json", "--store", store, "campaign", "run", "noise"]
            assert main(words) == 0, capsys.readouterr()
    finally:
        shutil.rmtree(session, ignore_errors=True)
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert (answer["exit_code"], answer["attempts"]) == (0, 2), said.err
    assert "was lost" in said.err
    # What the first attempt had finished, the second did not do again.
    assert said.err.count(KILL_AT) == 1
    assert said.err.index(KILL_AT) < said.err.index("was lost") < said.err.index("campaign noise: finished")
    assert begun.finished
    assert begun.status.num_answered == 8
