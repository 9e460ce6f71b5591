"""deploy/compose, as Docker Compose itself reads it: pinned, on loopback, without a password that anybody knows.

Docker is not needed and not started here. What its services run is run by test_running.py.
"""

import json
import re
import shutil
import stat
import subprocess

import pytest
import yaml
from tests.compose import engine
from tests.helm import engine as helm

from hilum.adapters.label_studio.local_server import VERSION
from hilum.cli.main import main
from hilum.cli.settings import PREFIX, Settings

ONCE, BY_HAND = {"init", "owner", "keys"}, {"hilum"}
FILE = engine.FOLDER / "compose.yaml"
SERVICES = sorted(yaml.safe_load(FILE.read_text())["services"])
KEPT_BY_THEMSELVES = {"label-studio", "grafana"}
"""Their images hold their own data folders: who they run as, and where else they write, is theirs."""


@pytest.fixture(scope="module")
def env_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compose")
    shutil.copy(engine.FOLDER / "make-env", folder)
    subprocess.run([folder / "make-env", "hilum:0.1.0"], check=True)
    return folder / ".env"


@pytest.fixture(scope="module")
def values(env_file):
    return dict(line.split("=", 1) for line in env_file.read_text().splitlines())


@pytest.fixture(scope="module")
def services(env_file):
    return engine.resolved(env_file)["services"]


@pytest.fixture(scope="module")
def chart():
    """The first container of pods of the chart, by component."""
    files = [helm.CHART / "ci" / f"{name}-values.yaml" for name in ("monitoring", "label-studio")]
    found = {}
    for each in [rendered for file in files for rendered in helm.objects(file)]:
        if each["kind"] in {"Deployment", "StatefulSet"}:
            component = each["metadata"]["labels"]["app.kubernetes.io/component"]
            found[component] = each["spec"]["template"]["spec"]["containers"][0]
    return found


def test_secrets_are_made_once_each_of_its_own_for_its_owner_alone(env_file, values):
    secrets = {name: value for name, value in values.items() if name != "HILUM_IMAGE"}
    assert all(re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value) for value in secrets.values())
    assert len(set(secrets.values())) == len(secrets)
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    before = env_file.read_text()
    again = subprocess.run([env_file.parent / "make-env", "other:1"], capture_output=True, text=True, check=False)
    assert (again.returncode, "there already" in again.stderr) == (2, True)
    assert env_file.read_text() == before


def test_without_any_one_of_them_nothing_starts(env_file, values, tmp_path):
    for missing in values:
        rest = tmp_path / missing
        rest.write_text("".join(f"{name}={value}\n" for name, value in values.items() if name != missing))
        refused = engine.compose(rest, "config", "--quiet", check=False)
        assert refused.returncode != 0, missing
        assert missing in refused.stderr
        assert "./make-env" in refused.stderr


def test_the_example_names_every_variable_and_holds_no_value_of_a_secret(values):
    asked = set(re.findall(r"\$\{(\w+)", FILE.read_text()))
    example = (engine.FOLDER / ".env.example").read_text()
    assert all(re.search(rf"\b{name}\b", example) for name in asked)
    assert asked >= set(values)
    assert not any(line and not line.startswith("#") for line in example.splitlines())


def test_a_secret_is_in_the_environment_of_who_needs_it_and_nowhere_else(services, values):
    for service in services.values():
        rest = json.dumps({key: value for key, value in service.items() if key != "environment"})
        assert not any(value in rest for name, value in values.items() if name != "HILUM_IMAGE")
    whose = {
        name: {one for one, service in services.items() if values[name] in json.dumps(service.get("environment"))}
        for name in ("IDENTITY_KEY", "LABEL_STUDIO_PASSWORD", "GRAFANA_PASSWORD", "BRIDGE_KEY")
    }
    assert whose == {
        "IDENTITY_KEY": {"hilum"},
        "LABEL_STUDIO_PASSWORD": {"label-studio"},
        "GRAFANA_PASSWORD": {"grafana"},
        "BRIDGE_KEY": {"bridge", "hilum", "metrics"},
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_fixed_image_and_may_do_little(name, services):
    service = services[name]
    assert re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]*\d[\w.-]*", service["image"])
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["CHOWN"] if name == "owner" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "devices", "userns_mode"} & set(service)
    assert service.get("network_mode") in {None, "none"}
    assert service.get("read_only") or name in KEPT_BY_THEMSELVES
    assert service["restart"] == ("no" if name in ONCE | BY_HAND else "unless-stopped")
    assert "healthcheck" in service or name in ONCE | BY_HAND


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_reached_but_on_loopback_and_nothing_of_the_machine_is_written_to(name, services):
    assert all(port["host_ip"] == "127.0.0.1" for port in services[name].get("ports", ()))
    for mount in services[name].get("volumes", ()):
        if mount["type"] == "bind":
            assert mount["read_only"]
            assert (engine.FOLDER / mount["source"]).exists()


