"""`hilum plan`: a recipe that says why, and with which a campaign really runs."""

import json

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.cli import composition
from hilum.cli.main import main
from hilum.core.recipes import BudgetRecipe, EvaluateRecipe
from hilum.core.resources import Resources
from hilum.loop import recipe_files
from hilum.loop.campaign import Campaign
from hilum.store.opening import create_store
from hilum.testing.phantoms import Phantom, phantom_store

PHANTOMS = [Phantom("segment"), Phantom("classify"), Phantom("segment", 3, num_frames=3, size=32)]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    """Executors are tested elsewhere (tests/ray)."""
    monkeypatch.setattr(
        composition, "engine", lambda **_: composition.Engine(InlineExecutor(), Resources(num_train_workers=0))
    )


def plan(store, folder, *words, memory="64MiB"):
    return main(["plan", "--store", store.url, "--out", str(folder / "plan.yaml"), "--memory", memory, *words])


@pytest.mark.parametrize("phantom", PHANTOMS, ids=lambda p: f"{p.question}-{p.spatial_dims}d")
def test_a_campaign_runs_with_the_plan(tmp_path, phantom):
    store, ingest_id = phantom_store(str(tmp_path / "store"), phantom)
    assert plan(store, tmp_path) == 0
    recipe = recipe_files.campaign_recipe(str(tmp_path / "plan.yaml"))
    assert recipe.question == phantom.question
    # As planned, but for how long: two steps show that it runs.
    short = recipe.model_copy(
        update={
            "finetune": recipe.finetune.model_copy(update={"num_steps": 2}),
            "evaluate": EvaluateRecipe(num_resamples=0),
            "campaign": BudgetRecipe(num_per_round=3, num_in_total=6),
        }
    )
    campaign = Campaign.create(store, "planned", short, ingest_id=ingest_id)
    status = campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id))
    assert status.finished
    assert len(status.curve) == 2


def test_the_same_store_gives_the_same_recipe_byte_for_byte(tmp_path):
    texts = []
    for name in ("one", "two"):
        store, _ = phantom_store(str(tmp_path / name), PHANTOMS[0])
        assert plan(store, tmp_path / name) == 0
        texts.append((tmp_path / name / "plan.yaml").read_bytes())
    assert texts[0] == texts[1]


def test_twice_is_already_done_and_a_changed_plan_is_not_written_over(tmp_path, capsys):
    store, _ = phantom_store(str(tmp_path), PHANTOMS[1])
    assert plan(store, tmp_path) == 0
    assert plan(store, tmp_path) == 0
    assert "already done" in capsys.readouterr().out
    (tmp_path / "plan.yaml").write_text("question: segment\n")
    assert plan(store, tmp_path) == 2
    assert "another --out" in capsys.readouterr().err
    assert (tmp_path / "plan.yaml").read_text() == "question: segment\n"


def test_json_holds_the_fingerprint_the_plan_and_the_reasons(tmp_path, capsys):
    store, _ = phantom_store(str(tmp_path), PHANTOMS[0])
    assert plan(store, tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fingerprint"]["class_names"] == ["background", "lesion"]
    assert told["plan"]["question"] == "segment"
    assert "finetune.batch_size" in told["reasons"]
    assert told["memory_bytes"] == 64 << 20


def test_labelled_images_can_be_simulated_next(tmp_path, capsys):
    store, _ = phantom_store(str(tmp_path), PHANTOMS[0])
    plan(store, tmp_path)
    assert "hilum simulate" in capsys.readouterr().out


def test_an_empty_store_is_told_what_comes_first(tmp_path, capsys):
    store, _ = create_store(str(tmp_path))
    assert plan(store, tmp_path) == 2
    assert "hilum ingest" in capsys.readouterr().err
    assert not (tmp_path / "plan.yaml").exists()


def test_a_size_that_is_none_is_told(tmp_path, capsys):
    store, _ = phantom_store(str(tmp_path), PHANTOMS[0])
    assert plan(store, tmp_path, memory="much") == 2
    assert "8GiB" in capsys.readouterr().err
