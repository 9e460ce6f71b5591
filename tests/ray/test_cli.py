"""Commands that start work: the same as typed by a newcomer, on a real Ray, with nothing done before."""

import csv
import json
import shlex

import numpy as np
import pytest
from PIL import Image

import hilum
from hilum.cli.main import main

CLASSES = ("across", "down", "diagonal")
RECIPE = """
extends: smoke
pool: {split: {validation: 0.2, test: 0.2}}
select: {num: 6}
finetune: {architecture: {kind: unet, depth: 1, features: [4, 8]}, num_steps: 2, batch_size: 4}
"""


@pytest.fixture
def place(tmp_path, ray_cluster, monkeypatch):
    """The current folder: a store, a folder of scans and two recipes, one for people and one for an oracle."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HILUM_STATE", str(tmp_path / "state"))
    images = tmp_path / "scans" / "images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    rows = ["image,class,patient"]
    for number in range(24):
        image = 128 + 60 * np.sin((x, y, x + y)[number % 3] / 2) + rng.normal(0, 20, (16, 16))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(images / f"{number:03d}.png")
        rows.append(f"images/{number:03d}.png,{CLASSES[number % 3]},patient {number}")
    (tmp_path / "scans" / "index.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "people.yaml").write_text(RECIPE + "annotator: {kind: directory}\n")
    (tmp_path / "oracle.yaml").write_text(RECIPE + "annotator: {kind: oracle}\n")
    return tmp_path


@pytest.fixture
def typed(capfd):
    """Type a command and get its exit code and what it says to machines."""

    def type_(line):
        capfd.readouterr()
        code = main(shlex.split(f"{line} --json"))
        out, _ = capfd.readouterr()
        return code, json.loads(out)

    return type_


def _answer_all(folder):
    """Fill in the answer sheet as a person would: every question gets a class."""
    (sheet,) = folder.glob("questions/*/answers.csv")
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["answer"] = CLASSES[number % 3]
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_a_round_by_hand_is_a_chain_of_commands_each_naming_the_next(place, typed):
    assert typed("init")[0] == 0
    code, ingested = typed("ingest scans")
    assert (code, ingested["results"]["num_volumes"], ingested["already_done"]) == (0, 24, False)
    line, steps = "pool oracle.yaml", []
    while "NAME" not in line:
        code, document = typed(line)
        assert code == 0, document
        if not line.startswith("label status"):
            steps.append(document["step"])
            assert not document["already_done"]
        line = document["next"][0].removeprefix("hilum ")
    assert steps == ["pool", "score", "select", "publish", "collect", "finetune", "evaluate"]
    code, promoted = typed(line.replace("NAME", "stripes"))
    assert (code, promoted["results"]["promoted"]) == (0, True)


def test_a_campaign_waits_for_people_and_goes_on_when_they_have_answered(place, typed):
    typed("init")
    typed("ingest scans")
    typed("campaign create stripes --recipe people.yaml")
    code, waiting = typed("campaign run stripes")
    assert code == 3
    assert waiting["error"]["kind"] == "WaitingForPeople"
    assert str(place / "questions") in waiting["error"]["message"]
    _answer_all(place)
    code, waiting = typed("campaign run stripes")
    assert code == 3
    assert "Round 1" in waiting["error"]["message"]
    _, status = typed("round status stripes")
    assert (status["num_answered"], status["round_number"]) == (4, 1)


def test_next_takes_a_campaign_one_stage_further_each_time(place, typed):
    typed("init")
    typed("ingest scans")
    typed("campaign create stripes --recipe oracle.yaml")
    stages = [typed("round next stripes")[1]["stage"] for _ in range(7)]
    assert stages[:6] == ["scored", "selected", "published", "collected", "trained", "evaluated"]
    assert stages[6] in {"promoted", "rejected"}


def test_a_simulation_says_who_won_and_the_second_time_says_so_at_once(place, typed):
    typed("init")
    typed("ingest scans")
    code, first = typed("simulate oracle.yaml --seeds 0,1")
    assert code == 0, first
    assert {branch["strategy"] for branch in first["results"]["branches"]} == {"random", "active"}
    report = (place / "reports" / "oracle.html").read_text()
    assert first["headline"]
    assert "http://" not in report.replace("http://www.w3.org", "")
    code, again = typed("simulate oracle.yaml --seeds 0,1")
    assert (code, again["already_done"], again["results"]) == (0, True, first["results"])


def test_a_strategy_nobody_wrote_is_answered_with_the_likely_one(place, typed):
    typed("init")
    code, document = typed("simulate oracle.yaml --strategy activ")
    assert code == 2
    assert "Did you mean 'active'?" in document["error"]["message"]


def test_seeds_that_are_not_numbers_are_refused(place, typed):
    typed("init")
    code, document = typed("simulate oracle.yaml --seeds one")
    assert code == 2
    assert "0,1,2" in document["error"]["message"]


def test_the_python_api_does_what_the_commands_do(place, typed):
    store = hilum.init("store")
    manifest = hilum.ingest(store, "scans")
    campaign = hilum.Campaign.create(store, "stripes", recipe="oracle.yaml")
    while not campaign.finished:
        campaign.advance(on="local")
    assert campaign.status.num_answered == 8
    code, status = typed("round status stripes --store store")
    assert (code, status["champion_id"]) == (0, campaign.status.champion_id)
    code, again = typed("ingest scans --store store")
    assert (again["run_id"], again["already_done"]) == (manifest.run_id, True)


def test_the_api_waits_for_people_with_an_exception(place):
    store = hilum.init("store")
    hilum.ingest(store, "scans")
    campaign = hilum.Campaign.create(store, "stripes", recipe="people.yaml")
    with pytest.raises(hilum.WaitingForPeople):
        campaign.run()


def test_a_bad_file_is_set_aside_by_name_and_the_rest_goes_on(place, typed):
    (place / "scans" / "images" / "003.png").write_bytes(b"not an image")
    typed("init")
    code, document = typed("ingest scans")
    assert (code, document["results"]["num_volumes"]) == (5, 23)
    (refused,) = document["quarantined"]
    assert refused["file"] == "images/003.png"
    assert refused["reason"]
