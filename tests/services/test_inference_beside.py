"""Several versions answer together: the mean of what each says alone, told by name, or a refusal."""

import io
import json
import logging
import time

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.services.test_inference import CLASSIFY, GRID, SEGMENT, Served, as_npy, frame, get, nifti_bytes, post, scan

from hilum.client import Client
from hilum.nn.passes import entropy
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.testing.phantoms import Phantom
from hilum.testing.untrained import untrained_checkpoint

SEGMENT_2D = Phantom("segment", 2, size=16)


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path)
    for model, phantom, seed in (("liver", SEGMENT, 10), ("chest", CLASSIFY, 20)):
        made.champion(model, phantom, seed=seed)
        for alias, more in (("canary", 1), ("shadow", 2)):
            other = untrained_checkpoint(made.store, phantom, seed=seed + more)
            made.ledger.point(model, alias, other, expected=None)
    made.watcher = made.new_key("watcher", may=("metrics",))
    with made.start() as url:
        made.url = url
        yield made


def version(served, model, alias):
    return served.ledger.alias(model, alias)


def probabilities(answer):
    assert answer.status_code == 200, answer.text
    return np.array(list(answer.json()["probabilities"].values()))


def test_a_class_is_the_mean_of_what_each_says_and_all_are_named(served):
    body = as_npy(frame())
    alone = [probabilities(post(served, f"chest@{alias}/classify", body)) for alias in ("champion", "canary", "shadow")]
    others = [version(served, "chest", "canary"), version(served, "chest", "shadow")]
    answer = post(served, "chest/classify", body, beside=["@canary", f":{others[1]}"])
    np.testing.assert_allclose(probabilities(answer), np.mean(alone, axis=0), atol=1e-5)
    assert np.abs(np.diff(alone, axis=0)).max() > 1e-3  # or the mean would be no other's
    said = answer.json()
    assert (said["version"], said["beside"]) == (version(served, "chest", "champion"), others)
    information = entropy(np.mean(alone, axis=0)) - np.mean([entropy(one) for one in alone])
    assert said["disagreement"] == pytest.approx(float(information), abs=1e-5)
    scores = post(served, "chest/score", body, beside=["@canary", "@shadow"]).json()
    assert scores["scores"]["entropy"] == pytest.approx(said["uncertainty"], abs=1e-6)


def test_an_outline_is_that_of_the_mean(served):
    image = scan()[:, :, :16, :16].astype(np.float32)
    seen = np.clip((image - np.percentile(image, 0.5)) / (np.percentile(image, 99.5) - np.percentile(image, 0.5)), 0, 1)
    ids = [version(served, "liver", alias) for alias in ("champion", "canary")]
    probs = np.mean([load_predictor(served.store, one).predict(seen[None])[0, 0] for one in ids], axis=0)
    client = Client(served.url, served.key)
    found = client.segment("liver", as_npy(scan()[:, :, :16, :16]), format="npy", beside=["@canary"])
    label_map = np.load(io.BytesIO(found.content), allow_pickle=False)
    sure = np.abs(probs[0] - probs[1]) > 1e-3
    np.testing.assert_array_equal(label_map[sure], probs.argmax(axis=0)[sure])
    assert (found.version, found.beside) == (ids[0], (ids[1],))


def test_a_version_named_twice_counts_once(served):
    body = as_npy(frame())
    champion = version(served, "chest", "champion")
    said = post(served, "chest/classify", body, beside=["@champion", f":{champion}"]).json()
    assert (said["beside"], said["disagreement"]) == ([], None)
    said = post(served, "chest/classify", body, beside=["@canary", "@canary"]).json()
    assert said["beside"] == [version(served, "chest", "canary")]


def test_mirrors_are_of_every_version(served):
    body = as_npy(frame())
    alone = [probabilities(post(served, f"chest@{a}/classify", body, mirrors=2)) for a in ("champion", "canary")]
    together = probabilities(post(served, "chest/classify", body, mirrors=2, beside="@canary"))
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-5)


def test_a_large_image_is_answered_together_later_by_the_versions_of_when_it_was_asked(served):
    body = nifti_bytes(scan(), GRID)
    before = version(served, "liver", "canary")
    at_once = post(served, "liver/segment", body, format="npy", beside="@canary")
    job = post(served, "liver/segment", body, format="npy", beside="@canary", later=True).json()
    served.ledger.point("liver", "canary", version(served, "liver", "shadow"), expected=before)
    until = time.monotonic() + 60
    while get(served, job["url"]).json()["status"] in ("waiting", "running"):
        assert time.monotonic() < until
        time.sleep(0.05)
    later = get(served, job["url"] + "/result")
    assert later.content == at_once.content
    assert later.headers["hilum-beside"] == at_once.headers["hilum-beside"] == before


@pytest.mark.parametrize(
    ("beside", "status", "said"),
    [
        (["@nobody"], 404, "no model 'chest' with a nobody"),
        ([":0123456789ab"], 404, "has no checkpoint"),
        (["canary"], 400, "not one that is understood"),
        (["liver@canary"], 400, "not one that is understood"),
        (["@canary"] * 5, 400, "not one that is understood"),
    ],
)
def test_what_cannot_be_beside_is_refused(served, beside, status, said):
    answer = post(served, "chest/classify", as_npy(frame()), beside=beside)
    assert (answer.status_code, said in answer.json()["error"]) == (status, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"class_names": ["no lesion", "stone"]}, "other classes"), ({"question": "segment"}, "other questions")],
)
def test_versions_that_do_not_answer_the_same_are_refused(served, change, said):
    weights, card = checkpoints.load(served.store, version(served, "chest", "canary"))
    if "question" in change:
        weights, card = checkpoints.load(served.store, untrained_checkpoint(served.store, SEGMENT_2D, seed=40))
    checkpoints.save(served.store, "abcdefabcdef", weights, {**card, **change})
    served.ledger.point("chest", "canary", "abcdefabcdef", expected=version(served, "chest", "canary"))
    answer = post(served, "chest/classify", as_npy(frame()), beside="@canary")
    assert (answer.status_code, said in answer.json()["error"]) == (422, True)


def test_voxels_are_counted_for_every_version(tmp_path):
    made = Served(tmp_path, most_voxels=500)
    made.champion("chest", CLASSIFY, seed=1)
    made.ledger.point("chest", "canary", untrained_checkpoint(made.store, CLASSIFY, seed=2), expected=None)
    with made.start() as made.url:
        assert post(made, "chest/classify", as_npy(frame())).status_code == 200
        answer = post(made, "chest/classify", as_npy(frame()), beside="@canary")
        assert (answer.status_code, "for every version" in answer.json()["error"]) == (422, True)


def test_it_is_counted_as_the_champions_and_the_audit_names_all(served, caplog):
    with caplog.at_level(logging.INFO, logger="hilum.audit"):
        post(served, "chest/classify", as_npy(frame()), beside="@canary")
    (line,) = [json.loads(record.message) for record in caplog.records if record.name == "hilum.audit"]
    assert line["beside"] == [f":{version(served, 'chest', 'canary')}"]
    counted = {
        sample.labels["version"]
        for family in text_string_to_metric_families(get(served, "/metrics", served.watcher).text)
        for sample in family.samples
        if sample.name == "hilum_inference_uncertainty_count"
    }
    assert counted == {version(served, "chest", "champion")}
