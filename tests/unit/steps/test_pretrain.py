"""pretrain: from unlabelled scans to a checkpoint that can be rebuilt, resumed and believed."""

import dataclasses
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.nn.test_train_loop import OneOfMany, equal

from hilum.adapters.inline import InlineExecutor, LocalTrainContext
from hilum.core.errors import CorruptionError, DataError
from hilum.core.recipes import PretrainRecipe
from hilum.core.resources import Resources
from hilum.steps import pretrain
from hilum.steps.crops import check_scans
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.store.volumes import volumes_of
from hilum.testing.interruptions import Countdown, InterruptedExecutor
from hilum.testing.phantoms import Phantom, phantom_store

BLOCKS = Phantom("segment", spatial_dims=3, num_frames=2, size=16)
FRAMES = Phantom("segment", num_frames=6, size=16)
RECIPE = PretrainRecipe.model_validate(
    {
        "pretext": {"kind": "denoising"},
        "architecture": {"kind": "unet", "depth": 1, "features": [4, 8]},
        "patch_shape_zyx": [8, 8, 8],
        "sampling": {"scales": [1.0, 1.5], "inside": "body", "min_foreground": 0.2},
        "num_steps": 8,
        "batch_size": 4,
        "num_held_out_crops": 6,
        "checkpoint_every": 3,
        "pictures_every": 5,
    }
)
FLAT = RECIPE.model_copy(update={"patch_shape_zyx": (1, 8, 8)})


class KilledError(Exception):
    """What ends the process, in these tests."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store whose pretraining ran in one go, with its manifest."""
    store, inputs = prepared(tmp_path_factory.mktemp("whole"))
    return store, inputs, run(store, inputs)


def prepared(folder, phantom=BLOCKS):
    store, ingest_id = phantom_store(str(folder), phantom)
    return store, {"ingest": ingest_id}


def run(store, inputs, recipe=RECIPE, executor=None, **resources):
    return pretrain.run(
        recipe, inputs, store=store, executor=executor or InlineExecutor(), resources=Resources(**resources)
    )


def weights(store, manifest):
    return checkpoints.load(store, manifest.run_id)[0]


def folder_of(store, manifest):
    return Path(store.run("pretrain", manifest.run_id))


def on_side(store, inputs, side):
    return [volume for volume in volumes_of(store, inputs["ingest"]).values() if volume.side == side]


def test_the_same_seed_leaves_the_same_bytes_and_another_seed_others(whole, tmp_path):
    store, inputs, manifest = whole
    other_store, _ = prepared(tmp_path)
    again = run(other_store, inputs)
    assert again.run_id == manifest.run_id
    assert again.files == manifest.files
    assert again.results == manifest.results
    for name in (checkpoints.CARD, checkpoints.WEIGHTS):
        one, other = (Path(s.checkpoint(manifest.run_id), name) for s in (store, other_store))
        assert one.read_bytes() == other.read_bytes()
    reseeded = run(other_store, inputs, RECIPE.model_copy(update={"seed": 1}))
    assert not equal(weights(other_store, reseeded), weights(store, manifest))


def test_a_finished_run_is_found_done(whole):
    store, inputs, manifest = whole
    assert run(store, inputs) == manifest


@pytest.mark.parametrize("num_readers", [1, 3])
def test_reading_ahead_changes_no_weight(whole, tmp_path, num_readers):
    store, _, manifest = whole
    other_store, inputs = prepared(tmp_path)
    ahead = run(other_store, inputs, num_readers=num_readers)
    assert equal(weights(other_store, ahead), weights(store, manifest))


def test_two_workers_reach_the_weights_of_one_to_the_last_bit(whole, tmp_path, monkeypatch):
    store, inputs, manifest = whole
    build, one_at_a_time = pretrain.pretext_of_card, threading.Lock()

    def built(card, *, seed=0):
        # First weights are drawn from torch's one generator, which workers that are threads share.
        with one_at_a_time:
            return build(card, seed=seed)

    monkeypatch.setattr(pretrain, "pretext_of_card", built)
    group, meeting = {}, threading.Barrier(2, timeout=60)
    card = pretrain.card_of(RECIPE, inputs, store)

    def work(rank):
        context = OneOfMany(rank, group, meeting)
        return pretrain.train_worker(context, store=store, run_url=str(tmp_path), recipe=RECIPE, card=card)

    with ThreadPoolExecutor(2) as threads:
        counts = list(threads.map(work, range(2)))
    tensors, step, _ = checkpoints.load_state(str(tmp_path))
    assert step == RECIPE.num_steps
    trained = {n.removeprefix("network."): a for n, a in tensors.items() if n.startswith("network.")}
    assert equal(trained, weights(store, manifest))
    told = [{name: value for name, value in count.items() if name != "timing"} for count in counts]
    assert told[0] == told[1]


