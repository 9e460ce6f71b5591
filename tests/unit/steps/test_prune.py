"""prune: depth is chosen by validation patients, costs are measured, and the shallow network is the deep one's head."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import DataError, RecipeError
from hilum.core.recipes import Choice, EvaluateRecipe, FinetuneRecipe, PruneRecipe
from hilum.core.resources import Resources
from hilum.nn.predictor import load_weights, network_of_card
from hilum.steps import evaluate, finetune, prune
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.store.ledger import open_ledger
from hilum.store.manifest import read_json, read_manifest
from hilum.testing.nested import trained_on_phantoms
from hilum.testing.phantoms import Phantom

RECIPE = PruneRecipe(evaluate=EvaluateRecipe(num_resamples=50))
FLAT, SOLID = Phantom("segment"), Phantom("segment", spatial_dims=3, num_frames=4, size=16)


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return trained_on_phantoms(str(tmp_path_factory.mktemp("flat")), FLAT)


def run(made, recipe=RECIPE, **inputs):
    hands = {"executor": InlineExecutor(), "resources": Resources()}
    return prune.run(recipe, {**made.inputs, **inputs}, store=made.store, **hands)


def forced(depth):
    return RECIPE.model_copy(update={"depth": depth})


def network(store, checkpoint_id):
    tensors, card = checkpoints.load(store, checkpoint_id)
    made = network_of_card(card, seed=99)
    load_weights(made, tensors)
    return made.eval()


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("size", [(16, 16), (13, 21), (1, 5), (40, 7)])
def test_a_published_depth_is_the_parent_s_head_bit_for_bit_at_any_size(flat, depth, size):
    pruned = run(flat, forced(depth)).results["checkpoint"]
    images = torch.rand(3, 1, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        heads = network(flat.store, flat.checkpoint_id).forward_heads(images)
        assert torch.equal(network(flat.store, pruned)(images), heads[depth - 1])
        assert not torch.equal(heads[0], heads[1])


def test_a_solid_network_is_pruned_bit_for_bit_too(tmp_path):
    solid = trained_on_phantoms(str(tmp_path), SOLID, num_steps=2)
    pruned = run(solid, forced(1)).results["checkpoint"]
    images = torch.rand(2, 1, 9, 17, 5)
    with torch.inference_mode():
        heads = network(solid.store, solid.checkpoint_id).forward_heads(images)
        assert torch.equal(network(solid.store, pruned)(images), heads[0])


def test_the_nodes_that_are_cut_off_do_not_exist_in_the_published_file(flat):
    rows = prune.depth_rows(flat.store, run(flat, forced(1)).run_id)
    tensors, card = checkpoints.load(flat.store, run(flat, forced(1)).results["checkpoint"])
    assert sum(tensor.size for tensor in tensors.values()) == rows[0]["num_parameters"]
    assert rows[0]["num_parameters"] < rows[2]["num_parameters"] / 2
    assert card["architecture"]["depth"] == 1


def test_the_deepest_scores_what_evaluate_says_of_the_checkpoint(flat):
    hands = {"executor": InlineExecutor(), "resources": Resources()}
    evaluated = evaluate.run(RECIPE.evaluate, flat.inputs, store=flat.store, **hands)
    assert run(flat).results["metric"] == "dice_mean"
    assert prune.depth_rows(flat.store, run(flat).run_id)[-1]["score"] == evaluated.results["validation"]["dice_mean"]


def test_a_published_depth_scores_in_evaluate_what_prune_said(flat):
    manifest = run(flat, forced(2))
    inputs = {**flat.inputs, "checkpoint": manifest.results["checkpoint"]}
    hands = {"executor": InlineExecutor(), "resources": Resources()}
    evaluated = evaluate.run(RECIPE.evaluate, inputs, store=flat.store, **hands)
    assert manifest.results["scores"]["2"] == evaluated.results["validation"]["dice_mean"]


def test_every_depth_has_its_costs_and_they_grow_with_depth_where_they_are_counted(flat):
    rows = prune.depth_rows(flat.store, run(flat).run_id)
    assert [row["depth"] for row in rows] == [1, 2, 3]
    for name in ("num_parameters", "gflop"):
        values = [row[name] for row in rows]
        assert 0 < values[0] < values[1] < values[2]
    for row in rows:
        assert row["latency_ms"] > 0
        assert row["patches_per_second"] > 0
        assert row["peak_mib"] >= 0
        assert 0 <= row["low"] <= row["score"] <= row["high"] <= 1


@pytest.mark.parametrize(
    ("scores", "tolerance", "recommended"),
    [([0.5, 0.8, 0.9], 0.0, 3), ([0.5, 0.8, 0.9], 0.15, 2), ([0.89, 0.8, 0.9], 0.02, 1), ([0.9, 0.95, 0.9], 0.0, 1)],
)
def test_the_shallowest_within_tolerance_of_the_deepest_is_recommended(scores, tolerance, recommended):
    rows = [{"depth": depth, "score": score} for depth, score in enumerate(scores, start=1)]
    assert prune.recommended_depth(rows, tolerance) == recommended


def test_a_tolerance_of_everything_publishes_depth_1_and_one_of_nothing_is_never_worse(flat):
    anything = run(flat, RECIPE.model_copy(update={"tolerance": 1.0})).results
    assert (anything["recommended"], anything["depth"]) == (1, 1)
    nothing = run(flat, RECIPE.model_copy(update={"tolerance": 0.0})).results
    assert nothing["scores"][str(nothing["depth"])] >= nothing["scores"]["3"]


def test_to_force_the_deepest_publishes_nothing_new(flat):
    results = run(flat, forced(3)).results
    assert results["checkpoint"] == flat.checkpoint_id


def test_the_card_names_the_parent_and_the_padding(flat):
    manifest = run(flat, forced(1))
    card = checkpoints.read_card(flat.store, manifest.results["checkpoint"])
    assert manifest.results["checkpoint"] == manifest.run_id
    assert card["parent"] == flat.checkpoint_id
    assert card["inputs"] == flat.inputs
    parent = checkpoints.read_card(flat.store, flat.checkpoint_id)
    assert (card["architecture"]["depth"], parent["architecture"]["depth"]) == (1, 3)
    assert card["architecture"]["features"] == parent["architecture"]["features"]
    paddings = [network(flat.store, one).body.pad_multiple for one in (manifest.run_id, flat.checkpoint_id)]
    assert paddings[0] == paddings[1]


def test_a_second_run_measures_nothing_and_leaves_every_byte(flat):
    first = run(flat)
    folder = Path(flat.store.run("prune", first.run_id))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run(flat) == first
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(before) == ["depths.json", "manifest.json"]


def test_seconds_are_in_no_name_and_in_no_result(flat):
    manifest = run(flat)
    assert not {"latency_ms", "patches_per_second", "peak_mib"} & set(json.dumps(manifest.results).split('"'))
    assert not {"latency_ms", "patches_per_second", "peak_mib"} & set(json.dumps(manifest.recipe).split('"'))


def test_no_alias_moves(flat):
    run(flat, forced(1))
    assert open_ledger(flat.store, None).aliases() == {}


def test_only_validation_patients_decide(flat, monkeypatch):
    seen = []
    kept = evaluate.evaluate_shard
    monkeypatch.setattr(prune, "evaluate_shard", lambda shard, **rest: seen.append(shard) or kept(shard, **rest))
    run(flat, RECIPE.model_copy(update={"tolerance": 0.123}))
    assert {side for shard in seen for _, side in shard.volumes} == {"validation"}


def test_a_pruned_network_answers_through_the_predictor_as_a_shard_s_worker_builds_it(flat):
    images = np.random.default_rng(0).random((2, 1, 1, 11, 9), np.float32)
    pruned = run(flat, forced(1)).results["checkpoint"]
    by_depth = load_predictor(flat.store, flat.checkpoint_id, depth=1).predict(images)
    assert np.array_equal(load_predictor(flat.store, pruned).predict(images), by_depth)


def test_training_goes_on_from_a_pruned_checkpoint_with_its_padding(flat):
    pruned = run(flat, forced(1)).results["checkpoint"]
    labels = checkpoints.read_card(flat.store, flat.checkpoint_id)["inputs"]["labels"]
    shallow = Choice.model_validate(checkpoints.read_card(flat.store, pruned)["architecture"])
    recipe = FinetuneRecipe(architecture=shallow, start="champion", num_steps=1, batch_size=4)
    inputs = {"labels": labels, "start": pruned, "ingest": flat.ingest_id}
    hands = {"executor": InlineExecutor(), "resources": Resources()}
    trained = finetune.run(recipe, inputs, store=flat.store, **hands).run_id
    body, parent = network(flat.store, trained).body, network(flat.store, flat.checkpoint_id).body
    assert body.pad_multiple == parent.pad_multiple


def test_a_classifier_has_nothing_to_prune(tmp_path):
    made = trained_on_phantoms(str(tmp_path), Phantom("classify"), num_steps=1)
    with pytest.raises(RecipeError, match="'classify'.*Prune a checkpoint that segments"):
        run(made)


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        (Choice(kind="unet", depth=1, features=(4, 8)), "'unet' cannot be pruned.*unetpp"),
        (Choice(kind="unetpp", depth=2, features=(4, 8, 8), deep_supervision=False), "deep_supervision: true"),
    ],
)
def test_a_network_with_one_head_cannot_be_pruned_and_says_what_could(architecture, said, tmp_path):
    made = trained_on_phantoms(str(tmp_path), FLAT, architecture=architecture, num_steps=1)
    with pytest.raises(RecipeError, match=said):
        run(made)


def test_a_depth_that_is_not_there_is_refused_before_anything_is_measured(flat):
    with pytest.raises(RecipeError, match="Depth 4 is not one of this checkpoint's: 1, 2, 3"):
        run(flat, forced(4))


def test_an_unknown_metric_is_refused_with_a_guess(flat):
    with pytest.raises(RecipeError, match="Did you mean 'iou_mean'"):
        run(flat, RECIPE.model_copy(update={"metric": "iou_meen"}))


def test_nobody_on_the_validation_side_is_an_error_and_not_a_recommendation(tmp_path, flat):
    made = trained_on_phantoms(str(tmp_path), Phantom("segment", num_patients=3), num_steps=1)
    with pytest.raises(DataError, match="No validation patient"):
        run(made)


def test_a_run_that_was_stopped_reads_back_the_depths_it_had_evaluated(tmp_path, monkeypatch):
    made = trained_on_phantoms(str(tmp_path), FLAT, num_steps=2)
    monkeypatch.setattr(prune, "measure_costs", lambda networks: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(made)
    (folder,) = Path(made.store.path("runs", "prune")).iterdir()
    part = next(folder.glob("parts/depth-1/*.json"))
    rows = read_json(str(part))["rows"]
    assert len(rows) == FLAT.num_frames
    monkeypatch.undo()
    written = part.stat().st_mtime_ns
    monkeypatch.setattr(prune, "remove", lambda url: None)
    run(made)
    assert part.stat().st_mtime_ns == written
    assert read_manifest(str(folder)).results["metric"] == "dice_mean"
