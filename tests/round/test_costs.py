"""People's time is learnt, weighed against what a question tells, and not overspent."""

import nibabel as nib
import numpy as np
import pytest

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.adapters.reading import read_item
from hilum.core.errors import RecipeError
from hilum.core.recipes import ArmRecipe, BudgetRecipe, Choice, CostRecipe, IngestRecipe, SelectRecipe, SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.loop.simulate import Workbench, simulate
from hilum.loop.stages import Stage
from hilum.loop.why import why
from hilum.steps import ingest, select
from hilum.steps.score_parts import read_scores
from hilum.store.ledger import open_ledger
from hilum.store.manifest import read_manifest
from hilum.store.opening import create_store
from hilum.store.selections import read_selection
from hilum.testing.campaigns import check_invariants, tiny_recipe
from hilum.testing.phantoms import lesion_image

TIMES = {"seconds_per_answer": 6.0, "seconds_per_slice": 3.0}
NUM_SCANS, NUM_HELD_OUT = 40, 8


@pytest.fixture
def scans(tmp_path):
    """Scans of 3 to 30 slices, each a question: with a lesion or without."""
    folder = tmp_path / "in"
    (folder / "images").mkdir(parents=True)
    rows = ["image,class,patient,side"]
    for number in range(NUM_SCANS):
        depth, lesion = 3 + number * 7 % 28, number % 2 == 0
        image, _ = lesion_image(np.random.default_rng(number), (depth, 12, 12), with_lesion=lesion)
        nib.save(nib.Nifti1Image(image[0].T.astype(np.int16), np.eye(4)), folder / f"images/{number}.nii")
        held_out = number >= NUM_SCANS - NUM_HELD_OUT
        side = ("validation", "test")[number // 2 % 2] if held_out else "pool"
        rows.append(f"images/{number}.nii,{('none', 'lesion')[lesion]},p{number},{side}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    store, _ = create_store(str(tmp_path / "store"))
    manifest = ingest.run(
        IngestRecipe(class_names=("none", "lesion")),
        find_source(str(folder)),
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    assert manifest.results["num_quarantined"] == 0
    return store, manifest.run_id


def recipe_for(score="entropy_per_second", **budget):
    arms = (
        ArmRecipe(share=0.75, sampler=Choice(kind="top_k", score=score)),
        ArmRecipe(share=0.25, sampler=Choice(kind="random")),
    )
    changes = {
        "select": SelectRecipe(arms=arms, cost=CostRecipe(min_times=8)),
        "annotator": Choice(kind="oracle", **TIMES),
        "campaign": BudgetRecipe(**{"num_per_round": 8, "num_in_total": 16, **budget}),
    }
    return tiny_recipe("classify").model_copy(update=changes)


def run(store, ingest_id, recipe, name="costs"):
    campaign = Campaign.create(store, name, recipe, ledger=open_ledger(store))
    status = campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id, **TIMES))
    return status, history(store, name)


def test_the_second_round_knows_how_long_answers_took(scans):
    store, ingest_id = scans
    recipe = recipe_for()
    _, rounds = run(store, ingest_id, recipe)
    check_invariants(store, "costs", recipe)
    first, second = (read_manifest(store.run("select", runs_of(events)["select"])).results for events in rounds)
    assert first["cost"]["num_times"] == 0
    assert first["cost"]["seconds_per_slice"] == CostRecipe().seconds_per_slice
    assert second["cost"]["num_times"] == 8
    assert second["cost"]["opening_seconds"] == pytest.approx(6.0, rel=0.01)
    assert second["cost"]["seconds_per_slice"] == pytest.approx(3.0, rel=0.01)
    taken = rounds[1][Stage.COLLECTED].counts["seconds_of_people"]
    assert rounds[1][Stage.SELECTED].counts["predicted_seconds"] == pytest.approx(taken, rel=0.01)
    chosen = read_selection(store, runs_of(rounds[1])["select"])[0]
    depth = chosen.candidate.patch.shape_zyx[0]
    assert chosen.predicted_seconds == pytest.approx(6 + 3 * depth, rel=0.01)
    assert chosen.reason.startswith("entropy_per_second 0.")
    assert chosen.reason.endswith(f"; about {6 + 3 * depth} s")
    (picked,) = why(store, chosen.candidate.candidate_id).picked
    assert picked.chosen == chosen


def test_asking_by_gain_per_second_tells_more_in_a_second(scans):
    store, ingest_id = scans
    _, rounds = run(store, ingest_id, recipe_for())
    runs = runs_of(rounds[1])
    inputs = {noun: runs[noun] for noun in ("score", "pool", "labels")}
    scores = read_scores(store, read_manifest(store.run("score", runs["score"])))
    entropy = dict(zip(scores["candidate_id"].to_pylist(), scores["score_entropy"].to_pylist(), strict=True))
    rates = {}
    for score in ("entropy", "entropy_per_second"):
        arms = (ArmRecipe(share=1.0, sampler=Choice(kind="top_k", score=score)),)
        recipe = SelectRecipe(arms=arms, cost=CostRecipe(min_times=8), num=6)
        manifest = select.run(recipe, inputs, store=store, executor=InlineExecutor(), resources=Resources())
        chosen = [one.candidate for one in read_selection(store, manifest.run_id)]
        gained = sum(entropy[one.candidate_id] for one in chosen)
        rates[score] = gained / sum(6 + 3 * one.patch.shape_zyx[0] for one in chosen)
    assert rates["entropy_per_second"] > 1.3 * rates["entropy"]


def test_a_round_keeps_to_its_seconds_and_the_campaign_to_all_of_them(scans):
    store, ingest_id = scans
    recipe = recipe_for(num_in_total=100, seconds_per_round=200.0, seconds_in_total=500.0)
    status, rounds = run(store, ingest_id, recipe)
    spent = [events[Stage.COLLECTED].counts["seconds_of_people"] for events in rounds if Stage.COLLECTED in events]
    assert status.finished
    assert status.ending is not None
    assert status.ending.startswith("the budget of 500 s is spent")
    assert all(seconds <= 200 * 1.01 for seconds in spent[1:])
    assert sum(spent[:-1]) < 500 <= sum(spent)
    selected = rounds[0][Stage.SELECTED].counts
    assert selected["num_selected"] < selected["num_wanted"]
    assert "predicted seconds" in selected["why_fewer"]


def test_simulated_strategies_are_given_the_same_seconds(scans):
    store, _ = scans
    by_seconds = {"select": {"arms": [{"share": 1.0, "sampler": {"kind": "top_k", "score": "entropy_per_second"}}]}}
    campaign = recipe_for(score="entropy", num_in_total=100, seconds_per_round=150.0, seconds_in_total=300.0)
    recipe = SimulateRecipe(campaign=campaign, strategies={"by-seconds": by_seconds}, seeds=(0,), full_data=True)
    workbench = Workbench(InlineExecutor, lambda store, ingest_id, choice: Oracle(store, ingest_id, **choice.params))
    results = simulate(store, "costs", recipe, executor=InlineExecutor(), workbench=workbench).results
    assert {branch["strategy"] for branch in results["branches"]} == {"random", "by-seconds"}
    assert results["num_full_labels"] == NUM_SCANS - NUM_HELD_OUT
    for branch in results["branches"]:
        told = [events[Stage.COLLECTED].counts["seconds_of_people"] for events in history(store, branch["campaign"])]
        assert branch["seconds"] == pytest.approx(np.cumsum(told))
    for branch in results["branches"]:
        told = [events[Stage.COLLECTED].counts["seconds_of_people"] for events in history(store, branch["campaign"])]
        assert sum(told[:-1]) < 300


def test_gain_per_second_needs_a_cost(scans):
    store, _ = scans
    recipe = recipe_for()
    recipe = recipe.model_copy(update={"select": recipe.select.model_copy(update={"cost": None})})
    with pytest.raises(RecipeError, match=r"reads 'entropy_per_second'.*select\.cost"):
        Campaign.create(store, "costs", recipe, ledger=open_ledger(store))