class DiesOnce(InlineExecutor):
    """This process, in which a training dies at a point (`Countdown`)."""

    def __init__(self, at):
        self.countdown = Countdown(self.die, at)

    def die(self):
        raise KilledError

    def train(self, work, *, name, resources):
        return InterruptedExecutor(InlineExecutor(), self.countdown).train(work, name=name, resources=resources)


@pytest.mark.parametrize("recipe", [RECIPE, FLAT.model_copy(update={"num_steps": 20, "ema_decay": 0.9})])
def test_a_pretraining_killed_at_ten_random_steps_ends_as_one_that_never_was(tmp_path, recipe):
    store, inputs = prepared(tmp_path / "never")
    never = run(store, inputs, recipe)
    killed_store, _ = prepared(tmp_path / "killed")
    num_points = _num_points(tmp_path, recipe)
    points = np.random.default_rng(0).integers(2, num_points, 10)
    num_killed = 0
    for point in points:
        try:
            run(killed_store, inputs, recipe, executor=DiesOnce(int(point)))
        except KilledError:
            num_killed += 1
        else:
            assert equal(weights(killed_store, never), weights(store, never))
            shutil.rmtree(killed_store.checkpoint(never.run_id))
            shutil.rmtree(folder_of(killed_store, never))
    ended = run(killed_store, inputs, recipe)
    assert num_killed >= 5
    assert ended.files == never.files
    assert ended.results == never.results
    assert equal(weights(killed_store, ended), weights(store, never))


def _num_points(tmp_path, recipe):
    """How many points an uninterrupted training passes."""
    store, inputs = prepared(tmp_path / "counted")
    counting = DiesOnce(0)
    run(store, inputs, recipe, executor=counting)
    return len(counting.countdown.passed)


def test_a_paused_pretraining_goes_on_as_if_it_never_had(whole, tmp_path):
    store, inputs, manifest = whole
    card = pretrain.card_of(RECIPE, inputs, store)
    for stop_at in (1, 4, 7, None):
        pretrain.train_worker(
            LocalTrainContext(), store=store, run_url=str(tmp_path), recipe=RECIPE, card=card, stop_at=stop_at
        )
    tensors, _, notes = checkpoints.load_state(str(tmp_path))
    assert all(np.array_equal(tensors[f"network.{n}"], array) for n, array in weights(store, manifest).items())
    assert notes["history"] == json.loads((folder_of(store, manifest) / "history.json").read_text())


def test_no_voxel_of_a_test_patient_is_read(tmp_path):
    store, inputs = prepared(tmp_path)
    for volume in on_side(store, inputs, "test"):
        _make_unreadable(store, volume.volume_id)
    assert run(store, inputs).results["num_scans"] == len(on_side(store, inputs, "pool"))


@pytest.mark.parametrize("side", ["pool", "validation"])
def test_a_damaged_scan_that_is_needed_ends_the_pretraining(tmp_path, side):
    """The other half of the test before: an unreadable scan does not go unnoticed."""
    store, inputs = prepared(tmp_path)
    for volume in on_side(store, inputs, side):
        _make_unreadable(store, volume.volume_id)
    with pytest.raises(CorruptionError):
        run(store, inputs)


def _make_unreadable(store, volume_id):
    shards = [path for path in Path(store.volume(volume_id)).rglob("*") if path.is_file() and path.name != "zarr.json"]
    assert shards
    for shard in shards:
        shard.write_bytes(b"damaged")


def test_labels_are_not_looked_at_unless_the_recipe_names_them(tmp_path):
    store, inputs = prepared(tmp_path)
    for volume in volumes_of(store, inputs["ingest"]).values():
        shutil.rmtree(Path(store.volume(volume.volume_id), "labels"))
    run(store, inputs)
    guided = RECIPE.model_copy(update={"sampling": RECIPE.sampling.model_copy(update={"inside": "labels"})})
    with pytest.raises(CorruptionError):
        run(store, inputs, guided)


