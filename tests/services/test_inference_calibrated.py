"""A calibrated model says how sure it is at its temperature, what is unlike its images, and what drifts."""

import io

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.services.test_inference import Served, as_npy, get, post

from hilum.adapters.inline import InlineExecutor
from hilum.core.recipes import CalibrateRecipe, Choice, FinetuneRecipe, PoolRecipe
from hilum.core.resources import Resources
from hilum.nn.normalise import normalise
from hilum.nn.temperature import tempered
from hilum.steps import calibrate, finetune
from hilum.steps.calibrations import read_calibration
from hilum.steps.predictor import load_predictor
from hilum.store.labels import NONE
from hilum.store.ledger import open_ledger
from hilum.testing.answered import label_set_of, pool_run, true_answers
from hilum.testing.phantoms import Phantom, lesion_image, phantom_store
from hilum.testing.untrained import untrained_checkpoint
from hilum_services.inference import drift

PHANTOM = Phantom("classify", 2, num_frames=30, seed=3)
HOW = {"executor": InlineExecutor(), "resources": Resources()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier that learnt, and was calibrated after: (folder, store, checkpoint)."""
    folder = tmp_path_factory.mktemp("trained")
    store, ingest_id = phantom_store(str(folder / "store"), PHANTOM)
    labels = label_set_of(store, true_answers(store, ingest_id, PHANTOM))
    architecture = Choice(kind="unet", depth=1, features=(8, 16))
    recipe = FinetuneRecipe(architecture=architecture, num_steps=12, batch_size=8, learning_rate=3e-3)
    inputs = {"labels": labels, "start": NONE, "ingest": ingest_id}
    checkpoint_id = finetune.run(recipe, inputs, store=store, **HOW).run_id
    pool_id = pool_run(store, ingest_id, PoolRecipe())
    told = {"checkpoint": checkpoint_id, "ingest": ingest_id, "pool": pool_id}
    calibrate.run(CalibrateRecipe(num_items=60), told, store=store, **HOW)
    return folder, store, checkpoint_id


@pytest.fixture
def served(trained, tmp_path):
    _, store, checkpoint_id = trained
    made = Served(tmp_path)
    made.store, made.checkpoint_id = store, checkpoint_id
    made.ledger = champion_of(store, checkpoint_id)
    with made.start() as url:
        made.url = url
        yield made


def champion_of(store, checkpoint_id):
    ledger = open_ledger(store)
    ledger.point("chest", "champion", checkpoint_id, expected=ledger.alias("chest", "champion"))
    return ledger


def frames(num, first=100):
    """Frames as the phantom has them, four pixels aside: they make black and white those of the phantom's volumes."""
    made = [lesion_image(np.random.default_rng(first + n), PHANTOM.patch_shape_zyx)[0] for n in range(num)]
    for image in made:
        image[..., 0, :2], image[..., -1, -2:] = 0, 1200
    return made


def test_probabilities_are_those_of_the_temperature(served):
    (image,) = frames(1)
    answer = post(served, "chest/classify", as_npy(image)).json()
    calibration = read_calibration(served.store, served.checkpoint_id)
    assert calibration.record.temperature is not None
    seen = normalise(image, *np.percentile(image, [0.5, 99.5]))
    probs = load_predictor(served.store, served.checkpoint_id).predict(seen[None])[0, 0]
    expected = tempered(probs, calibration.record.temperature.temperature)
    assert answer["calibrated"] is True
    np.testing.assert_allclose(list(answer["probabilities"].values()), expected, atol=1e-4)


def test_beside_another_each_answers_at_its_own_temperature(served):
    (image,) = frames(1)
    other = untrained_checkpoint(served.store, PHANTOM, seed=9)
    served.ledger.point("chest", "canary", other, expected=served.ledger.alias("chest", "canary"))
    alone = [post(served, f"chest@{one}/classify", as_npy(image)).json() for one in ("champion", "canary")]
    together = post(served, "chest/classify", as_npy(image), beside="@canary").json()
    expected = np.mean([list(one["probabilities"].values()) for one in alone], axis=0)
    np.testing.assert_allclose(list(together["probabilities"].values()), expected, atol=1e-5)
    assert [one["calibrated"] for one in (*alone, together)] == [True, False, False]
    assert together["unlike_share"] == alone[0]["unlike_share"]


def test_what_is_unlike_its_images_is_flagged_and_what_is_like_them_is_not(served):
    like = [post(served, "chest/classify", as_npy(image)).json()["unlike"] for image in frames(20)]
    assert sum(like) <= 4
    stripes = np.zeros((1, 1, 16, 16), np.uint16)
    stripes[..., ::2] = 2000
    assert post(served, "chest/classify", as_npy(stripes)).json()["unlike"] is True


def test_drift_is_told_once_enough_was_seen(served, monkeypatch):
    monkeypatch.setattr(drift, "ENOUGH", 40)
    for image in frames(40):
        post(served, "chest/classify", as_npy(image))
    before = drifts(served)
    assert set(before) == {"grey_levels_0", "confidence"}
    for image in frames(40):
        darker = (image * 0.2).astype(np.uint16)
        darker[0, 0, 0, 0] = 2000
        post(served, "chest/classify", as_npy(darker))
    assert drifts(served)["grey_levels_0"] > before["grey_levels_0"]


def drifts(served):
    watcher = served.new_key(f"w{id(io.BytesIO())}", may=("metrics",))
    families = text_string_to_metric_families(get(served, "/metrics", watcher).text)
    return {s.labels["of"]: s.value for f in families for s in f.samples if s.name == "hilum_inference_drift"}
