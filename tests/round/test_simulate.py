"""A whole simulation on a phantom: branches, resume after kill -9, and the report of it."""

import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.recipes import SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop.branches import branches_of
from hilum.loop.campaign import Campaign, campaigns
from hilum.loop.events import history, runs_of
from hilum.loop.report import render
from hilum.loop.report.gather import section_of
from hilum.loop.simulate import Workbench, branch_progress, run_branch, simulate, simulation_of, watch
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.selections import read_selection
from hilum.store.volumes import volumes_of
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

BRANCHES = [(s, k) for s in ("random", "active", "full") for k in (0, 1)]


def oracle(store, ingest_id, choice):
    return Oracle(store, ingest_id, **choice.params)


WORKBENCH = Workbench(InlineExecutor, oracle)


def recipe_for(question):
    return SimulateRecipe(campaign=tiny_recipe(question), strategies={"active": {}}, seeds=(0, 1), title="Tiny")


def run(store, question="classify", **options):
    return simulate(store, "sim", recipe_for(question), executor=InlineExecutor(), workbench=WORKBENCH, **options)


@pytest.fixture(scope="module", params=["classify", "segment"])
def finished(request, tmp_path_factory):
    """A simulation that nobody interrupted: store, ingest, manifest, question, and what it told of its branches."""
    folder = tmp_path_factory.mktemp(request.param)
    store, ingest_id = phantom_store(str(folder), Phantom(request.param, 2))
    told = []
    return store, ingest_id, run(store, request.param, on_branch=told.append), request.param, told


def test_every_strategy_runs_for_every_seed_and_random_among_them(finished):
    store, _, manifest, _, told = finished
    assert [(b.strategy, b.seed) for b in told] == BRANCHES
    assert all(b.finished and b.value is not None for b in told)
    assert campaigns(store) == sorted(f"sim--{s}--{k}" for s, k in BRANCHES)
    assert [(c.strategy, c.seed) for c in simulation_of(manifest).curves] == BRANCHES[:4]


def test_a_curve_is_what_each_rounds_model_reached_on_test_patients(finished):
    store, _, manifest, _, _ = finished
    simulation = simulation_of(manifest)
    assert simulation.side == "test"
    for curve in simulation.curves:
        points = Campaign.open(store, f"sim--{curve.strategy}--{curve.seed}").status().curve
        assert curve.num_labels == tuple(point.num_labels for point in points)
        assert curve.values == tuple(point.metrics["test"][simulation.metric] for point in points)


def test_full_data_is_every_candidate_of_the_pool(finished):
    store, _, manifest, _, _ = finished
    simulation = simulation_of(manifest)
    pool = runs_of(history(store, "sim--full--0")[0])["pool"]
    assert simulation.num_full_labels == read_manifest(store.run("pool", pool)).results["num_candidates"]
    assert len(simulation.full_data) == 2
    assert simulation.comparison.full_data.score.mean == pytest.approx(np.mean(simulation.full_data))


def test_the_second_time_it_is_done_already(finished):
    store, _, manifest, question, _ = finished
    told = []
    assert run(store, question, on_branch=told.append) == manifest
    assert told == []


def test_seeds_ask_differently_and_strategies_share_nothing_but_the_seed(finished):
    store, _, _, _, _ = finished

    def asked(campaign):
        return [
            tuple(c.candidate.candidate_id for c in read_selection(store, runs_of(events)["select"]))
            for events in history(store, campaign)
        ]

    assert asked("sim--random--0") != asked("sim--random--1")
    assert asked("sim--active--0")[1:] != asked("sim--random--0")[1:]


def test_progress_is_read_from_events_by_anybody(finished):
    store, _, _, question, _ = finished
    planned = branches_of("sim", recipe_for(question), num_candidates=24)
    frames = list(watch(store, planned, done=lambda: False, every_seconds=0))
    assert len(frames) == 1
    assert [(b.strategy, b.seed, b.finished) for b in frames[0]] == [(*branch, True) for branch in BRANCHES]
    assert frames[0][0].num_labels == frames[0][0].num_in_total == 10


def test_a_branch_that_has_not_begun_is_waiting(tmp_path):
    store, _ = phantom_store(str(tmp_path), Phantom("classify", 2))
    branch = branches_of("sim", recipe_for("classify"), num_candidates=24)[0]
    progress = branch_progress(store, branch)
    assert (progress.started, progress.finished, progress.stage, progress.value) == (False, False, "waiting", None)
    assert len(list(watch(store, [branch], done=lambda: True, every_seconds=0))) == 1


def test_a_branch_can_be_sent_to_another_process(tmp_path):
    work = partial(run_branch, store=Store(str(tmp_path)), ingest_id="x", workbench=WORKBENCH, resources=Resources())
    branch = branches_of("sim", recipe_for("classify"), num_candidates=24)[0]
    assert pickle.loads(pickle.dumps(branch)) == branch
    assert pickle.loads(pickle.dumps(work)).keywords["workbench"].make_annotator is oracle


def what_was_asked(store):
    """Every selection and label set of every campaign, and the curves' runs."""
    return {
        name: [(r["select"], r["collect"], r["finetune"]) for r in map(runs_of, history(store, name))]
        for name in campaigns(store)
    }


