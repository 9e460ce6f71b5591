"""The inference service at a real server: what comes back, of what, by whom, and what is refused."""

import gzip
import io
import json
import logging
import time
import zipfile

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from tests.services.own_server import CLIENT, serving

from hilum.adapters.api_keys import ApiKey, KeyFile, add_key, new_key, remove_keys
from hilum.adapters.arrays import read_npz
from hilum.adapters.bodies import read_body
from hilum.adapters.meters import PrometheusMeter
from hilum.adapters.nifti_patches import affine_of, nifti_bytes
from hilum.adapters.reading import read_payload
from hilum.core.errors import RequestError
from hilum.core.geometry import Grid
from hilum.loop.answering.routes import compare_in_shadow, send_to_canary, settle
from hilum.loop.answering.versions import reference
from hilum.steps.predictor import load_predictor
from hilum.store.ledger import open_ledger
from hilum.testing.phantoms import Phantom, lesion_image, phantom_store
from hilum.testing.untrained import untrained_checkpoint
from hilum_services.inference.access import Door
from hilum_services.inference.app import make_app
from hilum_services.inference.asked import Asked
from hilum_services.inference.limits import Limits
from hilum_services.inference.service import Service

SEGMENT, CLASSIFY = Phantom("segment", 3, size=16), Phantom("classify", 2, size=16, seed=1)
GRID = Grid((16, 20, 24), (2.0, 0.7, 0.9), (11.0, -4.0, 3.0), ((0.0, 0.6, 0.8), (0.0, -0.8, 0.6), (1.0, 0.0, 0.0)))


class Served:
    """A service on loopback, with one key that may do anything."""

    def __init__(self, tmp_path, **limits):
        self.store, _ = phantom_store(str(tmp_path / "store"), SEGMENT)
        self.ledger = open_ledger(self.store)
        self.keys = tmp_path / "keys.json"
        self.key = self.new_key("tester", reads=("*",))
        self.limits = Limits(**limits)

    def new_key(self, name, **more):
        key, digest = new_key()
        add_key(self.keys, ApiKey(name=name, sha256=digest, **more))
        return key

    def champion(self, model, phantom, **how):
        checkpoint_id = untrained_checkpoint(self.store, phantom, **how)
        self.ledger.point(model, "champion", checkpoint_id, expected=self.ledger.alias(model, "champion"))
        return checkpoint_id

    def start(self):
        service = Service(self.store, self.ledger, self.limits, PrometheusMeter(), fresh_for=0)
        return serving(make_app(service, Door(KeyFile(self.keys))))


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path)
    made.versions = {"liver": made.champion("liver", SEGMENT), "chest": made.champion("chest", CLASSIFY, seed=1)}
    with made.start() as url:
        made.url = url
        yield made


def post(served, path, body, *, key=None, **params):
    headers = {"Authorization": f"Bearer {served.key if key is None else key}"}
    return CLIENT.post(f"{served.url}/v1/models/{path}", content=body, params=params, headers=headers)


def get(served, path, key=None):
    return CLIENT.get(f"{served.url}{path}", headers={"Authorization": f"Bearer {key or served.key}"})


def scan(grid=GRID):
    image_CZYX, _ = lesion_image(np.random.default_rng(5), grid.shape_zyx)
    return image_CZYX


def frame():
    return lesion_image(np.random.default_rng(6), CLASSIFY.patch_shape_zyx)[0]


def as_npy(image_CZYX):
    stream = io.BytesIO()
    np.save(stream, image_CZYX[0])
    return stream.getvalue()


