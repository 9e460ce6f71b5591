"""Label Studio's ML backend protocol at a real server: drafts of whole tasks, and outlines of what is pointed at."""

import time

import numpy as np
import pytest
from tests.services.own_server import CLIENT, KEY, serving

from hilum.adapters.label_studio.answers import read_answer
from hilum.adapters.label_studio.asked import Asked
from hilum.adapters.label_studio.drafts import check_prediction
from hilum.adapters.label_studio.links import ImagePlace, Signer
from hilum.adapters.label_studio.pages import View
from hilum.adapters.label_studio.slices import hang
from hilum.core.geometry import Patch
from hilum.steps.publish import draft_of
from hilum.store.ledger import open_ledger
from hilum.store.volumes import open_volume, volumes_of
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint
from hilum_services.pre_annotation.app import make_app
from hilum_services.pre_annotation.drafting import INTENSITY, Drafter

USER, PASSWORD = "hilum", "pre-annotation-0123456789"
AUTH = (USER, PASSWORD)
PHANTOM = Phantom("segment", spatial_dims=2, size=32)


class Backend:
    """A served store, and the tasks that hilum would publish from it."""

    def __init__(self, url, store, ingest_id, drafter):
        self.url, self.store, self.ingest_id, self.drafter = url, store, ingest_id, drafter
        self.volumes = volumes_of(store, ingest_id)
        self.volume = self.volumes[min(self.volumes)]

    def task(self, item=0, *, ingest_id=None):
        patch = Patch(self.volume.volume_id, (item, 0, 0), PHANTOM.patch_shape_zyx)
        pages = hang(self.volume, patch)
        asked = Asked("segment", PHANTOM.class_names, pages)
        place = ImagePlace(ingest_id or self.ingest_id, patch, View(pages).word, 0)
        address = Signer([KEY.encode()]).url("http://bridge.test", place, time.time() + 60)
        return {"id": 1, "data": {"hilum": asked.to_json(), "pages": [address]}}, asked

    def click(self, asked, voxel_zyx, label="lesion", **more):
        height, width = asked.pages.shape_yx
        page, rows, columns = asked.pages.pixels(voxel_zyx)
        x, y = (columns.start + columns.stop) / 2 / width * 100, (rows.start + rows.stop) / 2 / height * 100
        value = {"x": x, "y": y, "width": 0.2, "labels": [label], "keypointlabels": [label]}
        sizes = {"original_width": width, "original_height": height, "image_rotation": 0, "item_index": page}
        return {"type": "keypointlabels", "is_positive": True, "value": value, **sizes, **more}

    def truth(self, asked):
        return open_volume(self.store, self.volume).read_label_map_ZYX(asked.pages.patch)

    def post(self, path, body, *, auth=AUTH):
        return CLIENT.post(self.url + path, json=body, auth=auth)

    def predict(self, tasks, context=None):
        params = {"login": None, "password": None, "context": context}
        answer = self.post("/predict", {"tasks": tasks, "project": "4.1795394695", "params": params})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]


@pytest.fixture
def backend(tmp_path):
    store, ingest_id = phantom_store(str(tmp_path), PHANTOM)
    drafter = Drafter(store, open_ledger(store), "liver")
    with serving(make_app(drafter, USER, (PASSWORD.encode(),))) as url:
        yield Backend(url, store, ingest_id, drafter)


@pytest.fixture
def champion(backend):
    checkpoint_id = untrained_checkpoint(backend.store, PHANTOM)
    open_ledger(backend.store).point("liver", "champion", checkpoint_id, expected=None)
    return checkpoint_id


def voxels_of(prediction, asked):
    """What an annotator who submits a prediction as it is would answer."""
    annotation = {"id": 1, "result": prediction["result"], "was_cancelled": False, "lead_time": 1.0, "completed_by": 1}
    annotation |= {"updated_at": "2026-03-01T12:00:00Z", "created_at": "2026-03-01T12:00:00Z"}
    return read_answer(annotation, asked).label_map_zyx


def test_health_needs_no_password_and_everything_else_does(backend):
    assert CLIENT.get(f"{backend.url}/health").status_code == 200
    for auth in (None, (USER, "wrong-0123456789"), ("other", PASSWORD), (USER, ""), ("é", "é")):
        assert backend.post("/setup", {}, auth=auth).status_code == 401
        assert backend.post("/predict", {"tasks": []}, auth=auth).status_code == 401
        assert CLIENT.get(f"{backend.url}/versions", auth=auth).status_code == 401
    for header in ("Basic", "Basic %", "Basic /w==", f"Bearer {PASSWORD}"):
        assert CLIENT.post(f"{backend.url}/setup", headers={"Authorization": header}).status_code == 401


def test_events_that_label_studio_sends_by_itself_are_answered_and_not_read(backend):
    assert CLIENT.post(f"{backend.url}/webhook", content=b"{").status_code == 200


