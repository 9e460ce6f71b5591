"""A simulation read back from its manifest, and what is refused before anything runs."""

import json
import math

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import NotFoundError, RecipeError, RequestError
from hilum.core.recipes import SimulateRecipe
from hilum.loop.branches import branches_of
from hilum.loop.campaign import Campaign, campaigns
from hilum.loop.simulate import Workbench, branch_progress, simulate, simulation_of, watch
from hilum.store.manifest import Manifest
from hilum.store.opening import create_store
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store


def oracle(store, ingest_id, choice):
    return Oracle(store, ingest_id, **choice.params)


WORKBENCH = Workbench(InlineExecutor, oracle)
INLINE = InlineExecutor()
RECIPE = SimulateRecipe(campaign=tiny_recipe("classify"), strategies={"active": {}}, seeds=(0, 1))


def branch(strategy, seed, values):
    return {
        "campaign": f"sim--{strategy}--{seed}",
        "strategy": strategy,
        "seed": seed,
        "num_labels": [10, 20],
        "values": values,
    }


def manifest(**changes):
    results = {
        "name": "sim",
        "metric": "dice_mean",
        "side": "test",
        "branches": [branch(s, k, [0.5, 0.6 + k / 10]) for s in ("random", "active") for k in (0, 1)],
        "full_data": [0.8, 0.9],
        "num_full_labels": 320,
        **changes,
    }
    inputs = {"ingest": "i", "name": "sim"}
    made = Manifest(step="simulate", step_version=1, run_id="r", recipe={}, inputs=inputs, results=results)
    return Manifest.model_validate(json.loads(made.model_dump_json()))


@pytest.fixture
def store(tmp_path):
    return phantom_store(str(tmp_path), Phantom("classify", 2))[0]


def test_what_was_written_is_read_back():
    simulation = simulation_of(manifest())
    assert (simulation.name, simulation.metric, simulation.side) == ("sim", "dice_mean", "test")
    first = simulation.curves[0]
    assert (first.strategy, first.seed, first.num_labels) == ("random", 0, (10, 20))
    assert simulation.campaigns["active", 1] == "sim--active--1"
    assert simulation.full_data == (0.8, 0.9)


def test_people_s_seconds_are_read_back_where_they_were_written():
    rows = [{**branch(s, k, [0.5, 0.6]), "seconds": [30.0, 90.0 + k]} for s in ("random", "active") for k in (0, 1)]
    simulation = simulation_of(manifest(branches=rows))
    assert simulation.curves[1].seconds == (30.0, 91.0)
    assert set(simulation.comparison.timed) == {"active", "random"}
    assert simulation_of(manifest()).comparison.timed == {}


def test_its_comparison_has_random_last_and_the_full_data_beside():
    comparison = simulation_of(manifest()).comparison
    assert [r.name for r in comparison.strategies] == ["active", "random"]
    assert comparison.full_data.num_labels == 320
    assert comparison.full_data.score.mean == pytest.approx(0.85)


def test_without_full_data_nothing_is_made_up():
    assert simulation_of(manifest(full_data=[], num_full_labels=0)).comparison.full_data is None


def test_a_score_that_could_not_be_measured_is_refused_in_words():
    broken = manifest(branches=[branch("random", 0, [0.5, None])])
    with pytest.raises(RecipeError, match="'random', seed 0, has a value that is not a number"):
        simulation_of(broken)


def test_a_full_score_that_could_not_be_measured_is_not_a_zero():
    simulation = simulation_of(manifest(full_data=[None]))
    assert math.isnan(simulation.full_data[0])
    with pytest.raises(RecipeError, match="full data has a score that is not a number"):
        simulation.comparison  # noqa: B018


def test_a_wrong_strategy_is_refused_before_a_byte_is_written(store):
    wrong = RECIPE.model_copy(update={"strategies": {"active": {"selekt": {}}}})
    with pytest.raises(RecipeError, match="Did you mean 'select'"):
        simulate(store, "sim", wrong, executor=INLINE, workbench=WORKBENCH)
    assert campaigns(store) == []


def test_an_empty_store_is_refused_with_what_to_do(tmp_path):
    empty, _ = create_store(str(tmp_path))
    with pytest.raises(RequestError, match="hilum ingest"):
        simulate(empty, "sim", RECIPE, executor=INLINE, workbench=WORKBENCH)


def test_an_ingest_that_is_not_there_is_refused(store):
    with pytest.raises(NotFoundError):
        simulate(store, "sim", RECIPE, executor=INLINE, workbench=WORKBENCH, ingest_id="0123456789ab")


def test_progress_follows_a_campaign_from_stage_to_stage(store):
    planned = branches_of("sim", RECIPE, num_candidates=36)
    first = planned[0]
    assert not branch_progress(store, first).started
    campaign = Campaign.create(store, first.campaign, first.recipe)
    annotator = Oracle(store, campaign.ingest_id)
    seen = []
    while campaign.round_number == 0:
        campaign.advance(executor=INLINE, annotator=annotator)
        seen.append(branch_progress(store, first))
    stages = ["scored", "selected", "published", "collected", "trained", "evaluated"]
    assert [p.stage for p in seen][:6] == stages
    assert [p.num_labels for p in seen][:6] == [0, 0, 0, 5, 5, 5]
    assert [p.value is not None for p in seen][:7] == [False] * 6 + [True]
    assert not any(p.finished for p in seen)
    assert [branch_progress(store, other).stage for other in planned[1:]] == ["waiting"] * 5


def test_watching_ends_when_told_and_shows_a_last_frame(store):
    planned = branches_of("sim", RECIPE, num_candidates=36)
    answers = iter([False, False, True])
    frames = list(watch(store, planned, done=lambda: next(answers), every_seconds=0))
    assert len(frames) == 3
    assert all(len(frame) == len(planned) for frame in frames)
