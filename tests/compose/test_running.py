"""What the services of deploy/compose run, run: the same words and settings, in processes instead of containers.

S3 is moto's, on loopback; the ledger a Postgres of its own; Prometheus real. Addresses and ports alone are others.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from tests.compose import engine
from tests.contract.own_postgres import Postgres
from tests.services.own_prometheus import free_port, until
from tests.services.own_server import CLIENT

LISTENING = {"bridge": "/ready", "inference": "/v1/ready", "metrics": "/ready"}
ALL_UP = dict.fromkeys(("hilum-control", "hilum-bridge", "hilum-inference"), "up")


class Machine:
    """The file's services, by name, with what stands in for the network between them."""

    def __init__(self, services, folder, ports, ledger):
        self.services, self.folder, self.ports = services, folder, ports
        self.keys = folder / "keys"
        self._others = {
            "http://s3:7070": f"http://127.0.0.1:{ports['s3']}",
            "@postgres:5432/hilum": ledger.removeprefix("postgresql://hilum"),
            "/keys/": f"{self.keys}/",
        }

    def here(self, text):
        for theirs, ours in self._others.items():
            text = text.replace(theirs, ours)
        return text

    def environment(self, name):
        own = {one: self.here(value) for one, value in self.services[name]["environment"].items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {one: os.environ[one] for one in ("HOME", "PYTHONPATH") if one in os.environ}
        return {**kept, "PATH": path, "HILUM_STATE": str(self.folder / "state"), **own}

    def words(self, name):
        """Entry point and command, with another port to listen on."""
        words = [*self.services[name]["entrypoint"], *(self.services[name]["command"] or ())]
        if "--port" in words:
            words[words.index("--port") + 1] = str(self.ports[name])
        return [word.replace("/etc/hilum", str(engine.FOLDER)) for word in words]

    def once(self, name):
        done = subprocess.run(
            self.words(name), env=self.environment(name), capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def running(self, name, words=None, environment=None):
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                words or self.words(name), env=environment or self.environment(name), stdout=file, stderr=file
            )
        try:
            yield process, log
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    folder = tmp_path_factory.mktemp("env")
    shutil.copy(engine.FOLDER / "make-env", folder)
    subprocess.run([folder / "make-env", "hilum:0.1.0"], check=True)
    return engine.resolved(folder / ".env")["services"]


@pytest.fixture
def machine(services, tmp_path):
    (tmp_path / "keys").mkdir()
    ports = {name: free_port() for name in ("s3", "prometheus", *LISTENING)}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(ports["s3"])]
    with Postgres() as server:
        found = Machine(services, tmp_path, ports, server.new_database())
        with found.running("s3", command, dict(os.environ)) as (process, log):
            until(lambda: _status(f"http://127.0.0.1:{ports['s3']}/") == 200, "S3 answers", process=process, log=log)
            yield found


def test_the_store_is_made_the_services_answer_and_prometheus_reads_all_three(machine):
    assert "made" in machine.once("init")
    assert "already done" in machine.once("init")
    machine.once("keys")
    key = (machine.keys / "prometheus.key").read_text()
    machine.once("keys")
    assert (machine.keys / "prometheus.key").read_text() == key
    (made,) = json.loads((machine.keys / "keys.json").read_text())["keys"]
    assert (made["name"], made["may"]) == ("prometheus", ["metrics"])
    assert not (machine.keys / "made.json").exists()
    assert [stat.S_IMODE((machine.keys / one).stat().st_mode) for one in ("prometheus.key", "keys.json")] == [
        0o644,
        0o600,
    ]

    urls = {name: f"http://127.0.0.1:{machine.ports[name]}" for name in LISTENING}
    with ExitStack() as stack:
        started = {name: stack.enter_context(machine.running(name)) for name in LISTENING}
        prometheus, log = stack.enter_context(machine.running("prometheus", _prometheus(machine), dict(os.environ)))
        for name, (process, said) in started.items():
            ready = urls[name] + LISTENING[name]
            until(lambda ready=ready: _status(ready) == 200, f"{name} is ready", process=process, log=said)
            assert _status(f"{urls[name]}/metrics") == 401
        assert _status(f"{urls['inference']}/v1/models") == 401
        until(lambda: _targets(machine) == ALL_UP, "three targets are up", process=prometheus, log=log)


def _prometheus(machine):
    """Its own command and our configuration, with the addresses at which the services listen here."""
    text = (engine.FOLDER / "prometheus.yml").read_text()
    config = yaml.safe_load(machine.here(text).replace("/etc/prometheus/rules", str(engine.ROOT / "helm/hilum/rules")))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        (named,) = job.pop("dns_sd_configs", None) or job.pop("static_configs")
        name = named["names"][0] if "names" in named else named["targets"][0].split(":")[0]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{machine.ports[name]}"]}]
    file = machine.folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    words = [
        re.sub(r"=/etc/prometheus/prometheus.yml$", f"={file}", word).replace("=/prometheus", f"={machine.folder}/tsdb")
        for word in machine.services["prometheus"]["command"]
    ]
    return ["prometheus", *words, f"--web.listen-address=127.0.0.1:{machine.ports['prometheus']}"]


def _targets(machine):
    try:
        answer = CLIENT.get(f"http://127.0.0.1:{machine.ports['prometheus']}/api/v1/targets")
        return {one["labels"]["job"]: one["health"] for one in answer.json()["data"]["activeTargets"]}
    except (httpx.TransportError, ValueError):
        return {}


def _status(url):
    try:
        return CLIENT.get(url).status_code
    except httpx.TransportError:
        return 0