def test_store_and_ledger_are_reached_by_hilum_alone(env_file):
    whole = engine.resolved(env_file)
    assert whole["networks"]["store"]["internal"]
    for name in ("s3", "postgres"):
        assert set(whole["services"][name]["networks"]) == {"store"}
        assert "ports" not in whole["services"][name]
    inside = {name for name, service in whole["services"].items() if "store" in service.get("networks", ())}
    assert {whole["services"][name]["image"] for name in inside - {"s3", "postgres"}} == {"hilum:0.1.0"}


def test_what_is_started_together(services):
    profiles = {}
    for name, service in services.items():
        profiles.setdefault(",".join(service.get("profiles", ["always"])), set()).add(name)
    assert profiles == {
        "always": {"s3", "postgres", *ONCE},
        "annotate": {"bridge", "label-studio"},
        "serve": {"inference"},
        "watch": {"metrics", "prometheus", "grafana"},
        "run": {"hilum"},
    }


def test_every_setting_of_hilum_is_one_and_every_host_is_a_service(services):
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            assert name in known or not name.startswith(PREFIX)
            for host in re.findall(r"(?:https?://|@)([\w.-]+):", value or ""):
                assert host in services or host in {"127.0.0.1", "localhost"}


def test_hilum_knows_every_command(services, capsys):
    ours = [service for service in services.values() if service["entrypoint"] == ["hilum"]]
    assert len(ours) == 4
    for service in ours:
        assert main([*service["command"], "--help"]) == 0, capsys.readouterr().err


def test_services_are_started_as_the_chart_starts_them(services, chart):
    for ours, theirs in (("bridge", "bridge"), ("metrics", "control")):
        assert ["python", "-m", "hilum", *services[ours]["command"]] == chart[theirs]["args"]
    there = {one["name"]: one.get("value") for one in chart["label-studio"]["env"]}
    there = {name: value for name, value in there.items() if name.startswith(("LABEL_STUDIO_", "SECRET_"))}
    here = services["label-studio"]["environment"]
    assert set(there) <= set(here)
    assert all(here[name] == value for name, value in there.items() if value is not None)
    assert services["label-studio"]["command"][:3] == chart["label-studio"]["args"][:3]
    assert services["label-studio"]["image"].endswith(f":{VERSION}")


def test_prometheus_loads_the_chart_s_rules_and_scrapes_what_runs(services, tmp_path):
    written = (engine.FOLDER / "prometheus.yml").read_text()
    mounts = {mount["target"]: mount["source"] for mount in services["prometheus"]["volumes"]}
    assert mounts["/etc/prometheus/rules"] == str(engine.ROOT / "helm/hilum/rules")
    (tmp_path / "key").touch()
    here = written.replace("/etc/prometheus/rules", mounts["/etc/prometheus/rules"])
    (tmp_path / "prometheus.yml").write_text(here.replace("/keys/prometheus.key", str(tmp_path / "key")))
    command = ["promtool", "check", "config", tmp_path / "prometheus.yml"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert "rule files found" in checked.stdout
    targets = re.findall(r'"(\w+):(\d+)"', written) + re.findall(r"names: \[(\w+)\], type: A, port: (\d+)", written)
    ours = {name: service["command"] for name, service in services.items() if service["entrypoint"] == ["hilum"]}
    listening = {name: words[-1] for name, words in ours.items() if "--port" in words}
    assert {name: listening[name] for name, _ in targets} == dict(targets)
    assert len(targets) == 3


def test_grafana_shows_the_chart_s_dashboards(services):
    mounts = {mount["target"]: mount["source"] for mount in services["grafana"]["volumes"]}
    provided = yaml.safe_load((engine.FOLDER / "grafana/dashboards/hilum.yaml").read_text())
    (source,) = yaml.safe_load((engine.FOLDER / "grafana/datasources/prometheus.yaml").read_text())["datasources"]
    folder = provided["providers"][0]["options"]["path"]
    assert mounts[folder] == str(engine.ROOT / "helm/hilum/dashboards")
    assert list((engine.ROOT / "helm/hilum/dashboards").glob("*.json"))
    assert source["url"].startswith("http://prometheus:")
