"""Alert rules and dashboards as promtool reads them, and the runbooks they point at."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from hilum.cli.main import app
from hilum.cli.reference import commands

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "helm" / "hilum" / "rules" / "hilum.yaml"
CASES = ROOT / "tests" / "helm" / "alerts.test.yaml"
RUNBOOKS = ROOT / "platform" / "docs" / "guide" / "runbooks.md"
DASHBOARDS = sorted((ROOT / "helm" / "hilum" / "dashboards").glob("*.json"))
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
COMMANDS = dict(commands(get_command(app), "hilum"))
_named = {"ids": lambda alert: alert["alert"]}


def promtool(*words):
    assert shutil.which("promtool"), "promtool is not installed: run `.ci/setup-servers`"
    return subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False)


def test_every_alert_fires_and_is_silent_as_its_cases_say():
    done = promtool("test", "rules", CASES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, **_named)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(alert):
    asked = [one for case in yaml.safe_load(CASES.read_text())["tests"] for one in case["alert_rule_test"]]
    of_this = [bool(one["exp_alerts"]) for one in asked if one["alertname"] == alert["alert"]]
    assert set(of_this) == {True, False}


def test_a_rule_that_never_fires_would_be_noticed(tmp_path):
    rules = RULES.read_text().replace("hilum_store_up == 0", "hilum_store_up == 2")
    (tmp_path / "hilum.yaml").write_text(rules)
    cases = CASES.read_text().replace("../../helm/hilum/rules/hilum.yaml", str(tmp_path / "hilum.yaml"))
    (tmp_path / "cases.yaml").write_text(cases)
    done = promtool("test", "rules", tmp_path / "cases.yaml")
    assert done.returncode != 0
    assert "HilumStoreDown" in done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, **_named)
def test_every_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(alert):
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    said = alert["annotations"]
    assert said["summary"].endswith(".")
    assert said["description"].endswith(".")
    assert said["runbook_url"] == f"platform/docs/guide/runbooks.md#{alert['alert'].lower()}"
    section = RUNBOOKS.read_text().split(f"\n## {alert['alert']}\n")[1].split("\n## ")[0]
    assert all(f"**{part}.**" in section for part in ("Means", "Look", "Do"))


def test_no_runbook_is_of_an_alert_that_is_gone():
    assert re.findall(r"^## (\w+)", RUNBOOKS.read_text(), re.MULTILINE) == [alert["alert"] for alert in ALERTS]


def test_the_runbooks_commands_exist():
    text = re.sub(r"\s+", " ", RUNBOOKS.read_text())
    typed = [words for words in re.findall(r"`(hilum [^`]+)`", text) if not words.startswith("hilum.")]
    assert typed
    for words in typed:
        known = [name for name in COMMANDS if f"{words} ".startswith(f"{name} ")]
        assert known, words
        options = {option for name in known for parameter in COMMANDS[name].params for option in parameter.opts}
        assert set(re.findall(r"--[\w-]+", words)) <= options, words


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_a_dashboard_parses(dashboard, tmp_path):
    rules = []
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = re.sub(r"\$\w+", "x", target["expr"].replace("$__rate_interval", "5m"))
            rules.append({"record": "parsed", "expr": expression, "labels": {"query": str(len(rules))}})
    assert rules
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_read_by_people(dashboard):
    content = json.loads(dashboard.read_text())
    assert content["description"]
    assert content["uid"].startswith("hilum-")
    panels = [panel for panel in content["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in content["panels"]}) == len(content["panels"])
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"].endswith(".") for panel in panels)
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in panels for target in panel["targets"])
    taken = [
        (x, y)
        for panel in content["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken)), "no panel lies on another"
    assert max(x for x, _ in taken) < 24
