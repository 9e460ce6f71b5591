"""A real Prometheus on loopback, with hilum's alert rules, and what it can be asked."""

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml
from tests.services.own_server import CLIENT

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "helm" / "hilum" / "rules" / "hilum.yaml"
DASHBOARDS = sorted((ROOT / "helm" / "hilum" / "dashboards").glob("*.json"))


class Prometheus:
    """One that runs, by its address."""

    def __init__(self, url):
        self.url = url

    def query(self, expression):
        """The samples that an instant query gives, now: labels and a value each."""
        return [(row["metric"], float(row["value"][1])) for row in self._asked("query", query=expression)["result"]]

    def query_range(self, expression, *, start, end, step):
        """The series of a range query: labels, and (seconds, value) for each."""
        found = self._asked("query_range", query=expression, start=start, end=end, step=step)["result"]
        return [(row["metric"], [(float(at), float(value)) for at, value in row["values"]]) for row in found]

    def rules(self):
        """Every alert rule that it has loaded."""
        return [rule for group in self._asked("rules")["groups"] for rule in group["rules"]]

    def targets(self):
        """Job -> health."""
        return {target["labels"]["job"]: target["health"] for target in self._asked("targets")["activeTargets"]}

    def _asked(self, what, **params):
        answer = CLIENT.get(f"{self.url}/api/v1/{what}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


@contextmanager
def prometheus(folder, targets, *, every="1s"):
    """One that scrapes ``targets``: job -> (address, key)."""
    assert shutil.which("prometheus"), "Prometheus is not installed: run `.ci/setup-servers`"
    jobs = [
        {
            "job_name": job,
            "static_configs": [{"targets": [url.removeprefix("http://")]}],
            "authorization": {"credentials": key},
        }
        for job, (url, key) in targets.items()
    ]
    config = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(RULES)],
        "scrape_configs": jobs,
    }
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    port = free_port()
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        until(lambda: _is_ready(found), "Prometheus is ready", process=process, log=folder / "prometheus.log")
        yield found
    finally:
        process.terminate()
        process.wait(30)


def expressions(dashboard):
    """(panel's title, expression, legend) of every query of a dashboard's file."""
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


def filled(expression, *, window="20s"):
    """An expression as Grafana would send it with everything chosen."""
    for variable in ("campaign", "model", "simulation"):
        expression = expression.replace(f"${variable}", ".*")
    return expression.replace("$__rate_interval", window)


def until(holds, what, *, process=None, log=None, seconds=120):
    """Wait until something holds, as long as the process lives that is to bring it about."""
    deadline = time.monotonic() + seconds
    while not holds():
        said = log.read_text() if log else ""
        assert process is None or process.poll() is None, f"{what}: the process ended.\n{said}"
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s.\n{said}"
        time.sleep(0.2)


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _is_ready(found):
    try:
        return CLIENT.get(f"{found.url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False
