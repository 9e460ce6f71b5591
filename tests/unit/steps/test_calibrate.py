"""calibrate: validation patients only tell how sure to be, nothing of patients is kept, and serving finds it again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.core.drift import psi
from hilum.core.errors import CorruptionError
from hilum.core.recipes import CalibrateRecipe, Choice, FinetuneRecipe, IngestRecipe, PoolRecipe, SplitRecipe
from hilum.core.resources import Resources
from hilum.nn.normalise import normalise
from hilum.nn.temperature import TEMPERATURES, tempered
from hilum.steps import calibrate, calibrate_shard, evaluate, finetune
from hilum.steps.calibrate_sample import shards_of
from hilum.steps.calibrations import Record, read_calibration
from hilum.steps.pool import pool_side
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.store.labels import NONE
from hilum.store.manifest import Run
from hilum.store.volumes import open_volume, volumes_of, write_volume_table
from hilum.testing.answered import label_set_of, pool_run, true_answers
from hilum.testing.phantoms import Phantom, phantom_store

RECIPE = CalibrateRecipe(num_items=40, voxels_per_item=300)
SIDES = ("pool", "validation")
SMALL = Choice(kind="unet", depth=1, features=(8, 16))
PHANTOMS = {"classify": Phantom("classify", num_frames=30), "segment": Phantom("segment")}


class Backwards(InlineExecutor):
    """Does the last shard first, as a busy cluster may."""

    def map_shards(self, work, shards, **options):
        return super().map_shards(work, list(reversed(shards)), **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    made = {question: train(tmp_path_factory.mktemp(question), phantom) for question, phantom in PHANTOMS.items()}
    return made.__getitem__


def train(folder, phantom, num_steps=20):
    store, ingest_id = phantom_store(str(folder), phantom)
    if phantom.question == "classify":
        ingest_id = with_wrong_truths(store, ingest_id)
    labels = label_set_of(store, true_answers(store, ingest_id, phantom))
    recipe = FinetuneRecipe(architecture=SMALL, num_steps=num_steps, batch_size=8, learning_rate=1e-2)
    inputs = {"labels": labels, "start": NONE, "ingest": ingest_id}
    manifest = finetune.run(recipe, inputs, store=store, executor=InlineExecutor(), resources=Resources())
    return store, manifest.run_id, ingest_id


def with_wrong_truths(store, ingest_id):
    """The ingest again, but every fifth item of the validation side is of the other class: a model must be wrong."""
    volumes = volumes_of(store, ingest_id)
    for volume_id, volume in volumes.items():
        if volume.side == "validation":
            classes = tuple(1 - c if place % 5 == 4 else c for place, c in enumerate(volume.classes))
            volumes[volume_id] = replace(volume, classes=classes)
    this = Run(store, "ingest", 1, IngestRecipe(), {"source": f"{ingest_id} again"})
    write_volume_table(this.path("volumes.parquet"), volumes.values())
    return this.commit(files=["volumes.parquet"], class_names=["no lesion", "lesion"]).run_id


def run(made, recipe=RECIPE, pool=None, executor=None, resources=None):
    store, checkpoint_id, ingest_id = made
    pool_id = pool_run(store, ingest_id, pool or PoolRecipe())
    inputs = {"checkpoint": checkpoint_id, "ingest": ingest_id, "pool": pool_id}
    return calibrate.run(
        recipe, inputs, store=store, executor=executor or InlineExecutor(), resources=resources or Resources()
    )


def record(made, manifest):
    path = Path(made[0].run("calibrate", manifest.run_id), "calibration.json")
    return Record.model_validate_json(path.read_text())


def answers(made, side):
    """Every item of one side: probabilities, embedding and truth."""
    store, checkpoint_id, ingest_id = made
    predictor = load_predictor(store, checkpoint_id)
    for volume in volumes_of(store, ingest_id).values():
        if volume.side != side:
            continue
        reader = open_volume(store, volume)
        for index, patch in enumerate(evaluate.patches_of(volume, PoolRecipe())):
            image = normalise(reader.read_CZYX(patch), volume.low, volume.high)
            probs, embedding = predictor.predict_and_embed(image[None])
            truth = volume.classes[index] if volume.classes else reader.read_label_map_ZYX(patch)
            yield image, probs[0, 0], embedding[0], truth


def test_a_classifier_is_as_sure_as_its_validation_patients_allow(trained):
    made = trained("classify")
    found = record(made, run(made))
    held = [(probs, truth) for _, probs, _, truth in answers(made, "validation")]
    assert found.num_items == len(held) == 30
    assert found.num_voxels is None

    def nll(temperature):
        return -np.mean([np.log(tempered(probs.astype(np.float64), temperature)[truth]) for probs, truth in held])

    fit = found.temperature
    assert fit.nll_before == pytest.approx(nll(1.0), rel=1e-4)
    assert fit.nll_after == pytest.approx(nll(fit.temperature), rel=1e-4)
    assert nll(fit.temperature) <= min(map(nll, TEMPERATURES)) + 1e-6


def test_a_segmenter_is_as_sure_as_the_voxels_of_its_validation_patients_allow(trained):
    made = trained("segment")
    found = record(made, run(made, RECIPE.model_copy(update={"voxels_per_item": 10_000})))
    log_NK, truth_N = [], []
    for _, probs, _, truth in answers(made, "validation"):
        log_NK += np.log(probs.astype(np.float64)).reshape(2, -1).T.tolist()
        truth_N += truth.ravel().tolist()
    assert found.num_items == 12
    assert found.num_voxels == len(truth_N) == 12 * 16 * 16
    before = -np.mean(np.array(log_NK)[np.arange(len(truth_N)), truth_N])
    assert found.temperature.nll_before == pytest.approx(before, rel=1e-4)
    assert found.temperature.nll_after <= found.temperature.nll_before


def test_some_voxels_of_each_item_say_nearly_what_all_of_them_say(trained):
    made = trained("segment")
    some, all_ = (record(made, run(made, RECIPE.model_copy(update={"voxels_per_item": n}))) for n in (100, 10_000))
    assert some.num_voxels <= 12 * 100 < all_.num_voxels
    assert some.temperature.nll_before == pytest.approx(all_.temperature.nll_before, rel=0.25)


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_a_hundredth_of_validation_patches_and_noise_are_unlike_what_it_knows(trained, question):
    made = trained(question)
    manifest = run(made)
    found = read_calibration(made[0], made[1])
    known = np.stack([embedding for _, _, embedding, _ in answers(made, "validation")])
    distances = found.familiar.distance(known)
    assert found.record.unlike.threshold == pytest.approx(np.quantile(distances, 0.99), rel=1e-3)
    assert found.is_unlike(known).sum() == 1
    predictor = load_predictor(made[0], made[1])
    stripes = np.tile(np.array([0.0, 1.0], np.float32), 128).reshape(1, 1, 1, 16, 16)
    assert found.is_unlike(predictor.embed(stripes)).all()
    assert manifest.results["unlike_from"] == found.record.unlike.threshold


def test_what_is_usual_is_that_of_the_pool_s_pixels_and_of_validation_answers(trained):
    made = trained("segment")
    usual = record(made, run(made, RECIPE.model_copy(update={"num_items": 100}))).usual
    pixels = np.concatenate([image.ravel() for image, *_ in answers(made, "pool")])
    assert sum(usual.grey_levels[0].counts) == len(pixels)
    assert usual.grey_levels[0].psi(pixels) == pytest.approx(0, abs=1e-9)
    assert usual.grey_levels[0].psi(pixels * 0.5) > 0.25
    shares = np.array([(probs.argmax(axis=0) == 1).mean() for _, probs, _, _ in answers(made, "validation")])
    assert usual.answers_of == "validation"
    assert usual.foreground_share.psi(shares) == pytest.approx(0, abs=1e-9)
    assert usual.class_counts is None
    sure = np.array([probs.max(axis=0).mean() for _, probs, _, _ in answers(made, "validation")])
    assert usual.confidence.psi(sure) < 0.1


def test_a_classifier_s_usual_answers_are_counted_by_class(trained):
    made = trained("classify")
    usual = record(made, run(made)).usual
    likeliest = [int(probs.argmax()) for _, probs, _, _ in answers(made, "validation")]
    assert usual.class_counts == tuple(np.bincount(likeliest, minlength=2).tolist())
    assert psi(usual.class_counts, np.bincount(likeliest, minlength=2).tolist()) == 0
    assert usual.foreground_share is None


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_test_patients_are_not_looked_at_and_no_patient_is_named(trained, question):
    made = trained(question)
    store, checkpoint_id, ingest_id = made
    card = checkpoints.read_card(store, checkpoint_id)
    shards = shards_of(store, ingest_id, PoolRecipe(), card=card, recipe=RECIPE)
    assert {(shard.side, volume.side) for shard in shards for volume, _ in shard.patches} == {
        ("pool", "pool"),
        ("validation", "validation"),
    }
    folder = Path(store.run("calibrate", run(made).run_id))
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration.json",
        "embeddings.safetensors",
        "manifest.json",
    ]
    written = b"".join(path.read_bytes() for path in folder.iterdir()).decode("latin-1")
    for volume in volumes_of(store, ingest_id).values():
        assert volume.study.patient_id not in written
        assert volume.volume_id not in written


def test_a_sample_is_of_the_size_asked_for_and_another_seed_draws_another(trained):
    store, checkpoint_id, ingest_id = trained("classify")
    card = checkpoints.read_card(store, checkpoint_id)

    def drawn(**changed):
        recipe = CalibrateRecipe(**{"num_items": 20, **changed})
        shards = shards_of(store, ingest_id, PoolRecipe(), card=card, recipe=recipe)
        return {side: [p for s in shards if s.side == side for _, ps in s.patches for p in ps] for side in SIDES}

    first = drawn()
    assert {side: len(set(patches)) for side, patches in first.items()} == {"pool": 20, "validation": 20}
    assert drawn() == first
    assert drawn(seed=1) != first
    pool = pool_side(store, ingest_id, PoolRecipe())
    assert len(drawn(num_items=10_000)["pool"]) == sum(volume.num_items for volume in pool)


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_neither_order_nor_batch_size_changes_what_is_found(tmp_path, question):
    made = train(tmp_path, PHANTOMS[question])
    one = run(made)
    Path(made[0].run("calibrate", one.run_id), "manifest.json").unlink()
    other = run(made, executor=Backwards(), resources=Resources(score_batch_size=5))
    assert numbers(other) == pytest.approx(numbers(one), rel=1e-4)


def numbers(manifest):
    return {name: value for name, value in manifest.results.items() if name != "answers_of"}


def test_the_second_run_does_nothing_and_a_killed_one_goes_on_from_its_parts(tmp_path, monkeypatch):
    made = train(tmp_path, PHANTOMS["segment"])

    class Killed(InlineExecutor):
        def map_shards(self, work, shards, **options):
            yield work(shards[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(made, executor=Killed())
    assert read_calibration(made[0], made[1]) is None
    looked = []
    monkeypatch.setattr(calibrate_shard, "load_predictor", lambda *a, **k: looked.append(1) or load_predictor(*a, **k))
    first = run(made)
    assert run(made) == first
    # The pool's shard was done before: the validation side's is the only one that is left.
    assert len(looked) == 1


def test_serving_finds_the_newest_run_of_its_checkpoint(tmp_path):
    made = train(tmp_path, PHANTOMS["classify"])
    store, checkpoint_id, _ = made
    assert read_calibration(store, checkpoint_id) is None
    first = run(made)
    assert read_calibration(store, checkpoint_id).run_id == first.run_id
    assert read_calibration(store, "ffffffffffff") is None
    second = run(made, RECIPE.model_copy(update={"seed": 1}))
    found = read_calibration(store, checkpoint_id)
    assert found.run_id == second.run_id != first.run_id
    probs = np.array([[0.9, 0.1]], np.float32)
    at = found.record.temperature.temperature
    np.testing.assert_array_equal(found.probabilities(probs), tempered(probs, at))


def test_what_changed_on_the_disk_is_not_served(tmp_path):
    made = train(tmp_path, PHANTOMS["classify"])
    folder = Path(made[0].run("calibrate", run(made).run_id))
    (folder / "calibration.json").write_text("{}")
    with pytest.raises(CorruptionError, match="calibrate the checkpoint again"):
        read_calibration(made[0], made[1])


def test_without_validation_patients_it_says_so_and_keeps_what_the_pool_tells(tmp_path):
    made = train(tmp_path, Phantom("classify", num_patients=3))  # the fourth would be on the validation side
    manifest = run(made, pool=PoolRecipe(split=SplitRecipe(validation=0, test=0)))
    found = read_calibration(made[0], made[1])
    assert found.record.temperature is None
    assert "nobody is on the validation side" in found.record.no_temperature
    assert "nobody is on the validation side" in manifest.results["no_unlike"]
    assert found.is_unlike(np.zeros((2, 16))) is None
    assert found.record.usual.answers_of == "pool"
    probs = np.array([[0.9, 0.1]], np.float32)
    assert found.probabilities(probs) is probs


def test_a_model_that_is_never_wrong_gets_no_temperature(tmp_path):
    # Of four items none is the fifth, whose truth is wrong.
    made = train(tmp_path, Phantom("classify", num_frames=4), num_steps=80)
    found = record(made, run(made))
    assert found.temperature is None
    assert "right wherever it is sure" in found.no_temperature


def test_large_images_are_looked_at_window_by_window(trained):
    made = trained("segment")
    pool = PoolRecipe(patch_shape_zyx=(1, 8, 8), stride_zyx=(1, 4, 4))
    found = record(made, run(made, RECIPE.model_copy(update={"num_items": 48}), pool=pool))
    # Of each of 12 items as many windows as make 48 together.
    assert found.unlike.num_validation == found.usual.num_answers == 48
    assert found.unlike.num_known == 48
    assert found.num_items == 12
    assert found.window_shape_zyx == (1, 8, 8)


def test_blocks_of_voxels_are_calibrated_too(tmp_path):
    made = train(tmp_path, Phantom("segment", spatial_dims=3, num_frames=3, size=8), num_steps=4)
    found = record(made, run(made))
    assert found.num_items == 3
    assert found.unlike.num_known == 9
