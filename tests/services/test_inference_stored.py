"""A volume of the store is named instead of sent: answered as it lies there, to who may read it, and to nobody else."""

import io
import time
from dataclasses import replace

import numpy as np
import pytest
from tests.services.own_server import CLIENT, phantom_image, phantom_volume
from tests.services.test_inference import SEGMENT, Served, get, nifti_bytes, post

from hilum.core.recipes import IngestRecipe, PrepareRecipe
from hilum.nn.normalise import normalise
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.store.manifest import Run
from hilum.store.tables import QUARANTINE, write_rows
from hilum.store.volumes import write_volume, write_volume_table
from hilum.testing.untrained import untrained_checkpoint

SHAPE = (16, 16, 16)
VOLUME = replace(phantom_volume(), grid=replace(phantom_volume().grid, shape_zyx=SHAPE), item_shape_zyx=SHAPE)
VERSION = "abcdefabcdef"


def ingested(store, volume, source="0"):
    """An ingest that resampled its images, and holds this one."""
    prepare = PrepareRecipe(spacing_mm_zyx=(4.0, 2.0, 2.0))
    recipe = IngestRecipe(patch_shape_zyx=(8, 8, 8), class_names=SEGMENT.class_names, prepare=prepare)
    run = Run(store, "ingest", 1, recipe, {"source": source})
    write_volume(store, volume, phantom_image(volume), None, patch_shape_zyx=(8, 8, 8))
    write_volume_table(run.path("volumes.parquet"), [volume])
    write_rows(run.path("quarantine.parquet"), QUARANTINE, [])
    run.commit(files=["volumes.parquet", "quarantine.parquet"], num_volumes=1, class_names=list(SEGMENT.class_names))
    return run.run_id


def made(tmp_path, **limits):
    """A service whose model was trained on images that were resampled."""
    served = Served(tmp_path, **limits)
    served.ingest = ingested(served.store, VOLUME)
    weights, card = checkpoints.load(served.store, untrained_checkpoint(served.store, SEGMENT))
    checkpoints.save(served.store, VERSION, weights, {**card, "inputs": {"ingest": served.ingest}})
    served.ledger.point("liver", "champion", VERSION, expected=None)
    return served


@pytest.fixture
def served(tmp_path):
    found = made(tmp_path)
    with found.start() as url:
        found.url = url
        yield found


def ask(served, content, *, verb="segment", key=None, **params):
    headers = {"Authorization": f"Bearer {key or served.key}"}
    return CLIENT.post(f"{served.url}/v1/models/liver/{verb}", json=content, params=params, headers=headers)


def named(served, **changes):
    return {"volume": VOLUME.volume_id, "ingest": served.ingest, **changes}


def label_map_in(response):
    assert response.status_code == 200, response.text
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def check_is_what_the_network_says(label_map, served):
    """Of the stored voxels as they are, between the volume's own low and high."""
    predictor = load_predictor(served.store, VERSION)
    probs = predictor.predict(normalise(phantom_image(VOLUME), VOLUME.low, VOLUME.high)[None])[0, 0]
    sure = np.abs(probs[0] - probs[1]) > 1e-3
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(label_map[sure], probs.argmax(axis=0)[sure])


def test_a_stored_volume_is_answered_on_its_grid_and_not_prepared_again(served):
    label_map = label_map_in(ask(served, named(served), format="npy"))
    check_is_what_the_network_says(label_map, served)
    sent = label_map_in(post(served, "liver/segment", nifti_bytes(phantom_image(VOLUME), VOLUME.grid), format="npy"))
    assert (sent != label_map).any()  # for it was prepared


def test_a_stored_volume_that_is_answered_later_is_answered_alike(served):
    job = ask(served, named(served), format="npy", later=True).json()
    until = time.monotonic() + 60
    while get(served, job["url"]).json()["status"] != "done":
        assert time.monotonic() < until
        time.sleep(0.05)
    check_is_what_the_network_says(label_map_in(get(served, job["url"] + "/result")), served)


def test_a_stored_volume_is_scored(served):
    assert "entropy" in ask(served, named(served), verb="score").json()["scores"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        "a1b2c3d4e5f6",
        {"volume": VOLUME.volume_id},
        {"volume": VOLUME.volume_id, "ingest": "../../../etc"},
        {"volume": "../../identity", "ingest": "0" * 12},
        {"volume": "a1b2c3d4e5f6\n", "ingest": "0" * 12},
        {"volume": "A1B2C3D4E5F6", "ingest": "0" * 12},
        {"volume": ["a1b2c3d4e5f6"], "ingest": "0" * 12},
        {"volume": "a1b2c3d4e5f6", "ingest": "0" * 12, "store": "/etc"},
    ],
)
def test_what_is_no_id_makes_no_path(served, content):
    answer = ask(served, content)
    assert (answer.status_code, "twelve hex digits" in answer.json()["error"]) == (422, True)


def test_what_is_not_there_is_not_found_and_no_path_is_told(served):
    other = replace(VOLUME, volume_id="0123456789ab", low=0.0)
    foreign = ingested(served.store, other, source="1")
    assert label_map_in(ask(served, {"volume": other.volume_id, "ingest": foreign}, format="npy")).any()
    for content in (
        named(served, ingest="0" * 12),
        named(served, volume="0" * 12),
        named(served, volume=other.volume_id),  # of another ingest
        named(served, ingest=foreign),
    ):
        answer = ask(served, content)
        assert answer.status_code == 404
        assert answer.json()["error"] == f"Ingest {content['ingest']} has no volume {content['volume']}."


def test_who_may_not_read_an_ingest_may_not_name_its_volumes(served):
    body = nifti_bytes(phantom_image(VOLUME), VOLUME.grid)
    other = ingested(served.store, VOLUME, source="1")
    for narrow in (served.new_key("usual"), served.new_key("narrow", may=("predict",), reads=(other,))):
        for ingest_id in (served.ingest, "0" * 12):  # whether there is such an ingest is not told
            answer = ask(served, named(served, ingest=ingest_id), key=narrow)
            assert (answer.status_code, "of that ingest" in answer.json()["error"]) == (403, True)
            assert ask(served, named(served, ingest=ingest_id), key=narrow, later=True).status_code == 403
        assert post(served, "liver/segment", body, key=narrow).status_code == 200
    assert ask(served, named(served, ingest=other), key=narrow).status_code == 200


def test_a_model_that_the_key_may_not_ask_says_nothing_of_what_may_be_read(served):
    narrow = served.new_key("narrow", models=("chest",), reads=("*",))
    assert ask(served, named(served), key=narrow).status_code == 403


def test_a_segmentation_of_a_stored_volume_has_no_dicom_to_refer_to(served):
    answer = ask(served, named(served), format="dicom-seg")
    assert (answer.status_code, "send DICOM" in answer.json()["error"]) == (422, True)


@pytest.mark.parametrize(
    ("limits", "said"), [({"most_voxels": 4095}, "4,096 voxels"), ({"largest_body": 8191}, "8,192 bytes")]
)
def test_a_stored_volume_is_no_larger_than_bodies_may_be(tmp_path, limits, said):
    found = made(tmp_path, **limits)
    with found.start() as url:
        found.url = url
        answer = ask(found, named(found))
        assert (answer.status_code, said in answer.json()["error"]) == (422, True)


def test_json_that_is_no_name_is_not_read_to_its_end(served):
    answer = ask(served, {"volume": "a" * 5000, "ingest": "0" * 12})
    assert answer.status_code == 413