def start_elsewhere(folder, question):
    """The same simulation in a process of its own, which can be killed."""
    script = (
        "import runpy, sys, hilum; here, folder, question = sys.argv[1:]; "
        "runpy.run_path(here)['run'](hilum.open(folder), question)"
    )
    command = [sys.executable, "-c", script, str(Path(__file__)), str(folder), question]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_killed_on_the_way_it_goes_on_and_finds_the_same(finished, tmp_path):
    whole, _, manifest, question, _ = finished
    store, _ = phantom_store(str(tmp_path), Phantom(question, 2))
    child = start_elsewhere(tmp_path, question)
    # One branch takes fifteen events: the second one is at work when the process dies.
    while len(list(tmp_path.glob("campaigns/*/rounds/*/events/*.json"))) < 20 and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert set(campaigns(store)) < set(campaigns(whole))
    again = run(store, question)
    assert again.run_id == manifest.run_id
    assert again.results == manifest.results
    assert what_was_asked(store) == what_was_asked(whole)


def test_the_report_shows_what_the_store_holds(finished):
    store, _, manifest, question, _ = finished
    section = section_of(store, manifest, data={"Data": "phantoms"}, caveats=("Made up.",), attribution="Nobody")
    assert section.title == "Tiny"
    assert section.question == question
    assert section.strategies[-1] == "random"
    assert section.caveats == ("Made up.",)
    facts = dict(section.facts)
    assert facts["Data"] == "phantoms"
    assert facts["Pool"] == "36 candidates of 3 patients"
    assert facts["Held out"].startswith("2 patients")
    assert section.class_metric == ("recall" if question == "classify" else "dice")
    assert all(set(row.final) == set(section.strategies) for row in section.classes)
    html = render([section], title="Report")
    assert section.findings.headline in html
    assert "data:image/png;base64," in html


def test_classes_are_counted_as_they_truly_are(finished):
    store, ingest_id, manifest, question, _ = finished
    rows = {row.name: row for row in section_of(store, manifest).classes}
    assert set(rows) == ({"no lesion", "lesion"} if question == "classify" else {"lesion"})
    assert all(0 <= i.mean <= 1 for row in rows.values() for i in row.shares_asked.values())
    if question == "classify":
        pooled = [v for v in volumes_of(store, ingest_id).values() if v.side == "pool"]
        assert rows["lesion"].num_in_pool == sum(sum(v.classes) for v in pooled)
        assert sum(row.share_in_pool for row in rows.values()) == pytest.approx(1)


def test_the_gallery_has_what_was_asked_with_drafts_once_there_is_a_model(finished):
    store, _, manifest, question, _ = finished
    gallery = section_of(store, manifest).gallery
    for strategy, rounds in gallery.items():
        assert [(r.number, r.num_labels_before, r.num_asked) for r in rounds] == [(0, 0, 5), (1, 5, 5)]
        selection = runs_of(history(store, f"sim--{strategy}--0")[1])["select"]
        assert [t.reason for t in rounds[1].tiles] == [c.reason for c in read_selection(store, selection)]
        for number, asked in enumerate(rounds):
            for tile in asked.tiles:
                draft = tile.draft_class if question == "classify" else tile.draft_yx
                truth = tile.truth_class if question == "classify" else tile.truth_yx
                assert (draft is not None) == (number > 0)
                assert truth is not None


def test_time_is_told_for_every_step(finished):
    store, _, manifest, _, _ = finished
    for time_spent in section_of(store, manifest).times:
        assert {"score", "select", "publish", "collect", "finetune", "evaluate", "promote"} <= set(time_spent.seconds)
        assert all(seconds >= 0 for seconds in time_spent.seconds.values())


def test_labels_and_steps_of_every_round_are_told_beside_its_score(finished):
    _, _, manifest, _, _ = finished
    for branch in manifest.results["branches"]:
        assert [one["num_labels"] for one in branch["reuse"]] == branch["num_labels"] == [5, 10]
        assert [one["num_steps"] for one in branch["reuse"]] == [2, 2]
        assert [one["label_reuse"] for one in branch["reuse"]] == [None, 1.0]
        assert not any(one["model_reuse"] for one in branch["reuse"])


def test_strategies_that_differ_in_what_they_use_again_have_a_table(tmp_path):
    store, _ = phantom_store(str(tmp_path), Phantom("classify", 2))
    onwards = {"finetune": {"from": "previous", "data": "new", "continue_learning_rate_factor": 0.1}}
    recipe = SimulateRecipe(
        campaign=tiny_recipe("classify"), strategies={"acft-q": onwards}, seeds=(0,), full_data=False
    )
    manifest = simulate(store, "acft", recipe, executor=InlineExecutor(), workbench=WORKBENCH)
    rows = {row.strategy: row for row in section_of(store, manifest).reuse}
    assert (rows["acft-q"].starts_from, rows["acft-q"].taught) == ("last model", "new")
    assert (rows["acft-q"].label_reuse, rows["acft-q"].data_reuse, rows["acft-q"].model_reuse) == (0.0, 0.0, True)
    assert (rows["random"].label_reuse, rows["random"].data_reuse, rows["random"].model_reuse) == (1.0, 0.5, False)
    assert {row.num_steps for row in rows.values()} == {4.0}


def test_where_all_train_from_scratch_on_all_there_is_no_such_table(finished):
    store, _, manifest, _, _ = finished
    assert section_of(store, manifest).reuse == ()