def as_png(image_CZYX):
    stream = io.BytesIO()
    Image.fromarray((image_CZYX[0, 0] / 8).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_a_nifti_comes_back_on_its_own_grid_with_the_version_that_made_it(served):
    answer = post(served, "liver/segment", nifti_bytes(scan(), GRID))
    assert answer.status_code == 200, answer.text
    assert answer.headers["hilum-version"] == served.versions["liver"]
    found = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    np.testing.assert_allclose(found.affine, affine_of(GRID), atol=1e-5)
    assert found.shape == GRID.shape_zyx[::-1]
    assert json.loads(answer.headers["hilum-classes"]) == ["background", "lesion"]


def test_what_comes_back_is_what_the_network_says(served):
    answer = post(served, "liver/segment", nifti_bytes(scan()[:, :, :16, :16], Grid((16, 16, 16))), format="npy")
    image = scan()[:, :, :16, :16].astype(np.float32)
    low, high = np.percentile(image, [0.5, 99.5], method="linear")
    predictor = load_predictor(served.store, served.versions["liver"])
    probs = predictor.predict(np.clip((image - low) / (high - low), 0, 1)[None])[0, 0]
    label_map = np.load(io.BytesIO(answer.content), allow_pickle=False)
    sure = np.abs(probs[0] - probs[1]) > 1e-3
    np.testing.assert_array_equal(label_map[sure], probs.argmax(axis=0)[sure])


def test_json_has_polygons_and_biomarkers(served):
    answer = post(served, "liver/segment", nifti_bytes(scan(), GRID), format="json", biomarkers=True).json()
    label_map = np.load(io.BytesIO(post(served, "liver/segment", nifti_bytes(scan(), GRID), format="npy").content))
    (lesion,) = answer["classes"]
    assert lesion["num_voxels"] == (label_map == 1).sum()
    assert {polygon["z"] for polygon in lesion["polygons"]} == set(np.flatnonzero((label_map == 1).any(axis=(1, 2))))
    assert (lesion["biomarkers"] is None) == (lesion["num_voxels"] == 0)
    assert answer["version"] == served.versions["liver"]


def test_a_picture_shows_the_image(served):
    answer = post(served, "liver/segment", nifti_bytes(scan(), GRID), format="png")
    assert Image.open(io.BytesIO(answer.content)).size == (24, 20)


@pytest.mark.parametrize("as_body", [as_png, as_npy])
def test_a_picture_is_classified(served, as_body):
    answer = post(served, "chest/classify", as_body(frame())).json()
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["class"] in answer["probabilities"]
    assert answer["patches"] == []
    scores = post(served, "chest/score", as_body(frame()), mirrors=2).json()
    assert set(scores["scores"]) == {"entropy", "least_confidence", "margin"}
    assert scores["disagreement"] >= 0


def test_models_their_cards_and_versions_are_told(served):
    rows = get(served, "/v1/models").json()["models"]
    assert {row["model"]: row["version"] for row in rows} == served.versions
    card = get(served, "/v1/models/liver").json()
    assert (card["question"], card["spatial_dims"], card["depths"]) == ("segment", 3, [])
    assert get(served, "/v1/models/liver/versions").json()["versions"] == [served.versions["liver"]]
    assert get(served, f"/v1/models/liver:{served.versions['liver']}").json() == card


def test_a_promoted_model_answers_without_a_restart_and_so_does_the_one_before(served):
    before = served.versions["liver"]
    after = served.champion("liver", SEGMENT, seed=7)
    assert after != before
    body = nifti_bytes(scan(), GRID)
    assert post(served, "liver/segment", body).headers["hilum-version"] == after
    assert post(served, f"liver:{after}/segment", body).headers["hilum-version"] == after
    served.ledger.point("liver", "champion", before, expected=after)
    assert post(served, "liver/segment", body).headers["hilum-version"] == before


def test_where_a_new_champion_is_damaged_the_one_before_goes_on(served, tmp_path):
    before, body = served.versions["liver"], nifti_bytes(scan(), GRID)
    assert post(served, "liver/segment", body).headers["hilum-version"] == before
    after = untrained_checkpoint(served.store, SEGMENT, seed=8)
    file = tmp_path / "store" / "checkpoints" / after / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    served.ledger.point("liver", "champion", after, expected=before)
    for _ in range(3):
        answer = post(served, "liver/segment", body)
        assert (answer.status_code, answer.headers["hilum-version"]) == (200, before)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("lung/segment", 404, "no model 'lung'"),
        ("liver@canary/segment", 404, "canary"),
        ("liver:aaaaaaaaaaaa/segment", 404, "has no checkpoint"),
        ("li%20ver/segment", 422, "name@alias"),
        ("..%2F..%2Fetc/segment", 404, "nothing at this address"),
        ("liver/classify", 422, "/segment"),
    ],
)
def test_what_cannot_be_asked_is_said(served, path, status, said):
    answer = post(served, path, nifti_bytes(scan(), GRID))
    assert answer.status_code == status
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"hello, this is no image at all", "Readable"),
        (b"\x89PNG\r\n\x1a\nbut then nothing", "PNG"),
        (gzip.compress(b"not a NIfTI" * 100), "NIfTI"),
        (as_npy(np.full((1, 1, 16, 16), np.nan, np.float32)), "finite"),
        (as_npy(np.zeros((1, 1, 16, 16, 3), np.uint8)), "channel"),
    ],
)
def test_what_is_no_image_of_its_kind_is_refused_in_a_sentence(served, body, said):
    answer = post(served, "chest/classify", body)
    assert answer.status_code == 422
    assert said in answer.json()["error"]
    assert "Traceback" not in answer.text


def test_a_zip_of_something_else_is_refused(served):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", as_png(frame()))
        archive.writestr("b.png", as_png(frame()))
    answer = post(served, "chest/classify", stream.getvalue())
    assert (answer.status_code, "DICOM series" in answer.json()["error"]) == (422, True)


