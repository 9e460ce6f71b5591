"""`finetune: {from: ID}`, `hilum model import` and `hilum model anomaly` as they are typed."""

import json
import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import safetensors.numpy

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.nifti_patches import affine_of
from hilum.cli import composition
from hilum.cli.composition import annotator_of, ledger_of
from hilum.core.recipes import Choice, PretrainRecipe
from hilum.core.resources import Resources
from hilum.loop.campaign import Campaign
from hilum.loop.definition import only_ingest
from hilum.nn.predictor import weights_of
from hilum.nn.pretext.networks import restorer
from hilum.steps import pretrain
from hilum.store import checkpoints
from hilum.store.volumes import volumes_of
from hilum.testing.phantoms import Phantom, phantom_store

UNET = Choice(kind="unet", depth=1, features=(4, 8))
ARCHITECTURE = "'{kind: unet, depth: 1, features: [4, 8]}'"
PRETRAIN = PretrainRecipe(
    pretext=Choice(kind="denoising"), architecture=UNET, patch_shape_zyx=(1, 16, 16), num_steps=2, batch_size=4
)


def pretrained(store):
    inputs = {"ingest": only_ingest(store)}
    return pretrain.run(PRETRAIN, inputs, store=store, executor=InlineExecutor(), resources=Resources()).run_id


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, and shards that are done in this process."""
    monkeypatch.chdir(tmp_path)
    ready = composition.Engine(InlineExecutor(), Resources())
    monkeypatch.setattr(composition, "engine", lambda **options: ready)
    return tmp_path


def starting_at(tmp_path, recipe, start, **fields):
    path = tmp_path / "from.yaml"
    path.write_text(f"extends: {recipe}\nfinetune: {json.dumps({'from': start, **fields})}\n")
    return path


def test_a_campaign_of_two_rounds_starts_both_from_the_checkpoint_and_its_log_says_so(typed, store, recipe, tmp_path):
    start = pretrained(store)
    file = starting_at(tmp_path, recipe, start)
    file.write_text(file.read_text() + "campaign: {num_per_round: 6, num_in_total: 12}\n")
    assert typed(f"campaign create liver --recipe {file} --store {store.url}").code == 0
    campaign = Campaign.open(store, "liver", ledger=ledger_of(store))
    annotator = annotator_of(store, campaign.ingest_id, campaign.recipe.annotator)
    status = campaign.run(executor=InlineExecutor(), annotator=annotator)
    assert status.finished
    trained = [checkpoints.read_card(store, row.runs["finetune"]) for row in status.history]
    assert [card["inputs"]["start"] for card in trained] == [start, start]
    assert [row.reuse["model_reuse"] for row in status.history] == [False, False]
    log = " ".join(typed(f"round log liver --store {store.url}").out.split())
    for number in (0, 1):
        assert f"round {number} took over 16 tensors of {start} (body.encoder 16 of 16" in log
    assert typed(f"model list --store {store.url} --json").document["models"][0]["licence"]


@pytest.mark.parametrize(
    "case",
    [
        ("0123456789ab", {}, "There is no checkpoint 0123456789ab"),
        ("pretrained", {"architecture": {"kind": "unet", "depth": 1, "features": [5, 9]}}, "nothing in it fits"),
        ("pretrained", {"architecture": {"kind": "unet", "depth": 1, "features": [5, 9]}}, "features [4, 8]"),
    ],
)
def test_a_start_that_is_not_there_or_does_not_fit_is_told_before_anybody_is_asked(typed, store, recipe, case):
    start, fields, said = case
    file = starting_at(Path(recipe).parent, recipe, pretrained(store) if start == "pretrained" else start, **fields)
    answer = typed(f"campaign create liver --recipe {file} --store {store.url}")
    assert answer.code == 2
    assert said in " ".join(answer.err.split())
    assert typed(f"campaign list --store {store.url} --json").document["campaigns"] == []


def elsewhere(tmp_path, change=lambda tensors: tensors):
    """A network's encoder under names of its own, and the map that leads back."""
    own = weights_of(restorer(UNET, spatial_dims=2, in_channels=1, seed=5))
    tensors = {name.replace("body.encoder.blocks", "down"): a for name, a in own.items() if "encoder" in name}
    tensors["classifier.weight"] = np.zeros((2, 2), np.float32)
    file = tmp_path / "w.safetensors"
    safetensors.numpy.save_file(change(tensors), file)
    names = tmp_path / "names.yaml"
    names.write_text("'down\\.(.*)': 'body.encoder.blocks.\\1'\n")
    return file, names, own


def line(file, names, store, *, licence="Apache-2.0", architecture=ARCHITECTURE):
    options = f"--names {names} --licence '{licence}' --architecture {architecture} --dims 2 --store {store.url}"
    return f"model import {file} {options}"


