"""evaluate: held-out patients only, the truth's own numbers, resumable, the same on any machine."""

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.core.errors import NotFoundError
from hilum.core.recipes import Choice, EvaluateRecipe, FinetuneRecipe, PoolRecipe, SplitRecipe
from hilum.core.resources import Resources
from hilum.nn.normalise import normalise
from hilum.steps import evaluate, finetune
from hilum.steps.predictor import load_predictor
from hilum.store.labels import NONE
from hilum.store.tables import METRICS, PATIENT_METRICS, read_table
from hilum.store.volumes import open_volume, volumes_of
from hilum.testing.answered import label_set_of, pool_run, true_answers
from hilum.testing.phantoms import Phantom, phantom_store

RECIPE = EvaluateRecipe(num_resamples=50)
PHANTOMS = {"classify": Phantom("classify"), "segment": Phantom("segment")}
SMALL = Choice(kind="unet", depth=1, features=(8, 16))


class Backwards(InlineExecutor):
    """Does the last shard first, as a busy cluster may."""

    def map_shards(self, work, shards, **options):
        return super().map_shards(work, list(reversed(shards)), **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    made = {question: train(tmp_path_factory.mktemp(question), phantom) for question, phantom in PHANTOMS.items()}
    return made.__getitem__


def train(folder, phantom, num_steps=80, architecture=SMALL):
    store, ingest_id = phantom_store(str(folder), phantom)
    labels = label_set_of(store, true_answers(store, ingest_id, phantom))
    recipe = FinetuneRecipe(architecture=architecture, num_steps=num_steps, batch_size=8, learning_rate=1e-2)
    inputs = {"labels": labels, "start": NONE, "ingest": ingest_id}
    manifest = finetune.run(recipe, inputs, store=store, executor=InlineExecutor(), resources=Resources())
    return store, manifest.run_id, ingest_id


def run(made, pool=None, recipe=RECIPE, executor=None, resources=None):
    store, checkpoint_id, ingest_id = made
    pool_id = pool_run(store, ingest_id, pool or PoolRecipe())
    inputs = {"checkpoint": checkpoint_id, "ingest": ingest_id, "pool": pool_id}
    return evaluate.run(
        recipe, inputs, store=store, executor=executor or InlineExecutor(), resources=resources or Resources()
    )


def table(made, manifest):
    return read_table(f"{made[0].run('evaluate', manifest.run_id)}/metrics.parquet", METRICS)


def test_a_classifier_s_accuracy_is_the_share_it_gets_right(trained):
    made = trained("classify")
    store, checkpoint_id, ingest_id = made
    results = run(made).results
    predictor = load_predictor(store, checkpoint_id)
    for side in ("validation", "test"):
        (volume,) = [v for v in volumes_of(store, ingest_id).values() if v.side == side]
        reader = open_volume(store, volume)
        right = []
        for index, patch in enumerate(evaluate.patches_of(volume, PoolRecipe())):
            image = normalise(reader.read_CZYX(patch), volume.low, volume.high)
            right.append(predictor.predict(image[None])[0, 0].argmax() == volume.classes[index])
        assert results[side]["accuracy"] == pytest.approx(np.mean(right))
        assert results[side]["num_items"] == volume.num_items == 12


def test_a_segmenter_s_dice_is_counted_over_all_voxels_of_a_side(trained):
    made = trained("segment")
    store, checkpoint_id, ingest_id = made
    results = run(made).results
    predictor = load_predictor(store, checkpoint_id)
    (volume,) = [v for v in volumes_of(store, ingest_id).values() if v.side == "test"]
    reader = open_volume(store, volume)
    both, total = 0, 0
    for patch in evaluate.patches_of(volume, PoolRecipe()):
        image = normalise(reader.read_CZYX(patch), volume.low, volume.high)
        found, truth = predictor.predict(image[None])[0, 0].argmax(axis=0), reader.read_label_map_ZYX(patch)
        both += ((found == 1) & (truth == 1)).sum()
        total += (found == 1).sum() + (truth == 1).sum()
    assert results["test"]["dice_mean"] == pytest.approx(2 * both / total)


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_what_was_learnt_shows_on_patients_nobody_was_asked_about(trained, question):
    metric = {"classify": "balanced_accuracy", "segment": "dice_mean"}[question]
    results = run(trained(question)).results
    assert results["validation"][metric] > 0.8
    assert results["test"][metric] > 0.8


def test_every_metric_has_its_row_with_an_interval(trained):
    made = trained("segment")
    found = table(made, run(made))
    names = set(
        zip(found["side"].to_pylist(), found["metric"].to_pylist(), found["class_name"].to_pylist(), strict=True)
    )
    for side in ("validation", "test"):
        assert {(side, "dice_mean", ""), (side, "iou_mean", ""), (side, "dice", "lesion")} <= names
    with_value = found.filter(pc.is_finite(found["value"]))
    assert pc.all(pc.less_equal(with_value["low"], with_value["high"])).as_py()
    assert pc.all(pc.equal(pc.is_finite(found["value"]), pc.equal(found["reason"], ""))).as_py()
    assert pc.all(pc.equal(found["num_items"], 12)).as_py()


@pytest.mark.parametrize(("question", "metric"), [("classify", "accuracy"), ("segment", "dice")])
def test_every_patient_held_out_has_numbers_of_its_own(trained, question, metric):
    made = trained(question)
    manifest = run(made)
    assert set(manifest.files) == {"metrics.parquet", "patient_metrics.parquet"}
    url = f"{made[0].run('evaluate', manifest.run_id)}/patient_metrics.parquet"
    rows = [row for row in read_table(url, PATIENT_METRICS).to_pylist() if row["metric"] == metric]
    held = {(side, volume.study.patient_id) for volume, side in evaluate.held_out(made[0], made[2], PoolRecipe())}
    assert {(row["side"], row["patient_id"]) for row in rows} == held
    # Of one patient a side, its own number is the side's.
    of_side = {"accuracy": "accuracy", "dice": "dice_per_patient_mean"}[metric]
    assert {row["side"]: row["value"] for row in rows} == pytest.approx(
        {side: manifest.results[side][of_side] for side in ("validation", "test")}
    )


def test_a_segmenter_is_judged_by_surfaces_and_lesions_too(trained):
    results = run(trained("segment")).results["test"]
    assert 0.8 < results["surface_dice_mean"] <= 1
    assert 0 <= results["hd95_mm_mean"] < 16
    assert 0 < results["lesion_sensitivity_mean"] <= 1
    assert results["false_positives_per_scan_mean"] >= 0


def test_without_a_tolerance_surfaces_are_left_out_and_the_rest_stays(trained):
    made = trained("segment")
    whole = run(made).results["test"]
    less = run(made, recipe=RECIPE.model_copy(update={"surface_tolerance_mm": None})).results["test"]
    assert set(whole) - set(less) == {"surface_dice_mean", "hd95_mm_mean"}
    assert less == {name: whole[name] for name in less}


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_no_patient_of_the_pool_is_evaluated(trained, question):
    store, _, ingest_id = trained(question)
    held = evaluate.held_out(store, ingest_id, PoolRecipe())
    assert {side for _, side in held} == {"validation", "test"}
    assert {volume.side for volume, _ in held} == {"validation", "test"}


def test_the_second_run_does_nothing(trained):
    made = trained("classify")
    first = run(made)
    path = Path(made[0].run("evaluate", first.run_id), "metrics.parquet")
    before = path.stat().st_mtime_ns
    assert run(made) == first
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("question", ["classify", "segment"])
def test_neither_order_nor_batch_size_changes_the_numbers(tmp_path, question):
    made = train(tmp_path, PHANTOMS[question], num_steps=4)
    one = run(made)
    rows = table(made, one).to_pylist()
    Path(made[0].run("evaluate", one.run_id), "manifest.json").unlink()
    other = run(made, executor=Backwards(), resources=Resources(score_batch_size=5))
    np.testing.assert_equal(table(made, other).to_pylist(), rows)
    assert other.results == one.results


def test_a_shard_that_was_done_before_a_crash_is_not_done_again(tmp_path):
    made = train(tmp_path, PHANTOMS["classify"], num_steps=2)
    manifest = run(made)
    folder = Path(made[0].run("evaluate", manifest.run_id))
    assert not (folder / "parts").exists()
    (folder / "manifest.json").unlink()
    # What a run killed after its only shard leaves, with other numbers than the network would give.
    row = {"truth": 1, "probs": [0.0, 1.0], "side": "test", "patient_id": "p", "item": ["v", 0]}
    (folder / "parts").mkdir()
    (folder / "parts" / "part-00000.json").write_text(json.dumps({"rows": [row]}))
    assert run(made).results["test"] == {
        "accuracy": 1.0,
        "balanced_accuracy": 1.0,
        "auc_macro": None,
        "num_items": 1,
    }


def test_shards_are_of_bounded_size_whatever_the_machine(trained):
    store, _, ingest_id = trained("classify")
    volume = next(iter(volumes_of(store, ingest_id).values()))
    shards = evaluate.shards_of([(volume, "test")] * 300, question="classify")
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert sum(len(shard.volumes) for shard in shards) == 300
    assert max(sum(v.num_items for v, _ in shard.volumes) for shard in shards) <= 1024


def test_volumes_without_a_truth_are_left_out(trained):
    store, _, ingest_id = trained("classify")
    volume = next(iter(volumes_of(store, ingest_id).values()))
    assert evaluate.shards_of([(volume, "test")], question="segment") == []


def test_a_large_image_is_segmented_window_by_window(trained):
    made = trained("segment")
    pool = PoolRecipe(patch_shape_zyx=(1, 8, 8), stride_zyx=(1, 4, 4))
    whole, windows = run(made).results, run(made, pool=pool).results
    assert windows["test"]["num_items"] == whole["test"]["num_items"]
    assert windows["test"]["dice_mean"] != whole["test"]["dice_mean"]
    assert windows["test"]["dice_mean"] > 0.5


def test_a_classifier_of_patches_answers_every_tile(trained):
    made = trained("classify")
    results = run(made, pool=PoolRecipe(patch_shape_zyx=(1, 8, 8), stride_zyx=(1, 8, 8))).results
    assert results["test"]["num_items"] == 12 * 4


def test_a_side_that_nobody_is_on_has_no_metrics(tmp_path):
    phantom = Phantom("classify", num_patients=4)  # the fifth would be on the test side
    made = train(tmp_path, phantom, num_steps=2)
    results = run(made, pool=PoolRecipe(split=SplitRecipe(validation=0, test=0))).results
    assert results["test"] == {}
    assert results["validation"]["num_items"] == 12


def test_a_checkpoint_that_is_not_there_is_said_to_be_so(trained):
    store, _, ingest_id = trained("classify")
    with pytest.raises(NotFoundError, match="There is no checkpoint"):
        run((store, "0123456789ab", ingest_id))


def test_the_answer_is_the_mean_over_the_members_that_were_asked(tmp_path):
    deep = Choice(kind="unetpp", depth=2, features=(4, 8, 8))
    made = train(tmp_path, PHANTOMS["segment"], num_steps=40, architecture=deep)
    store, checkpoint_id, ingest_id = made
    heads = RECIPE.model_copy(update={"members": Choice(kind="heads")})
    single, ensemble = run(made), run(made, recipe=heads)
    assert single.run_id != ensemble.run_id
    predictor = load_predictor(store, checkpoint_id)
    (volume,) = [v for v in volumes_of(store, ingest_id).values() if v.side == "test"]
    reader = open_volume(store, volume)
    both, total = 0, 0
    for patch in evaluate.patches_of(volume, PoolRecipe()):
        image = normalise(reader.read_CZYX(patch), volume.low, volume.high)
        probs = predictor.predict(image[None], members=Choice(kind="heads"))
        assert len(probs) == 2
        found, truth = probs[:, 0].mean(axis=0).argmax(axis=0), reader.read_label_map_ZYX(patch)
        both += ((found == 1) & (truth == 1)).sum()
        total += (found == 1).sum() + (truth == 1).sum()
    assert ensemble.results["test"]["dice_mean"] == pytest.approx(2 * both / total)


def test_an_evaluation_by_the_network_alone_is_named_as_it_always_was():
    assert "members" not in EvaluateRecipe().model_dump(exclude_defaults=True)