def test_unknown_wishes_are_refused(served):
    assert post(served, "liver/segment", nifti_bytes(scan(), GRID), format="exe").status_code == 400
    deeper = post(served, "liver/segment", nifti_bytes(scan(), GRID), depth=3)
    assert (deeper.status_code, "pruned" in deeper.json()["error"]) == (422, True)


def test_who_has_no_key_is_not_told_whether_a_model_exists(served):
    for model in ("liver", "nothing"):
        assert post(served, f"{model}/segment", b"", key="wrong").status_code == 401
    assert CLIENT.get(f"{served.url}/v1/models").status_code == 401
    assert CLIENT.get(f"{served.url}/v1/health").json() == {"status": "UP"}
    assert CLIENT.get(f"{served.url}/v1/ready").json() == {"status": "READY"}


def test_a_key_may_do_what_it_says_until_it_is_taken_away(served):
    narrow = served.new_key("reader", may=("read",), models=("che*",))
    assert post(served, "chest/classify", as_png(frame()), key=narrow).status_code == 403
    assert [row["model"] for row in get(served, "/v1/models", narrow).json()["models"]] == ["chest"]
    assert get(served, "/v1/models/liver", narrow).status_code == 403
    assert remove_keys(served.keys, "reader") == 1
    assert get(served, "/v1/models", narrow).status_code == 401


def test_nobody_is_let_in_while_the_keys_cannot_be_read(served):
    content = served.keys.read_bytes()
    served.keys.write_text("not json at all")
    assert get(served, "/v1/models").status_code == 401
    served.keys.write_bytes(content)
    assert get(served, "/v1/models").status_code == 200


def test_who_asks_too_often_is_told_when_to_come_back(served):
    slow = served.new_key("slow", per_minute=2)
    answers = [post(served, "chest/classify", as_png(frame()), key=slow) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30


def test_a_body_that_is_too_long_is_not_read(tmp_path):
    made = Served(tmp_path, largest_body=1000)
    made.champion("chest", CLASSIFY)
    with made.start() as url:
        made.url = url
        answer = post(made, "chest/classify", b"x" * 1001)
        assert (answer.status_code, "1,000 bytes" in answer.json()["error"]) == (413, True)


def test_an_image_of_too_many_voxels_is_refused(tmp_path):
    made = Served(tmp_path, most_voxels=200)
    made.champion("chest", CLASSIFY)
    with made.start() as url:
        made.url = url
        answer = post(made, "chest/classify", as_npy(frame()))
        assert (answer.status_code, "at most 200" in answer.json()["error"]) == (422, True)


def test_the_audit_has_a_line_for_every_request_and_nothing_of_an_image(served, caplog):
    with caplog.at_level(logging.INFO, logger="hilum.audit"):
        answer = post(served, "chest/classify", as_png(frame()))
        post(served, "chest/classify", b"", key="a-wrong-key")
    first, second = (json.loads(record.message) for record in caplog.records if record.name == "hilum.audit")
    assert first["request"] == answer.headers["hilum-request"]
    assert (first["caller"], first["model"], first["status"]) == ("tester", "chest", 200)
    assert first["version"] == served.versions["chest"]
    assert second["status"] == 401
    assert served.key not in caplog.text
    assert "a-wrong-key" not in caplog.text


def test_what_is_counted_is_told_to_who_may_see_it(served):
    watcher = served.new_key("prometheus", may=("metrics",))
    post(served, "chest/classify", as_png(frame()))
    post(served, "liver/segment", nifti_bytes(scan(), GRID))
    post(served, "nobodys-business/classify", as_png(frame()))
    assert get(served, "/metrics").status_code == 403
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(get(served, "/metrics", watcher).text)
        for sample in family.samples
    }

    def requests(verb, model, status):
        return samples["hilum_inference_requests_total", ("model", model), ("status", status), ("verb", verb)]

    assert requests("classify", "chest", "200") == 1
    assert requests("segment", "liver", "200") == 1
    assert requests("classify", "unknown", "404") == 1
    for stage in ("read", "answer", "reply"):
        assert samples["hilum_inference_seconds_count", ("stage", stage), ("verb", "segment")] == 1
    assert samples[("hilum_inference_batch_windows_sum",)] >= 2


def test_a_canary_answers_its_share_and_only_where_no_version_is_named(served):
    before, after = served.versions["chest"], untrained_checkpoint(served.store, CLASSIFY, seed=5)
    send_to_canary(served.store, served.ledger, "chest", after, 0.5)
    body = as_png(frame())
    said = [post(served, "chest/classify", body).json()["version"] for _ in range(40)]
    assert 8 <= said.count(after) <= 32  # 2 in 100,000 of such draws lie outside
    assert set(said) == {before, after}
    for named, version in {"chest@champion": before, "chest@canary": after, f"chest:{before}": before}.items():
        assert {post(served, f"{named}/classify", body).json()["version"] for _ in range(5)} == {version}
    assert settle(served.store, served.ledger, "chest") == ["canary"]
    assert {post(served, "chest/classify", body).json()["version"] for _ in range(10)} == {before}