def test_a_denoiser_is_better_than_copying_on_patients_it_never_saw(tmp_path):
    store, inputs = prepared(tmp_path, FRAMES)
    learnt = {"num_steps": 150, "batch_size": 8, "learning_rate": 1e-2, "sampling": {}, "num_held_out_crops": 32}
    recipe = PretrainRecipe.model_validate(
        {**FLAT.model_dump(), **learnt, "pretext": {"kind": "denoising", "std": 0.4}}
    )
    results = run(store, inputs, recipe).results
    assert results["restoration_mse"] < 0.7 * results["copying_mse"]
    untaught = run(store, inputs, recipe.model_copy(update={"num_steps": 1})).results
    assert untaught["copying_mse"] == results["copying_mse"], "the same crops are held out"
    assert untaught["restoration_mse"] > untaught["copying_mse"]


def test_held_out_crops_are_of_the_validation_s_patients_alone(tmp_path):
    """Where nobody is held out, nothing is told of held-out crops."""
    store, inputs = prepared(tmp_path)
    results = run(store, inputs).results
    assert {"restoration_mse", "copying_mse", "constant_mse"} <= results.keys()
    alone, inputs = _only_pool(tmp_path)
    results = run(alone, inputs).results
    assert not {"restoration_mse", "copying_mse"} & results.keys()


def _only_pool(tmp_path):
    phantom = dataclasses.replace(BLOCKS, num_patients=3)
    return prepared(tmp_path / "pool", phantom)


def test_early_stopping_asks_held_out_crops_and_says_what_they_said(tmp_path):
    store, inputs = prepared(tmp_path)
    rule = {"every": 2, "patience_checks": 9}
    manifest = run(store, inputs, PretrainRecipe.model_validate({**RECIPE.model_dump(), "early_stop": rule}))
    history = json.loads((folder_of(store, manifest) / "history.json").read_text())
    assert [entry["step"] for entry in history if "held_out_loss" in entry] == [2, 4, 6, 8]


def test_the_folder_holds_the_curve_the_timing_and_the_pictures_and_no_state(whole):
    store, _, manifest = whole
    folder = folder_of(store, manifest)
    assert sorted(path.name for path in folder.iterdir()) == [
        "history.json",
        "manifest.json",
        "pictures",
        "timing.json",
    ]
    timing = json.loads((folder / "timing.json").read_text())
    assert 0 < timing["wait_share"] < 1
    assert timing["steps_per_second"] > 0
    pictures = sorted(path.name for path in (folder / "pictures").iterdir())
    assert pictures == ["step-00000005.png", "step-00000008.png"]
    with Image.open(folder / "pictures" / pictures[0]) as page:
        assert page.size[0] > page.size[1] / 2
        assert len(page.histogram()) - page.histogram().count(0) > 50


def test_the_card_rebuilds_the_network(whole):
    store, inputs, manifest = whole
    card = checkpoints.read_card(store, manifest.run_id)
    assert card["question"] == "pretext"
    assert card["inputs"] == inputs
    _, network = pretrain.pretext_of_card(card, seed=5)
    assert network.state_dict().keys() == weights(store, manifest).keys()
    assert all(name.startswith("body.") for name in network.state_dict())


def test_scans_that_have_no_room_are_counted_and_the_rest_learnt_from(tmp_path):
    store, inputs = prepared(tmp_path)
    results = run(store, inputs).results
    assert (results["num_scans"], results["num_scans_left_out"]) == (3, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_shape_zyx": [32, 8, 8]}, r"None of the 3 scans .* the longest sides are \[16, 16, 16\]"),
        ({"sampling": {"max_solid_share": 0.15}}, "air test .* is phantom"),
        ({"sampling": {"window": "lung"}}, "window 'lung' is in Hounsfield units"),
    ],
)
def test_what_cannot_be_learnt_from_is_said_before_training_begins(tmp_path, changes, message):
    store, inputs = prepared(tmp_path)
    begun = DiesOnce(0)
    with pytest.raises(DataError, match=message):
        run(store, inputs, PretrainRecipe.model_validate({**RECIPE.model_dump(), **changes}), executor=begun)
    assert begun.countdown.passed == []


def test_nothing_left_to_learn_from_is_said(tmp_path):
    store, inputs = prepared(tmp_path)
    volumes = {v.volume_id: dataclasses.replace(v, side="test") for v in volumes_of(store, inputs["ingest"]).values()}
    with pytest.raises(DataError, match="No patient is left to learn from"):
        check_scans(volumes, RECIPE)


def test_the_store_is_all_that_a_run_needs(whole, tmp_path):
    store, inputs, manifest = whole
    shutil.copytree(store.url, tmp_path / "moved")
    moved = Store(str(tmp_path / "moved"))
    assert run(moved, inputs) == manifest
