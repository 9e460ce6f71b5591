"""`hilum model calibrate`: whom it asks about, what it prints, that it is found done, and what it refuses."""

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.cli import composition
from hilum.core.recipes import CalibrateRecipe, Choice
from hilum.core.resources import Resources
from hilum.loop.campaign import Campaign
from hilum.loop.definition import only_ingest
from hilum.steps.calibrations import read_calibration
from hilum.store.ledger import open_ledger
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.nested import trained_on_phantoms
from hilum.testing.phantoms import Phantom, phantom_store

TINY = Choice(kind="unetpp", depth=2, features=(4, 8, 8))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return trained_on_phantoms(str(tmp_path_factory.mktemp("made")), Phantom("segment"), architecture=TINY, num_steps=5)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Shards are done in this process."""
    ready = composition.Engine(InlineExecutor(), Resources())
    monkeypatch.setattr(composition, "engine", lambda **options: ready)


def test_a_checkpoint_is_calibrated_and_found_done(made, typed):
    line = f"model calibrate liver --checkpoint {made.checkpoint_id} --store {made.store.url}"
    first = typed(line)
    assert first.code == 0, first.err
    found = read_calibration(made.store, made.checkpoint_id)
    assert found is not None
    assert first.out.splitlines()[0] == f"calibrate {found.run_id}: done"
    fit = found.record.temperature
    assert f"temperature: {fit.temperature:.3g} (by 12 validation items" in first.out
    assert f"{fit.nll_before:.4g} before, {fit.nll_after:.4g} after" in first.out
    assert f"farther than {found.record.unlike.threshold:.3g}, as 0.01 of validation patches are" in first.out
    again = typed(f"{line} --json").document
    assert again["already_done"]
    assert again["run_id"] == found.run_id
    assert again["results"]["temperature"] == fit.temperature


def test_a_model_s_champion_is_calibrated_as_its_campaign_says(typed, tmp_path):
    store, ingest_id = phantom_store(str(tmp_path / "store"), Phantom("segment"))
    wanted = CalibrateRecipe(num_items=7)
    recipe = tiny_recipe("segment").model_copy(update={"calibrate": wanted})
    campaign = Campaign.create(store, "liver", recipe)
    campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id))
    assert only_ingest(store) == ingest_id
    champion = open_ledger(store).alias("liver", "champion")
    found = read_calibration(store, champion)
    assert found.record.unlike.num_known == 7
    # The loop did it when the champion was promoted, so the command finds it done.
    answer = typed(f"model calibrate liver --store {store.url} --json").document
    assert (answer["run_id"], answer["already_done"]) == (found.run_id, True)
    assert campaign.status().history[0].runs["calibrate"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("liver", "No model with a champion is called 'liver'"),
        ("liver", "--checkpoint ID"),
        ("liver --checkpoint ffffffffffff", "No checkpoint is called 'ffffffffffff'"),
        ("liver --checkpoint {id} --pool ffffffffffff", "No pool of ingest"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence_and_exit_code_2(line, said, made, typed):
    answer = typed(f"model calibrate {line.format(id=made.checkpoint_id)} --store {made.store.url}")
    assert answer.code == 2
    assert said in " ".join(answer.err.split())
    assert "Traceback" not in answer.err


def test_where_nobody_can_tell_it_says_why(typed, tmp_path):
    alone = trained_on_phantoms(str(tmp_path), Phantom("segment", num_patients=1), architecture=TINY, num_steps=1)
    answer = typed(f"model calibrate liver --checkpoint {alone.checkpoint_id} --store {alone.store.url}")
    assert answer.code == 0, answer.err
    assert "no temperature: nobody is on the validation side" in answer.out
    assert "nobody can tell what is unlike its images: nobody is on the validation side" in answer.out
    assert "patches of the pool side" in answer.out