def test_a_shadow_is_compared_and_returned_to_nobody(served):
    watcher = served.new_key("watcher", may=("metrics",))
    before, after = served.versions["liver"], untrained_checkpoint(served.store, SEGMENT, seed=6)
    compare_in_shadow(served.ledger, "liver", after)
    for _ in range(3):
        assert post(served, "liver/segment", nifti_bytes(scan(), GRID)).headers["hilum-version"] == before
    wanted = f'hilum_inference_shadow_agreement_count{{model="liver",version="{after}"}}'
    until = time.monotonic() + 30
    while wanted not in get(served, "/metrics", watcher).text:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_routes_that_cannot_be_are_refused(served):
    with pytest.raises(RequestError, match="above 0"):
        send_to_canary(served.store, served.ledger, "chest", served.versions["chest"], 1.5)
    with pytest.raises(RequestError, match="no champion"):
        compare_in_shadow(served.ledger, "lung", served.versions["chest"])


def test_what_the_model_is_unsure_of_is_kept_with_consent_alone_and_without_identity(tmp_path):
    made = Served(tmp_path)
    made.champion("liver", SEGMENT)
    made.champion("chest", CLASSIFY, seed=1)
    service = Service(made.store, made.ledger, made.limits, PrometheusMeter(), keep_from=0.0)
    kept = tmp_path / "store" / "unsure"
    with serving(make_app(service, Door(KeyFile(made.keys)))) as url:
        made.url = url
        post(made, "liver/segment", nifti_bytes(scan(), GRID))
        assert not kept.exists()
        consenting = {"Authorization": f"Bearer {made.key}", "Hilum-Consent": "given"}
        for _ in range(2):
            for path, body in (("liver/segment", nifti_bytes(scan(), GRID)), ("chest/classify", as_png(frame()))):
                CLIENT.post(f"{url}/v1/models/{path}", content=body, headers=consenting)
    scans, pictures = sorted(kept.glob("*.nii.gz")), sorted(kept.glob("*.npz"))
    assert (len(scans), len(pictures)) == (1, 1)
    (back,) = read_payload(".nii.gz", [scans[0].read_bytes()])
    np.testing.assert_array_equal(back.image_czyx, scan())
    assert back.grid.apart_mm(GRID) < 1e-3
    (picture,) = read_npz(pictures[0].read_bytes())
    np.testing.assert_array_equal(picture.image_czyx, (frame() / 8).astype(np.uint8))


def test_what_the_model_is_sure_of_is_not_kept(tmp_path):
    made = Served(tmp_path)
    made.champion("liver", SEGMENT)
    service = Service(made.store, made.ledger, made.limits, PrometheusMeter(), keep_from=1.0)
    with serving(make_app(service, Door(KeyFile(made.keys)))) as url:
        headers = {"Authorization": f"Bearer {made.key}", "Hilum-Consent": "given"}
        answer = CLIENT.post(f"{url}/v1/models/liver/segment", content=nifti_bytes(scan(), GRID), headers=headers)
        assert answer.status_code == 200
    assert not (tmp_path / "store" / "unsure").exists()


def test_a_small_image_is_answered_the_same_before_and_after_all_is_at_hand(served):
    answers = [post(served, "chest/classify", as_npy(frame())).json() for _ in range(3)]
    assert answers[0]["version"] == served.versions["chest"]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("wish", [{"depth": 1}, {"quality": "fast"}, {"beside": ["@canary"]}])
def test_a_version_is_asked_at_once_when_nothing_has_to_be_built_or_looked_up(served, wish):
    service = Service(served.store, served.ledger, served.limits, PrometheusMeter())
    try:
        version, asked = service.version(reference("liver")), Asked("liver", "segment")
        assert not service.is_asked_at_once(version, asked)
        service.question(read_body(as_npy(scan()), max_bytes=1 << 20), version, asked)
        assert service.is_asked_at_once(version, asked)
        assert not service.is_asked_at_once(version, Asked("liver", "segment", **wish))
    finally:
        service.close()


def test_a_small_body_that_is_no_image_is_refused_also_when_all_is_at_hand(served):
    assert post(served, "chest/classify", as_npy(frame())).status_code == 200
    refused = post(served, "chest/classify", as_npy(frame())[:-100])
    assert refused.status_code == 422
    assert "error" in refused.json()
