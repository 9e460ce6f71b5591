"""Each of the eight invariants is noticed where it does not hold: what it is about is put wrong in a whole campaign."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.chaos.baseline import Baseline

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.recipes import CampaignRecipe
from hilum.loop.campaign import Campaign
from hilum.loop.stages import Stage
from hilum.store.labels import DECLINED, read_annotations, write_annotations
from hilum.store.layout import Store
from hilum.store.manifest import MANIFEST, read_manifest, sha256, write_manifest
from hilum.store.tables import SELECTION, read_table, write_rows
from hilum.store.volumes import volumes_of, write_volume_table
from hilum.testing import invariants
from hilum.testing.campaigns import check_invariants, tiny_recipe
from hilum.testing.invariants import Left
from hilum.testing.phantoms import Phantom, phantom_store

NAME = "liver"
RECIPE = tiny_recipe("classify", num_per_round=3)
PHANTOM = Phantom("classify", num_frames=8)


def finished(folder: Path, recipe: CampaignRecipe) -> Left:
    store, ingest_id = phantom_store(str(folder), PHANTOM)
    Campaign.create(store, NAME, recipe).run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id))
    return Left(store, NAME, recipe)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Left:
    return finished(tmp_path_factory.mktemp("whole") / "store", RECIPE)


@pytest.fixture
def left(whole: Left, tmp_path: Path) -> Left:
    """A copy of a whole campaign, to put something wrong in."""
    return Left(Store(str(shutil.copytree(whole.store.url, tmp_path / "store"))), NAME, RECIPE)


def put_wrong(left: Left, step: str, number: int, change: Callable[[str], object], **results: object) -> None:
    """Change the files of a round's run, and seal it again as if it had been so from the beginning."""
    url = left.store.run(step, left.rounds[number][step])
    manifest = read_manifest(url)
    change(url)
    Path(url, MANIFEST).unlink()
    files = {name: sha256(f"{url}/{name}") for name in manifest.files}
    write_manifest(url, manifest.model_copy(update={"files": files, "results": manifest.results | results}))


def again(left: Left) -> Left:
    return Left(left.store, NAME, left.recipe)


def test_a_whole_campaign_keeps_all_of_them(left: Left, whole: Left) -> None:
    check_invariants(left.store, NAME, RECIPE)
    invariants.same_choices(left, whole)
    invariants.nothing_half_written(left)


@pytest.mark.parametrize("budget", [{"num_in_total": 5}, {"num_per_round": 2}, {"num_first_round": 2}])
def test_a_budget_overspent_is_noticed(left: Left, budget: dict[str, int]) -> None:
    less = RECIPE.model_copy(update={"campaign": RECIPE.campaign.model_copy(update=budget)})
    with pytest.raises(AssertionError):
        invariants.budget_kept(Left(left.store, NAME, less))


def test_a_candidate_asked_twice_is_noticed(left: Left) -> None:
    first = read_table(f"{left.store.run('select', left.rounds[0]['select'])}/selection.parquet", SELECTION)
    put_wrong(left, "select", 1, lambda url: write_rows(f"{url}/selection.parquet", SELECTION, first.to_pylist()))
    with pytest.raises(AssertionError):
        invariants.asked_once(again(left))


@pytest.mark.parametrize("what", ["lost", "doubled", "of another class"])
def test_an_answer_lost_or_doubled_is_noticed(left: Left, what: str) -> None:
    told = {answer.patch.candidate_id: answer.class_id for answers in left.taught for answer in answers}
    invariants.answers_taught_once(left, told)

    def change(url: str) -> None:
        answers = read_annotations(f"{url}/annotations.parquet")
        if what == "lost":
            answers = answers[1:]
        elif what == "doubled":
            answers += answers[:1]
        else:
            answers[0] = replace(answers[0], class_id=1 - (answers[0].class_id or 0))
        write_annotations(f"{url}/annotations.parquet", answers)

    put_wrong(left, "collect", 0, change)
    with pytest.raises(AssertionError):
        invariants.answers_taught_once(again(left), told)


@pytest.mark.parametrize("what", ["skipped", "not asked"])
def test_something_else_taught_is_noticed(left: Left, what: str) -> None:
    answered = left.taught[0][0]
    elsewhere = next(v for v in volumes_of(left.store, left.rounds[0]["ingest"]).values() if v.side == "test")

    def change(url: str) -> None:
        if what == "not asked":
            patch = replace(answered.patch, volume_id=elsewhere.volume_id)
            answers = [*read_annotations(f"{url}/annotations.parquet"), replace(answered, patch=patch)]
            write_annotations(f"{url}/annotations.parquet", answers)

    declined = {answered.patch.candidate_id: "skipped"} if what == "skipped" else {}
    put_wrong(left, "collect", 0, change, **{DECLINED: declined})
    with pytest.raises(AssertionError):
        invariants.nothing_else_taught(again(left))


@pytest.mark.parametrize("what", ["an event is gone", "a run is damaged"])
def test_a_step_back_or_a_damaged_run_is_noticed(left: Left, what: str) -> None:
    if what == "an event is gone":
        Path(left.store.round_events(NAME, 0), Stage.SELECTED.event_file).unlink()
    else:
        part = next(Path(left.store.run("score", left.rounds[1]["score"])).glob("part-*.parquet"))
        part.write_bytes(part.read_bytes()[:-1] + b"\0")
    with pytest.raises(AssertionError):
        invariants.moved_forward(again(left))


@pytest.mark.parametrize("whose", ["one that was asked about", "one of two volumes"])
def test_a_patient_on_two_sides_is_noticed(left: Left, whose: str) -> None:
    volumes = list(volumes_of(left.store, left.rounds[0]["ingest"]).values())
    asked = {answer.patch.volume_id for answer in left.taught[0]}
    if whose == "one that was asked about":
        changed = [replace(v, side="test") if v.volume_id in asked else v for v in volumes]
    else:
        test_patient = next(v.study.patient_id for v in volumes if v.side == "test")
        validation = next(v for v in volumes if v.side == "validation")
        moved = replace(validation, study=replace(validation.study, patient_id=test_patient))
        changed = [moved if v is validation else v for v in volumes]
    put_wrong(left, "ingest", 0, lambda url: write_volume_table(f"{url}/volumes.parquet", changed))
    with pytest.raises(AssertionError):
        invariants.patients_apart(again(left))


def test_another_choice_is_noticed(left: Left, tmp_path: Path) -> None:
    other = finished(tmp_path / "other", tiny_recipe("classify", num_per_round=3, seed=1))
    with pytest.raises(AssertionError):
        invariants.same_choices(left, other)


def test_what_is_left_behind_is_noticed(left: Left, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    baseline = Baseline((temporary,))
    baseline.back()
    (temporary / "forgotten").touch()
    with pytest.raises(AssertionError, match="forgotten"):
        baseline.back()
    (temporary / "forgotten").unlink()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        with pytest.raises(AssertionError, match=f"processes.*{child.pid}"):
            baseline.back()
        child.kill()
    with socket.create_server(("127.0.0.1", 0)), pytest.raises(AssertionError, match="ports"):
        baseline.back()
    baseline.back(seconds=5)
    Path(left.store.url, "runs", "x.json.1.partial").touch()
    with pytest.raises(AssertionError):
        invariants.nothing_half_written(left)
