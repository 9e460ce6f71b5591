"""tune: real trainings of phantoms, one after the other in this process."""

import contextlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import DataError, HilumError, RecipeError
from hilum.core.resources import Resources
from hilum.core.sweeps import TuneRecipe
from hilum.loop import recipe_files
from hilum.loop.trials import trials_of
from hilum.loop.tune import TrialBench, one_after_the_other, sweep_inputs, tune
from hilum.nn import train_loop
from hilum.steps import evaluate, finetune
from hilum.store import checkpoints
from hilum.store.labels import NONE, read_answers
from hilum.store.tables import TRIALS, read_table
from hilum.testing.answered import label_set_of, pool_side_items, true_answers
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

PHANTOM = Phantom("segment", num_frames=6)
SWEEP = {"finetune.learning_rate": {"choice": (0.003, 0.01, 0.03)}}


def recipe(**changes):
    known = {"num_trials": 3, "num_steps": 9, "grace_steps": 1, "seed": 1}
    return TuneRecipe.model_validate({"campaign": tiny_recipe("segment"), "sweep": SWEEP, **known, **changes})


def oracle(store, ingest_id, choice):
    return Oracle(store, ingest_id, **choice.params)


def prepared(folder, wanted, labels=NONE):
    store, ingest_id = phantom_store(str(folder), PHANTOM)
    options = {"executor": InlineExecutor(), "make_annotator": oracle, "resources": Resources()}
    return store, sweep_inputs(store, wanted, ingest_id=ingest_id, labels=labels, **options)


def run(store, inputs, wanted, run_trials=one_after_the_other, **options):
    bench = TrialBench(run_trials, InlineExecutor)
    return tune(store, wanted, inputs=inputs, bench=bench, resources=Resources(), **options)


@pytest.fixture
def steps_trained(monkeypatch):
    """Every step of every training, as it is done."""
    trained = []
    update = train_loop._Training.update

    def counted(self, step, summed):
        trained.append((self.recipe.learning_rate, step))
        update(self, step, summed)

    monkeypatch.setattr(train_loop._Training, "update", counted)
    return trained


class Cut:
    """Ends with an error at the n-th rung that is told, as a killed driver would."""

    def __init__(self, num):
        self.left = num

    def __call__(self, work, numbers, *, on_rung, on_end, **options):
        def told(number, rung):
            on_rung(number, rung)
            self.left -= 1
            if self.left == 0:
                raise HilumError("cut")

        for number in numbers:
            work(number, partial(told, number))
            on_end(number)


class EndedError(Exception):
    """How Tune leaves a trial."""


def stopping(work, numbers, *, on_rung, on_end, **options):
    """Ends the second trial after its first rung, as ASHA does: from within."""

    def told(number, rung):
        on_rung(number, rung)
        if number == 1:
            raise EndedError

    for number in numbers:
        with contextlib.suppress(EndedError):
            work(number, partial(told, number))
        on_end(number)


def test_all_answers_of_the_pool_and_no_others_are_learnt_from(tmp_path):
    store, inputs = prepared(tmp_path, recipe())
    answered = {answer.patch.candidate_id for answer in read_answers(store, inputs["labels"])}
    assert answered == {candidate.candidate_id for candidate in pool_side_items(store, inputs["ingest"])}


def test_given_answers_are_learnt_from(tmp_path):
    store, ingest_id = phantom_store(str(tmp_path), PHANTOM)
    labels = label_set_of(store, true_answers(store, ingest_id, PHANTOM, num=4))
    store, inputs = prepared(tmp_path, recipe(), labels)
    assert inputs["labels"] == labels


def test_pauses_at_rungs_leave_no_trace_in_the_weights(tmp_path):
    wanted = recipe()
    store, inputs = prepared(tmp_path / "swept", wanted)
    best = run(store, inputs, wanted).results["best"]
    plain, plain_inputs = prepared(tmp_path / "plain", wanted)
    learnt_from = {"labels": plain_inputs["labels"], "start": NONE, "ingest": plain_inputs["ingest"]}
    trained = trials_of(wanted)[best["number"]].recipe.finetune
    whole = finetune.run(trained, learnt_from, store=plain, executor=InlineExecutor(), resources=Resources())
    assert whole.run_id == best["checkpoint"]  # an ordinary finetune run
    ours, theirs = (checkpoints.load(where, whole.run_id)[0] for where in (store, plain))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_every_trial_starts_from_the_campaign_s_checkpoint(tmp_path):
    plain = recipe(num_trials=1)
    store, inputs = prepared(tmp_path, plain)
    start = run(store, inputs, plain).results["best"]["checkpoint"]
    campaign = tiny_recipe("segment")
    finetuned = campaign.finetune.model_copy(update={"start": start, "num_frozen_steps": 2})
    wanted = recipe(campaign=campaign.model_copy(update={"finetune": finetuned}), num_trials=2)
    assert [one.recipe.finetune.checkpoint for one in trials_of(wanted)] == [start, start]
    best = run(store, inputs, wanted).results["best"]["checkpoint"]
    card = checkpoints.read_card(store, best)
    assert card["inputs"]["start"] == card["transfer"]["checkpoint"] == start
    assert card["transfer"]["fresh"] == ["body.head.weight", "body.head.bias"]


@pytest.mark.parametrize("num_rungs", [1, 2, 3, 5])
def test_a_sweep_cut_anywhere_trains_no_step_twice_and_ends_the_same(tmp_path, steps_trained, num_rungs):
    wanted = recipe()
    store, inputs = prepared(tmp_path, wanted)
    with pytest.raises(HilumError, match="cut"):
        run(store, inputs, wanted, Cut(num_rungs))
    cut = run(store, inputs, wanted)
    assert len(steps_trained) == len(set(steps_trained)) == 3 * 9
    assert cut.results["num_finished"] == 3


