"""From scans without labels to a training on answers: pretraining, and finetune from what it learnt."""

import numpy as np
import pytest
from pydantic import ValidationError

from hilum.adapters.inline import InlineExecutor, LocalTrainContext
from hilum.core.errors import NotFoundError, RecipeError
from hilum.core.ids import run_id
from hilum.core.recipes import Choice, FinetuneRecipe, PretrainRecipe
from hilum.core.resources import Resources
from hilum.steps import anomaly, finetune, pretrain, teaching
from hilum.store import checkpoints
from hilum.store.labels import NONE
from hilum.store.volumes import volumes_of
from hilum.testing.answered import label_set_of, true_answers
from hilum.testing.phantoms import Phantom, phantom_store

SMALL = Choice(kind="unet", depth=1, features=(4, 8), norm="batch")
NESTED = Choice(kind="unetpp", depth=1, features=(4, 8), norm="batch")
PRETRAIN = PretrainRecipe(
    pretext=Choice(kind="denoising"),
    architecture=SMALL,
    patch_shape_zyx=(1, 16, 16),
    num_steps=3,
    batch_size=4,
    num_held_out_crops=2,
)
FAR = 10_000


class Prepared:
    """A store with answers and a pretraining's checkpoint."""

    def __init__(self, folder, question, **phantom):
        made = Phantom(question, **phantom)
        self.store, self.ingest_id = phantom_store(str(folder), made)
        self.labels = label_set_of(self.store, true_answers(self.store, self.ingest_id, made))
        self.pretrained = self.pretrain(PRETRAIN)

    def pretrain(self, recipe):
        inputs = {"ingest": self.ingest_id}
        done = pretrain.run(recipe, inputs, store=self.store, executor=InlineExecutor(), resources=Resources())
        return done.run_id

    def recipe(self, start, **fields):
        given = {"architecture": SMALL, "num_steps": 4, "batch_size": 4, "checkpoint_every": 1, **fields}
        return FinetuneRecipe(start=start, **given)

    def inputs(self, recipe):
        start = recipe.checkpoint or NONE
        return teaching.inputs_of(recipe, labels=self.labels, start=start, ingest=self.ingest_id, store=self.store)

    def run(self, recipe):
        inputs = self.inputs(recipe)
        return finetune.run(recipe, inputs, store=self.store, executor=InlineExecutor(), resources=Resources())

    def weights(self, checkpoint_id):
        return checkpoints.load(self.store, checkpoint_id)[0]


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    return Prepared(tmp_path_factory.mktemp("segment"), "segment")


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    return Prepared(tmp_path_factory.mktemp("classify"), "classify")


def still_equal(one, other, names):
    return [name for name in names if np.array_equal(one[name], other[name])]


def kernels(names):
    return [name for name in names if "running" not in name and "tracked" not in name]


def test_a_segmenter_begins_with_the_pretrained_weights_and_says_which(segmented):
    manifest = segmented.run(segmented.recipe(segmented.pretrained, num_frozen_steps=FAR))
    account = manifest.results["transfer"]
    assert manifest.inputs["start"] == account["checkpoint"] == segmented.pretrained
    assert account["fresh"] == ["body.head.weight", "body.head.bias"]
    assert (account["num_loaded"], account["num_fresh"], account["num_unused"]) == (len(account["loaded"]), 2, 2)
    assert account["parts"]["body.head"] == "0 of 2"
    assert checkpoints.read_card(segmented.store, manifest.run_id)["transfer"] == account
    assert manifest.results["reuse"]["model_reuse"] is False


def test_a_classifier_takes_the_encoder(classified):
    account = classified.run(classified.recipe(classified.pretrained)).results["transfer"]
    assert all(name.startswith("body.encoder.") for name in account["loaded"])
    assert set(account["fresh"]) == {"linear.weight", "linear.bias"}


def test_of_a_pretrained_unet_a_unetpp_learns_on_from_the_encoder(segmented):
    recipe = segmented.recipe(segmented.pretrained, architecture=NESTED, num_frozen_steps=FAR)
    manifest = segmented.run(recipe)
    loaded = manifest.results["transfer"]["loaded"]
    assert {name.split(".")[1] for name in loaded} == {"encoder"}
    before, after = segmented.weights(segmented.pretrained), segmented.weights(manifest.run_id)
    assert still_equal(before, after, kernels(loaded)) == kernels(loaded)


