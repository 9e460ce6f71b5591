"""Answers kept apart for an early stop: whole patients, chosen by the seed, never from the evaluated sides."""

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice, EarlyStopRecipe, EvaluateRecipe, FinetuneRecipe, PoolRecipe
from hilum.core.resources import Resources
from hilum.steps import evaluate, finetune
from hilum.steps.held_out_answers import split_off
from hilum.store import checkpoints
from hilum.store.labels import NONE
from hilum.store.volumes import volumes_of
from hilum.testing.answered import label_set_of, pool_run, true_answers
from hilum.testing.phantoms import Phantom, phantom_store

STOPPING = FinetuneRecipe(
    architecture=Choice(kind="unet", depth=1, features=(4, 8)),
    num_steps=6,
    batch_size=4,
    early_stop=EarlyStopRecipe(share=0.3, every=2, patience_checks=9),
)


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("answered"), Phantom("segment", num_patients=8))


def prepared(folder, phantom):
    store, ingest_id = phantom_store(str(folder), phantom)
    return store, ingest_id, true_answers(store, ingest_id, phantom)


def run(store, ingest_id, answers, recipe):
    inputs = {"labels": label_set_of(store, answers), "start": NONE, "ingest": ingest_id}
    return finetune.run(recipe, inputs, store=store, executor=InlineExecutor(), resources=Resources())


def patients_of(answers, volumes):
    return {volumes[answer.patch.volume_id].study.patient_id for answer in answers}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_a_patient_is_trained_on_or_checked_with_and_neither_side_is_empty(answered, seed, share):
    store, ingest_id, answers = answered
    volumes = volumes_of(store, ingest_id)
    recipe = STOPPING.model_copy(update={"seed": seed, "early_stop": EarlyStopRecipe(share=share)})
    taught, kept = split_off(recipe, answers, volumes)
    assert taught
    assert kept
    assert sorted(a.annotation_id for a in [*taught, *kept]) == sorted(a.annotation_id for a in answers)
    assert not patients_of(taught, volumes) & patients_of(kept, volumes)
    assert split_off(recipe, answers[::-1], volumes)[1] == kept[::-1], "the order of answers changes nothing"


def test_another_seed_keeps_other_patients_apart(answered):
    store, ingest_id, answers = answered
    volumes = volumes_of(store, ingest_id)
    kept = [split_off(STOPPING.model_copy(update={"seed": s}), answers, volumes)[1] for s in range(8)]
    assert len({frozenset(patients_of(one, volumes)) for one in kept}) > 1


def test_without_an_early_stop_all_is_trained_on(answered):
    store, ingest_id, answers = answered
    recipe = STOPPING.model_copy(update={"early_stop": None})
    assert split_off(recipe, answers, volumes_of(store, ingest_id)) == (answers, [])


def test_the_answers_about_one_patient_are_not_parted(answered):
    store, ingest_id, answers = answered
    volumes = volumes_of(store, ingest_id)
    first = min(patients_of(answers, volumes))
    alone = [a for a in answers if volumes[a.patch.volume_id].study.patient_id == first]
    assert split_off(STOPPING, alone, volumes) == (alone, [])
    results = run(store, ingest_id, alone, STOPPING).results
    assert results["num_held_out_answers"] == 0
    assert results["num_steps"] == STOPPING.num_steps


def test_a_training_says_how_many_answers_it_kept_apart(answered):
    store, ingest_id, answers = answered
    results = run(store, ingest_id, answers, STOPPING).results
    assert 0 < results["num_held_out_answers"] < results["num_answers"] == len(answers)
    plain = STOPPING.model_copy(update={"early_stop": None})
    assert "num_held_out_answers" not in run(store, ingest_id, answers, plain).results


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_network_of_small_crops_is_evaluated_on_the_whole(tmp_path, spatial_dims):
    phantom = Phantom("segment", spatial_dims=spatial_dims, num_frames=3, size=16)
    store, ingest_id, answers = prepared(tmp_path, phantom)
    crop = (1 if spatial_dims == 2 else 8, 8, 8)
    recipe = STOPPING.model_copy(update={"early_stop": None, "patch_shape_zyx": crop, "foreground_share": 0.5})
    trained = run(store, ingest_id, answers, recipe).run_id
    assert checkpoints.read_card(store, trained)["patch_shape_zyx"] == list(crop)
    inputs = {"checkpoint": trained, "ingest": ingest_id, "pool": pool_run(store, ingest_id, PoolRecipe())}
    found = evaluate.run(
        EvaluateRecipe(num_resamples=0), inputs, store=store, executor=InlineExecutor(), resources=Resources()
    )
    assert found.results["test"]["num_items"] == 3


def test_crops_of_classes_and_of_another_kind_of_image_are_refused(tmp_path, answered):
    store, ingest_id, answers = answered
    with pytest.raises(RecipeError, match="are not both images or both blocks"):
        run(store, ingest_id, answers, STOPPING.model_copy(update={"patch_shape_zyx": (4, 8, 8)}))
    store, ingest_id, answers = prepared(tmp_path, Phantom("classify"))
    with pytest.raises(RecipeError, match="a class answers a whole patch"):
        run(store, ingest_id, answers, STOPPING.model_copy(update={"patch_shape_zyx": (1, 8, 8)}))