def test_the_second_run_is_done_already(tmp_path, steps_trained):
    wanted = recipe()
    store, inputs = prepared(tmp_path, wanted)
    first = run(store, inputs, wanted)
    steps_trained.clear()
    assert run(store, inputs, wanted, Cut(1)) == first
    assert steps_trained == []


def test_a_longer_sweep_trains_only_what_is_new(tmp_path, steps_trained):
    store, inputs = prepared(tmp_path, recipe(num_trials=2))
    run(store, inputs, recipe(num_trials=2))
    steps_trained.clear()
    run(store, inputs, recipe(num_trials=3))
    assert len(steps_trained) == 9


def test_a_trial_that_was_stopped_keeps_its_score_and_the_step_it_reached(tmp_path, steps_trained):
    wanted = recipe()
    store, inputs = prepared(tmp_path, wanted)
    manifest = run(store, inputs, wanted, stopping)
    stopped = manifest.results["trials"][1]
    assert (stopped["end"], stopped["step"]) == ("stopped", 1)
    assert stopped["score"] is not None
    assert checkpoints.read_card(store, stopped["checkpoint"])["paused_at_step"] == 1
    assert manifest.results["num_stopped"] == 1
    assert len(steps_trained) == 2 * 9 + 1


def test_the_test_side_is_left_alone(tmp_path):
    store, inputs = prepared(tmp_path, recipe())
    run(store, inputs, recipe())
    found = list((tmp_path / "runs" / "evaluate").glob("*/manifest.json"))
    assert found
    for manifest in found:
        results = json.loads(manifest.read_text())["results"]
        assert results["test"] == {}
        assert results["validation"]["num_items"] > 0


def test_a_training_that_diverges_is_a_failed_trial_and_not_the_end(tmp_path):
    wanted = recipe(sweep={"finetune.learning_rate": {"choice": (0.01, 1e30)}}, num_trials=2)
    store, inputs = prepared(tmp_path, wanted)
    results = run(store, inputs, wanted).results
    assert results["num_failed"] == 1
    assert results["best"]["settings"] == {"finetune.learning_rate": 0.01}
    assert "diverged" in next(one["reason"] for one in results["trials"] if one["end"] == "failed")


def test_the_best_recipe_is_written_out_with_where_it_came_from(tmp_path):
    wanted = recipe()
    store, inputs = prepared(tmp_path, wanted)
    manifest = run(store, inputs, wanted)
    url = store.run("tune", manifest.run_id)
    best = manifest.results["best"]
    rows = read_table(f"{url}/trials.parquet", TRIALS).to_pylist()
    assert best["score"] == max(row["score"] for row in rows)
    text = Path(url, "best.yaml").read_text()
    assert f"{best['score']:.4f}" in text.splitlines()[1]
    loaded = recipe_files.campaign_recipe(f"{url}/best.yaml")
    assert loaded.finetune.learning_rate == best["settings"]["finetune.learning_rate"]
    assert loaded.finetune.num_steps == 9


def test_who_watches_hears_of_every_rung(tmp_path):
    seen = []
    store, inputs = prepared(tmp_path, recipe())
    run(store, inputs, recipe(), on_news=lambda news: seen.append([one.step for one in news]))
    assert [1, 0, 0] in seen
    assert seen[-1] == [9, 9, 9]


def test_settings_that_make_no_recipe_are_told_before_anything_runs():
    with pytest.raises(RecipeError, match="trial 0 .*batch_size"):
        trials_of(recipe(sweep={"finetune.batch_size": {"choice": (3,)}}, num_trials=1))
    with pytest.raises(RecipeError, match="learning_rat"):
        trials_of(recipe(sweep={"finetune.learning_rat": {"choice": (3,)}}, num_trials=1))
    with pytest.raises(RecipeError, match="only 3 different settings"):
        trials_of(recipe(num_trials=4))


def test_a_whole_architecture_may_be_a_choice():
    kinds = ({"kind": "unet", "depth": 1}, {"kind": "unetpp", "depth": 1})
    found = trials_of(recipe(sweep={"finetune.architecture": {"choice": kinds}}, num_trials=2))
    assert sorted(one.recipe.finetune.architecture.kind for one in found) == ["unet", "unetpp"]
    # The features of the campaign's own network mean nothing to another kind.
    assert all(one.recipe.finetune.architecture.params["depth"] == 1 for one in found)


def test_nobody_to_validate_on_is_told(tmp_path, monkeypatch):
    store, inputs = prepared(tmp_path, recipe())
    monkeypatch.setattr(evaluate, "held_out", lambda *_: [])
    with pytest.raises(DataError, match="validation side"):
        run(store, inputs, recipe())


def test_a_file_without_a_sweep_is_told_what_one_looks_like(tmp_path):
    (tmp_path / "plain.yaml").write_text("question: segment\n")
    with pytest.raises(RecipeError, match="log_uniform"):
        recipe_files.tune_recipe(str(tmp_path / "plain.yaml"))


def test_a_sweep_names_its_campaign_and_changes_it(tmp_path):
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump({"campaign": {"extends": "mednist", "finetune": {"num_steps": 7}}, "sweep": SWEEP})
    )
    loaded = recipe_files.tune_recipe(str(tmp_path / "sweep.yaml"))
    assert loaded.whole == 7
    assert loaded.campaign.question == "classify"