def test_a_checkpoint_of_answers_can_be_started_from_as_well(segmented):
    taught = segmented.run(segmented.recipe("scratch")).run_id
    account = segmented.run(segmented.recipe(taught)).results["transfer"]
    assert account["fresh"] == ["body.head.weight", "body.head.bias"]


def test_what_is_held_keeps_its_weights_and_its_norms_still_see_the_images(segmented):
    manifest = segmented.run(segmented.recipe(segmented.pretrained, num_frozen_steps=FAR))
    loaded = manifest.results["transfer"]["loaded"]
    before, after = segmented.weights(segmented.pretrained), segmented.weights(manifest.run_id)
    assert still_equal(before, after, loaded) == kernels(loaded)
    assert any("running_mean" in name for name in loaded)


def test_once_it_is_let_go_all_of_it_learns_and_what_is_held_longer_is_another_result(segmented):
    runs = [segmented.run(segmented.recipe(segmented.pretrained, num_frozen_steps=n)) for n in (0, 3, FAR)]
    before = segmented.weights(segmented.pretrained)
    convolutions = [name for name in runs[0].results["transfer"]["loaded"] if before[name].ndim == 4]
    for one in runs[:2]:
        assert still_equal(before, segmented.weights(one.run_id), convolutions) == []
    assert len({one.run_id for one in runs}) == 3


@pytest.mark.parametrize("num_frozen_steps", [0, 3])
def test_a_training_that_paused_anywhere_ends_as_one_that_did_not(tmp_path, num_frozen_steps):
    whole, paused = Prepared(tmp_path / "whole", "segment"), Prepared(tmp_path / "paused", "segment")
    recipe = whole.recipe(whole.pretrained, num_frozen_steps=num_frozen_steps, num_steps=5)
    expected = whole.weights(whole.run(recipe).run_id)
    inputs = paused.inputs(recipe)
    card = finetune.card_of(recipe, inputs, paused.store)
    url = paused.store.run("finetune", run_id("finetune", finetune.STEP_VERSION, recipe, inputs))
    for stop_at in (1, 2, 3, 4):
        finetune.train_worker(
            LocalTrainContext(), store=paused.store, run_url=url, recipe=recipe, card=card, stop_at=stop_at
        )
        assert checkpoints.load_state(url)[1] == stop_at
    found = paused.weights(paused.run(recipe).run_id)
    assert still_equal(expected, found, expected) == list(expected)


def test_an_unknown_checkpoint_is_one_error_and_nothing_was_trained(segmented):
    recipe = segmented.recipe("0123456789ab")
    with pytest.raises(NotFoundError, match="no checkpoint 0123456789ab"):
        segmented.run(recipe)
    url = segmented.store.run("finetune", run_id("finetune", finetune.STEP_VERSION, recipe, segmented.inputs(recipe)))
    assert checkpoints.load_state(url) is None


def test_a_checkpoint_that_has_nothing_in_common_says_why(segmented):
    wider = segmented.recipe(segmented.pretrained, architecture=Choice(kind="unet", depth=1, features=(5, 9)))
    with pytest.raises(RecipeError, match=r"4 × 1 × 3 × 3, the network's is 5 × 1 × 3 × 3.*features \[4, 8\]"):
        segmented.run(wider)


def test_3d_answers_do_not_start_from_slices(tmp_path):
    blocks = Prepared(tmp_path, "segment", spatial_dims=3, num_frames=3, size=16)
    with pytest.raises(RecipeError, match="learnt from 2D patches, and these are 3D"):
        blocks.run(blocks.recipe(blocks.pretrained))


def test_a_pretrained_checkpoint_is_no_model_that_answers(segmented):
    with pytest.raises(RecipeError, match="answers no question"):
        finetune.load_predictor(segmented.store, segmented.pretrained)


