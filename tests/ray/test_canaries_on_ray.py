"""Names in a hospital's files are in no byte of what Ray keeps of the work: its logs, its events, its metrics."""

import json
import sys

import pytest
from tests.ray.own_ray import watched
from tests.round.names import BAD, CANARY, KINDS, SIDES, leaks, says, write_bad_files, write_mess

RECIPE = """
extends: smoke
pool: {patch_shape_zyx: [1, 16, 16]}
select: {num: 4}
finetune: {architecture: {kind: unet, depth: 1, features: [4, 8]}, num_steps: 2, batch_size: 4}
"""
COMMANDS = """
import json, sys, time
from hilum.cli.main import main
folder = sys.argv[1]
lines = [
    ["init", "store"],
    ["ingest", folder, "--store", "store"],
    ["ingest", f"{folder}/bad", "--store", "store"],
    ["ingest", f"{folder}/nowhere", "--store", "store"],
    ["campaign", "create", "asked", "--recipe", "people.yaml", "--store", "store"],
    ["campaign", "run", "asked", "--store", "store"],
    ["simulate", "oracle.yaml", "--store", "store", "--seeds", "0"],
    ["doctor", "--lookalikes", "--store", "store"],
]
codes = [main([*line, "--json"]) for line in lines]
time.sleep(2)  # metrics are gathered four times a second
print("CODES", codes)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Commands over a folder full of names, on one Ray, and everything that they and Ray left behind."""
    place = tmp_path_factory.mktemp("run")
    mess = tmp_path_factory.mktemp("mess") / f"{CANARY}ROOT"
    write_mess(mess)
    write_bad_files(mess / "bad")
    with (mess / "index.csv").open("a") as index:
        index.writelines(
            f"bad/{path.name},none,{CANARY}BAD^PATIENT,pool\n" for path in sorted((mess / "bad").iterdir())
        )
    (place / "people.yaml").write_text(RECIPE + "annotator: {kind: directory}\n")
    (place / "oracle.yaml").write_text(RECIPE + "annotator: {kind: oracle}\n")
    with watched([sys.executable, "-c", COMMANDS, str(mess)], folder=place) as seen:
        yield seen, place


def test_every_command_went_as_far_as_it_could(run):
    seen, place = run
    (codes,) = [json.loads(line.removeprefix("CODES")) for line in seen.out.splitlines() if line.startswith("CODES")]
    assert codes == [0, 5, 2, 2, 0, 3, 0, 0], seen.err
    (table,) = (place / "store" / "runs" / "ingest").glob("*/manifest.json")
    results = json.loads(table.read_text())["results"]
    assert results["num_volumes"] == len(SIDES) * len(KINDS)
    assert results["num_quarantined"] >= len(BAD)


def test_no_byte_of_ray_s_session_holds_a_name(run):
    seen, _ = run
    logs = [path.name for path in seen.session.rglob("*") if path.is_file()]
    for kind in ("worker-", "python-core-driver", "python-core-worker", "gcs_server", "raylet", "ray-data"):
        assert any(name.startswith(kind) for name in logs), kind
    assert leaks(seen.session) == []


def test_no_metric_holds_a_name(run):
    seen, _ = run
    assert "ray_tasks" in seen.metrics
    assert says(seen.metrics) == []


def test_no_byte_of_the_store_its_questions_and_its_reports_holds_a_name(run):
    _, place = run
    assert list((place / "store").glob("questions/*/*/task.json"))
    assert list((place / "store").glob("reports/*.html"))
    assert leaks(place / "store") == []
    assert leaks(place / "state") == []


def test_what_is_said_names_files_only_where_they_are_set_aside(run):
    seen, _ = run
    assert [line for line in says(seen.err) if "nowhere" not in line] == []  # as it was typed
    assert [line for line in says(seen.out) if '"file":' not in line and "nowhere" not in line] == []


def test_the_search_reaches_the_names_where_they_are(run):
    _, place = run
    assert leaks(place) == ["err", "out"]