def test_versions_are_checkpoints_and_a_new_champion_drafts_from_the_next_request_on(backend, champion):
    assert backend.post("/setup", {"project": "1.2"}).json() == {"model_version": champion}
    other = untrained_checkpoint(backend.store, PHANTOM, seed=1)
    open_ledger(backend.store).point("liver", "champion", other, expected=champion)
    assert CLIENT.get(f"{backend.url}/versions", auth=AUTH).json() == {"versions": [other]}
    assert backend.predict([backend.task()[0]])[0]["model_version"] == other


def test_a_batch_is_drafted_as_publish_drafts_it_in_the_order_of_its_tasks(backend, champion):
    tasks = [backend.task(item) for item in (5, 0, 3, 8, 1, 2, 4, 7, 9, 6)]
    results = backend.predict([task for task, _ in tasks])
    assert len(results) == len(tasks)
    for (_, asked), prediction in zip(tasks, results, strict=True):
        check_prediction(prediction, asked)
        assert prediction["model_version"] == champion
        assert 0.5 <= prediction["score"] <= 1
        expected = draft_of(asked.pages.patch, champion, backend.ingest_id, store=backend.store)
        if expected.any():
            assert (voxels_of(prediction, asked) == expected).all()
        else:
            assert prediction["result"] == []


def test_a_task_that_is_not_ours_gets_an_empty_draft_in_its_place(backend, champion):
    ours, _ = backend.task()
    elsewhere, _ = backend.task(ingest_id="0" * 12)
    foreign = [{}, {"data": None}, {"data": {"image": "http://169.254.169.254/"}}, {"data": {"hilum": 3}}, elsewhere, 7]
    results = backend.predict([*foreign, ours])
    assert [one["result"] for one in results[:-1]] == [[]] * len(foreign)
    assert results[-1] == backend.predict([ours])[0]


def test_without_a_champion_nothing_is_drafted_and_that_is_said(backend):
    assert backend.post("/predict", {"tasks": [backend.task()[0]]}).status_code == 503
    assert backend.post("/setup", {}).json() == {"model_version": INTENSITY}


def test_a_click_is_answered_in_a_second_with_an_outline_around_it(backend, champion):
    task, asked = backend.task()
    inside = tuple(int(v) for v in np.argwhere(backend.truth(asked) == 1).mean(axis=0).round())
    started = time.perf_counter()
    (prediction,) = backend.predict([task], {"result": [backend.click(asked, inside)]})
    assert time.perf_counter() - started < 1
    check_prediction(prediction, asked)
    assert voxels_of(prediction, asked)[inside] == 1


def test_without_a_model_a_click_outlines_the_lesion_by_its_grey_levels(backend):
    task, asked = backend.task()
    truth = backend.truth(asked)
    inside = tuple(int(v) for v in np.argwhere(truth == 1).mean(axis=0).round())
    (prediction,) = backend.predict([task], {"result": [backend.click(asked, inside)]})
    assert prediction["model_version"] == INTENSITY
    found = voxels_of(prediction, asked) == 1
    assert 2 * (found & (truth == 1)).sum() / (found.sum() + (truth == 1).sum()) > 0.9


def test_a_box_finds_what_is_in_it(backend):
    task, asked = backend.task()
    truth = backend.truth(asked)
    _, y, x = np.nonzero(truth)
    _, height, width = truth.shape
    top, bottom, left, right = (
        max(y.min() - 3, 0),
        min(y.max() + 4, height),
        max(x.min() - 3, 0),
        min(x.max() + 4, width),
    )
    value = {"x": left / width * 100, "y": top / height * 100, "width": (right - left) / width * 100}
    value |= {"height": (bottom - top) / height * 100, "rotation": 0, "rectanglelabels": ["lesion"]}
    box = {
        **backend.click(asked, (0, 0, 0)),
        "type": "rectanglelabels",
        "value": {k: float(v) if k != "rectanglelabels" else v for k, v in value.items()},
    }
    (prediction,) = backend.predict([task], {"result": [box]})
    found = voxels_of(prediction, asked) == 1
    assert 2 * (found & (truth == 1)).sum() / (found.sum() + (truth == 1).sum()) > 0.9


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"tasks": []},
        {"tasks": {}},
        {"tasks": [{}], "params": {"context": {"result": []}}},
        {"tasks": [{}, {}], "params": {"context": {"result": [{}]}}},
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_refused(backend, champion, body):
    answer = backend.post("/predict", body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error"}


def test_a_checkpoint_that_is_damaged_is_said_without_a_path(backend, champion, tmp_path):
    (tmp_path / "checkpoints" / champion / "model.safetensors").write_bytes(b"x")
    answer = backend.post("/predict", {"tasks": [backend.task()[0]]})
    assert answer.status_code == 503
    assert str(tmp_path) not in answer.text


def test_a_click_of_the_background_alone_outlines_nothing(backend):
    task, asked = backend.task()
    (prediction,) = backend.predict([task], {"result": [backend.click(asked, (0, 1, 1), "background")]})
    assert prediction["result"] == []
