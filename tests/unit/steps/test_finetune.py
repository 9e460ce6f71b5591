"""finetune: from answers to a checkpoint that can be rebuilt, resumed and continued."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hilum.adapters.inline import InlineExecutor, LocalTrainContext
from hilum.core.asking import IGNORE, Annotation
from hilum.core.errors import DataError, RecipeError
from hilum.core.geometry import Patch
from hilum.core.recipes import Choice, FinetuneRecipe
from hilum.core.resources import Resources
from hilum.steps import finetune, training_run
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.store.labels import NONE
from hilum.store.volumes import volumes_of
from hilum.testing.answered import label_set_of, true_answers
from hilum.testing.phantoms import Phantom, phantom_store

SMALL = Choice(kind="unet", depth=1, features=(8, 16))
RECIPE = FinetuneRecipe(architecture=SMALL, num_steps=6, batch_size=4, checkpoint_every=2)
CLASSIFY, SEGMENT = Phantom("classify"), Phantom("segment")


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("classify"), CLASSIFY)


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("segment"), SEGMENT)


def prepared(folder, phantom, edit=lambda answers: answers):
    store, ingest_id = phantom_store(str(folder), phantom)
    answers = edit(true_answers(store, ingest_id, phantom))
    return store, {"labels": label_set_of(store, answers), "start": NONE, "ingest": ingest_id}


def run(store, inputs, recipe=RECIPE):
    return finetune.run(recipe, inputs, store=store, executor=InlineExecutor(), resources=Resources())


def weights(store, checkpoint_id):
    return checkpoints.load(store, checkpoint_id)[0]


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("prepared_store", ["classified", "segmented"])
def test_the_checkpoint_has_the_run_s_id_and_its_card_rebuilds_it(prepared_store, request):
    store, inputs = request.getfixturevalue(prepared_store)
    manifest = run(store, inputs)
    card = checkpoints.read_card(store, manifest.run_id)
    assert card["question"] == ("classify" if prepared_store == "classified" else "segment")
    assert card["inputs"] == inputs
    assert card["patch_shape_zyx"] == [1, 16, 16]
    assert card["spatial_dims"] == 2
    assert len(card["class_names"]) == card["num_classes"] == 2
    probs = load_predictor(store, manifest.run_id).predict(np.zeros((3, 1, 1, 16, 16), np.float32))
    assert np.allclose(probs.sum(axis=2), 1, atol=1e-5)


def test_the_card_writes_out_what_today_is_a_default(classified):
    store, inputs = classified
    architecture = checkpoints.read_card(store, run(store, inputs).run_id)["architecture"]
    assert architecture["norm"] == "group"
    assert architecture["up"] == "transposed"


def test_the_second_run_does_nothing(classified):
    store, inputs = classified
    first = run(store, inputs)
    path = Path(store.checkpoint(first.run_id), "model.safetensors")
    before = path.stat().st_mtime_ns
    assert run(store, inputs) == first
    assert path.stat().st_mtime_ns == before


def test_the_loss_curve_is_kept_and_the_optimizer_is_not(classified):
    store, inputs = classified
    manifest = run(store, inputs)
    folder = Path(store.run("finetune", manifest.run_id))
    history = json.loads((folder / "history.json").read_text())
    assert [entry["step"] for entry in history] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(entry["loss"]) for entry in history)
    assert manifest.results["num_steps"] == 6
    assert sorted(p.name for p in folder.iterdir()) == ["history.json", "manifest.json", "timing.json"]


def test_enough_steps_learn_what_a_lesion_is(classified):
    store, inputs = classified
    recipe = RECIPE.model_copy(update={"num_steps": 80, "batch_size": 16, "learning_rate": 1e-2})
    history = json.loads(Path(store.run("finetune", run(store, inputs, recipe).run_id), "history.json").read_text())
    assert history[-1]["loss"] < 0.3 * history[0]["loss"]


def test_a_3d_pool_trains_a_3d_network(tmp_path):
    store, inputs = prepared(tmp_path, Phantom("segment", spatial_dims=3, num_frames=3, size=8))
    manifest = run(store, inputs, RECIPE.model_copy(update={"num_steps": 2}))
    assert checkpoints.read_card(store, manifest.run_id)["spatial_dims"] == 3
    probs = load_predictor(store, manifest.run_id).predict(np.zeros((1, 1, 8, 8, 8), np.float32))
    assert probs.shape == (1, 1, 2, 8, 8, 8)


def test_a_training_that_was_killed_ends_as_one_that_was_not(tmp_path):
    recipe = RECIPE.model_copy(update={"num_steps": 60, "checkpoint_every": 2})
    store, inputs = prepared(tmp_path / "whole", CLASSIFY)
    whole = run(store, inputs, recipe).run_id
    expected = weights(store, whole)
    store, inputs = prepared(tmp_path / "killed", CLASSIFY)
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json(by_alias=True))
    program = (
        "import sys, json\n"
        "from pathlib import Path\n"
        "from hilum.adapters.inline import InlineExecutor\n"
        "from hilum.core.recipes import FinetuneRecipe\n"
        "from hilum.core.resources import Resources\n"
        "from hilum.steps import finetune\n"
        "from hilum.store.layout import Store\n"
        "url, recipe, inputs = sys.argv[1:]\n"
        "recipe = FinetuneRecipe.model_validate_json(Path(recipe).read_text())\n"
        "finetune.run(recipe, json.loads(inputs), store=Store(url), executor=InlineExecutor(), resources=Resources())\n"
    )
    arguments = [store.url, str(tmp_path / "recipe.json"), json.dumps(inputs)]
    state = Path(store.run("finetune", whole), "state.json")
    with subprocess.Popen([sys.executable, "-c", program, *arguments]) as process:
        while not state.exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert 0 < checkpoints.load_state(store.run("finetune", whole))[1] < 60
    assert not Path(store.checkpoint(whole)).exists()
    resumed = run(store, inputs, recipe)
    assert resumed.run_id == whole
    assert equal(weights(store, whole), expected)


def test_more_workers_than_chunks_are_not_asked_for():
    for given, expected in ((0, 0), (1, 1), (2, 2), (3, 3), (8, 4)):
        resources = Resources(num_train_workers=given)
        recipe = FinetuneRecipe(num_chunks=4)
        assert training_run.workable(resources, recipe).num_train_workers == expected


def test_training_goes_on_from_the_champion(classified):
    store, inputs = classified
    first = run(store, inputs).run_id
    still = RECIPE.model_copy(update={"start": "champion", "learning_rate": 1e-12, "weight_decay": 0.0})
    second = run(store, {**inputs, "start": first}, still)
    assert second.run_id != first
    assert all(
        np.allclose(array, weights(store, first)[name], atol=1e-6)
        for name, array in weights(store, second.run_id).items()
    )


def test_another_architecture_cannot_go_on_from_the_champion(classified):
    store, inputs = classified
    first = run(store, inputs).run_id
    other = RECIPE.model_copy(update={"architecture": Choice(kind="unetpp", depth=1, features=(8, 16))})
    with pytest.raises(RecipeError, match=f"Cannot go on from checkpoint {first}: its architecture is"):
        run(store, {**inputs, "start": first}, other)


def test_a_default_written_out_is_the_same_architecture(classified):
    store, inputs = classified
    first = run(store, inputs).run_id
    explicit = RECIPE.model_copy(update={"architecture": Choice(kind="unet", depth=1, features=(8, 16), norm="group")})
    assert run(store, {**inputs, "start": first}, explicit).inputs["start"] == first


def test_training_goes_on_from_a_card_that_is_older_than_a_parameter(classified):
    store, inputs = classified
    first = run(store, inputs).run_id
    tensors, card = checkpoints.load(store, first)
    for younger in ("num_flat_levels", "pruned_from"):
        del card["architecture"][younger]
    checkpoints.save(store, "0123456789ab", tensors, card)
    assert run(store, {**inputs, "start": "0123456789ab"}).inputs["start"] == "0123456789ab"


def test_a_label_set_without_answers_is_refused(tmp_path):
    store, inputs = prepared(tmp_path, CLASSIFY, lambda answers: [])
    with pytest.raises(DataError, match="holds no answer to train on"):
        run(store, inputs)


def test_a_patch_of_which_nothing_was_answered_is_left_out(tmp_path):
    def forget_the_first(answers):
        blank = np.full(answers[0].patch.shape_zyx, IGNORE, np.uint16)
        return [changed(answers[0], label_map_zyx=blank), *answers[1:]]

    store, inputs = prepared(tmp_path, SEGMENT, forget_the_first)
    assert run(store, inputs).results["num_answers"] == 35


def test_a_class_that_is_not_among_the_names_is_refused(tmp_path):
    def wrong(answers):
        return [changed(answers[0], class_id=7), *answers[1:]]

    store, inputs = prepared(tmp_path, CLASSIFY, wrong)
    with pytest.raises(DataError, match="answers class 7; there are 2 classes, 0 to 1"):
        run(store, inputs)


def test_a_mixture_of_questions_is_refused(tmp_path):
    def mixed(answers):
        blank = np.zeros(answers[0].patch.shape_zyx, np.uint16)
        return [changed(answers[0], class_id=None, label_map_zyx=blank), *answers[1:]]

    store, inputs = prepared(tmp_path, CLASSIFY, mixed)
    with pytest.raises(DataError, match="mixes classes and label maps"):
        run(store, inputs)


def test_a_wrong_architecture_is_named_before_anything_is_trained(classified):
    store, inputs = classified
    with pytest.raises(RecipeError, match="Did you mean 'unetpp'"):
        run(store, inputs, RECIPE.model_copy(update={"architecture": Choice(kind="unetp")}))


def test_patches_are_read_normalised_and_kept(segmented):
    store, inputs = segmented
    answers = finetune.usable_answers(store, inputs["labels"])
    examples = finetune.AnsweredPatches(store, answers, volumes_of(store, inputs["ingest"]))
    assert len(examples.classes) == len(answers)
    for index, answer in enumerate(answers[:4]):
        example = examples.read(index)
        assert example.image_CZYX.shape == (1, *answer.patch.shape_zyx)
        assert 0 <= example.image_CZYX.min() <= example.image_CZYX.max() <= 1
        assert np.array_equal(example.label_map_ZYX, answer.label_map_zyx)
        assert examples.read(index) is example
        assert set(examples.classes[index]) == set(np.unique(answer.label_map_zyx).tolist())


def test_answers_of_two_sizes_train_at_the_commoner_one(tmp_path):
    def half_of_one(answers):
        patch = answers[0].patch
        small = Patch(patch.volume_id, patch.start_zyx, (1, 8, 8))
        return [changed(answers[0], patch=small, label_map_zyx=answers[0].label_map_zyx[:, :8, :8]), *answers[1:]]

    store, inputs = prepared(tmp_path, SEGMENT, half_of_one)
    manifest = run(store, inputs)
    assert checkpoints.read_card(store, manifest.run_id)["patch_shape_zyx"] == [1, 16, 16]


def test_answers_about_volumes_of_another_ingest_are_refused(tmp_path):
    def elsewhere(answers):
        patch = answers[0].patch
        return [changed(answers[0], patch=Patch("0123456789ab", patch.start_zyx, patch.shape_zyx)), *answers[1:]]

    store, inputs = prepared(tmp_path, CLASSIFY, elsewhere)
    with pytest.raises(DataError, match="volume 0123456789ab, which this ingest does not hold"):
        run(store, inputs)


def test_fewer_answers_are_another_checkpoint(tmp_path):
    all_of_them = prepared(tmp_path, CLASSIFY)
    half = prepared(tmp_path, CLASSIFY, lambda answers: answers[:12])
    assert run(*all_of_them).run_id != run(*half).run_id


def changed(answer, **fields):
    return Annotation(**{**vars(answer), **fields})


def test_a_training_that_pauses_before_its_first_report_keeps_its_state(classified, tmp_path):
    store, inputs = classified
    recipe, url = RECIPE.model_copy(update={"num_steps": 1000}), str(tmp_path / "run")
    card = finetune.card_of(recipe, inputs, store)
    context = LocalTrainContext()
    counts = finetune.train_worker(context, store=store, run_url=url, recipe=recipe, card=card, stop_at=2)
    assert context.reports == []
    assert counts["num_steps"] == 2
    assert checkpoints.load_state(url)[1] == 2