def test_other_first_weights_are_another_result_and_the_default_keeps_its_name(segmented):
    plain, uniform = (segmented.run(segmented.recipe("scratch", **f)) for f in ({}, {"first_weights": "uniform"}))
    assert plain.run_id != uniform.run_id
    explicit = segmented.recipe("scratch", first_weights="he")
    assert segmented.run(explicit).run_id == plain.run_id
    assert "first_weights" not in explicit.model_dump(exclude_defaults=True)
    name = next(name for name, array in segmented.weights(plain.run_id).items() if array.ndim == 4)
    largest = [float(np.abs(segmented.weights(one.run_id)[name]).max()) for one in (plain, uniform)]
    assert largest[1] < 0.1 < largest[0]


def test_the_licence_of_what_was_started_from_stays_with_what_it_becomes(tmp_path):
    made = Prepared(tmp_path, "segment")
    tensors, card = checkpoints.load(made.store, made.pretrained)
    checkpoints.save(made.store, "c0ffee000000", tensors, {**card, "licence": "CC BY-NC 4.0"})
    first = made.run(made.recipe("c0ffee000000"))
    assert first.results["transfer"]["licence"] == "CC BY-NC 4.0"
    second = made.run(made.recipe(first.run_id))
    for one in (first, second):
        assert checkpoints.read_card(made.store, one.run_id)["licence"].count("CC BY-NC 4.0") == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"from": "champoin"}, "Did you mean 'champion'"),
        ({"from": "0A1B2C3D4E5F"}, "12 hexadecimal digits"),
        ({"from": 12345}, "in quotes"),
        ({"from": "0a1b2c3d4e5f", "data": "new"}, "from a checkpoint every answer is new"),
        ({"from": "0a1b2c3d4e5f", "num_first_steps": 3}, "every training is a first one"),
        ({"from": "champion", "num_frozen_steps": 3}, "num_frozen_steps holds"),
        ({"first_weights": "uniform", "architecture": {"kind": "timm_unetpp", "pretrained": True}}, "draw over"),
    ],
)
def test_a_start_that_cannot_be_meant_says_what_can(fields, reason):
    with pytest.raises(ValidationError, match=reason):
        FinetuneRecipe.model_validate(fields)


def test_an_id_that_yaml_takes_for_a_number_is_an_id():
    assert FinetuneRecipe.model_validate({"from": 123456789012}).checkpoint == "123456789012"


def test_the_anomaly_map_is_the_distance_from_the_restoration_and_covers_the_whole_volume(segmented):
    volume = next(iter(volumes_of(segmented.store, segmented.ingest_id).values()))
    found = anomaly.anomalies_of(
        segmented.store, segmented.pretrained, ingest_id=segmented.ingest_id, volume_id=volume.volume_id
    )
    assert found.difference.shape == (1, *volume.grid.shape_zyx)
    assert found.grid == volume.grid
    assert np.array_equal(found.difference, np.abs(found.image - found.restored))
    assert found.difference.max() > 0
    assert 0 <= found.image.min() <= found.image.max() <= 1


def test_a_network_that_learnt_to_copy_finds_a_scan_less_strange_than_an_untrained_one(segmented):
    volume_id = next(iter(volumes_of(segmented.store, segmented.ingest_id)))
    means = []
    for num_steps in (1, 60):
        fields = {"pretext": Choice(kind="autoencoder"), "num_steps": num_steps, "learning_rate": 1e-2}
        checkpoint = segmented.pretrain(PRETRAIN.model_copy(update=fields))
        found = anomaly.anomalies_of(segmented.store, checkpoint, ingest_id=segmented.ingest_id, volume_id=volume_id)
        means.append(float(found.difference.mean()))
    assert means[1] < means[0] / 2


def test_only_a_checkpoint_that_was_pretrained_here_says_what_is_strange(segmented):
    volume_id = next(iter(volumes_of(segmented.store, segmented.ingest_id)))
    taught = segmented.run(segmented.recipe("scratch")).run_id
    with pytest.raises(RecipeError, match="was not pretrained here"):
        anomaly.anomalies_of(segmented.store, taught, ingest_id=segmented.ingest_id, volume_id=volume_id)
    with pytest.raises(NotFoundError, match="volume of this ingest"):
        anomaly.anomalies_of(segmented.store, segmented.pretrained, ingest_id=segmented.ingest_id, volume_id="nobody")