def test_weights_from_elsewhere_become_a_checkpoint_with_their_licence(typed, store, tmp_path):
    file, names, own = elsewhere(tmp_path)
    answer = typed(line(file, names, store))
    assert answer.code == 0, answer.err
    assert "not used: classifier.weight" in answer.out
    document = typed(line(file, names, store) + " --json").document
    assert document["already_done"]
    tensors, card = checkpoints.load(store, document["run_id"])
    assert (card["question"], card["licence"]) == ("pretext", "Apache-2.0")
    assert all(np.array_equal(tensors[name], own[name]) for name in own if "encoder" in name)
    assert sorted(tensors) == sorted(name for name in own if "encoder" in name)
    assert str(tmp_path) not in json.dumps(card)


def test_a_training_starts_from_weights_from_elsewhere_and_carries_their_licence(typed, store, recipe, tmp_path):
    file, names, _ = elsewhere(tmp_path)
    start = typed(line(file, names, store, licence="CC BY-NC 4.0") + " --json").document["run_id"]
    campaign = f"campaign create liver --recipe {starting_at(tmp_path, recipe, start)} --store {store.url}"
    assert typed(campaign).code == 0
    begun = Campaign.open(store, "liver", ledger=ledger_of(store))
    begun.run(executor=InlineExecutor(), annotator=annotator_of(store, begun.ingest_id, begun.recipe.annotator))
    (model,) = typed(f"model list --store {store.url} --json").document["models"]
    assert "CC BY-NC 4.0" in model["licence"]


@pytest.mark.parametrize("ending", [".pt", ".pth", ".pkl", ".ckpt"])
def test_a_file_that_may_hold_a_pickle_is_refused_and_never_loaded(typed, store, tmp_path, ending):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "exploded"), "w")

    _, names, _ = elsewhere(tmp_path)
    for name in (f"w{ending}", "hidden.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        answer = typed(line(tmp_path / name, names, store))
        assert answer.code == 2
        assert ("pickle" in answer.err and "weights_only=True" in answer.err) or "not safetensors" in answer.err
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "case",
    [
        (None, "'down\\.(.*)': 'body.encoder.block.\\1'", {}, "Did you mean 'body.encoder.blocks"),
        (None, "'up\\.(.*)': 'x'", {}, "None of the expressions matches"),
        (None, "'down\\.(.*': 'x'", {}, "no regular expression"),
        (None, "'down\\.(.*)': '\\2'", {}, "no regular expression and name"),
        (None, "'down.*': 'body.encoder.blocks.0.0.weight'", {}, "Both down"),
        (None, "[a, b]", {}, "must map regular expressions"),
        (None, None, {"licence": " "}, "under which licence"),
        (None, None, {"architecture": "unett"}, "Did you mean 'unet'"),
        (None, None, {"architecture": "'{kind: unet, depth: 1, features: [4, 9]}'"}, "[8] in the file and [9]"),
        (lambda t: {name: a * np.float32("nan") for name, a in t.items()}, None, {}, "not finite"),
    ],
)
def test_weights_that_cannot_be_meant_say_why(typed, store, tmp_path, case):
    change, names, options, said = case
    file, given, _ = elsewhere(tmp_path, change or (lambda tensors: tensors))
    if names is not None:
        given.write_text(names + "\n")
    answer = typed(line(file, given, store, **options))
    assert answer.code == 2
    assert said in " ".join(answer.err.split())


def test_the_licence_is_asked_for(typed, store, tmp_path):
    file, names, _ = elsewhere(tmp_path)
    answer = typed(f"model import {file} --names {names} --architecture unet --store {store.url}")
    assert answer.code == 2
    assert "--licence" in answer.err


def test_an_anomaly_map_lies_where_its_scan_lies_with_a_picture_beside_it(typed, here):
    store, ingest_id = phantom_store(str(here / "store"), Phantom("segment"))
    checkpoint = pretrained(store)
    volume = next(iter(volumes_of(store, ingest_id).values()))
    options = f"--volume {volume.volume_id} --out map.nii.gz --picture map.png --store {store.url} --json"
    answer = typed(f"model anomaly {checkpoint} {options}")
    assert answer.code == 0, answer.err
    image = nib.load(here / "map.nii.gz")
    assert image.shape == volume.grid.shape_zyx[::-1]
    assert np.allclose(image.affine, affine_of(volume.grid))
    values = image.get_fdata()
    assert answer.document["mean"] == pytest.approx(values.mean(), rel=1e-5)
    assert values.mean(axis=(0, 1)).argmax() == answer.document["most_unlike_slice"]
    assert (here / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("line_", "said"),
    [
        ("{id} --volume ffffffffffff --out map.nii.gz", "No volume of this ingest is called"),
        ("ffffffffffff --volume x --out map.nii.gz", "No checkpoint is called"),
        ("{id} --volume x --out map.nii", "A map is a .nii.gz"),
        ("{id} --volume x --out map.nii.gz --picture map.svg", "a picture a .png"),
    ],
)
def test_an_anomaly_map_that_cannot_be_made_says_why(typed, here, store, line_, said):
    answer = typed(f"model anomaly {line_.format(id=pretrained(store))} --store {store.url}")
    assert answer.code == 2
    assert said in " ".join(answer.err.split())
    assert not list(here.glob("map*"))
