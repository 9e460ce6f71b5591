"""Callers that are slow, many, wrong or malicious (RELIABILITY V1, V4, A2-A5): the others do not notice."""

import asyncio
import io
import json
import resource
import socket
import time
import zipfile
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from tests.services.test_inference import CLASSIFY, Served, as_npy, as_png, frame, get, post

import hilum_services.bodies
from hilum.nn.normalise import normalise
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.testing.phantoms import lesion_image

LIMITS = httpx.Limits(max_connections=200, keepalive_expiry=1)
"""No connection is used again that the server may be closing."""
MARKUP = "<img src=x onerror=alert(1)>"
BAD = [
    b"",
    b"no image",
    b"\x89PNG\r\n\x1a\nbroken",
    as_npy(np.zeros((1, 1, 16, 16, 3), np.uint8)),
    b"\x93NUMPY\x01\x00",
]


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path)
    made.checkpoint_id = made.champion("chest", CLASSIFY)
    with made.start() as url:
        made.url = url
        yield made


def frames(num):
    return [lesion_image(np.random.default_rng(n), CLASSIFY.patch_shape_zyx)[0] for n in range(num)]


async def asked_at_once(served, bodies):
    headers = {"Authorization": f"Bearer {served.key}"}
    url = f"{served.url}/v1/models/chest/classify"
    async with httpx.AsyncClient(timeout=60, trust_env=False, limits=LIMITS) as client:
        return await asyncio.gather(*(client.post(url, content=body, headers=headers) for body in bodies))


def test_everybody_gets_their_own_answer_whatever_comes_beside_it(served):
    images = frames(30)
    bodies = [body for place, image in enumerate(images) for body in (as_npy(image), BAD[place % len(BAD)])]
    answers = asyncio.run(asked_at_once(served, bodies))
    predictor = load_predictor(served.store, served.checkpoint_id)
    for image, good, bad in zip(images, answers[::2], answers[1::2], strict=True):
        alone = predictor.predict(normalise(image, *np.percentile(image, [0.5, 99.5]))[None])[0, 0]
        np.testing.assert_allclose(list(good.json()["probabilities"].values()), alone, atol=1e-5)
        assert bad.status_code == 422


def test_a_thousand_bad_requests_at_once_are_refused_one_by_one_and_memory_stays(served):
    asyncio.run(asked_at_once(served, BAD))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = asyncio.run(asked_at_once(served, [BAD[n % len(BAD)] for n in range(1000)]))
    assert {answer.status_code for answer in answers} <= {422, 503}
    assert post(served, "chest/classify", as_png(frame())).status_code == 200
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 200 << 10


def test_bodies_that_fill_the_memory_together_are_asked_to_come_again(tmp_path):
    body = as_npy(frames(1)[0])
    made = Served(tmp_path, largest_bodies=len(body) + len(body) // 2)
    made.champion("chest", CLASSIFY)
    with made.start() as url:
        made.url = url
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port)) as slow:
            head = f"POST /v1/models/chest/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {made.key}\r\n"
            slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
            refused = until(lambda: post(made, "chest/classify", body), 503)
            assert refused.headers["retry-after"] == "1"
            slow.sendall(body[-1:])
            assert b" 200 " in slow.recv(4096)
        assert post(made, "chest/classify", body).status_code == 200


def until(ask, status):
    """The first answer of that status: until the slow body is being read, others are answered."""
    for _ in range(50):
        time.sleep(0.1)
        answer = ask()
        if answer.status_code == status:
            return answer
    raise AssertionError(answer.status_code)


def test_a_body_that_trickles_is_given_up_and_nobody_waits_for_it(served, monkeypatch):
    monkeypatch.setattr(hilum_services.bodies, "SLOWEST_SECONDS", 1.0)
    place = urlsplit(served.url)
    with socket.create_connection((place.hostname, place.port)) as slow:
        head = f"POST /v1/models/chest/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\n"
        slow.sendall(f"{head}Content-Length: 1000\r\n\r\nx".encode())
        assert post(served, "chest/classify", as_png(frame())).status_code == 200
        slow.settimeout(30)
        assert b" 408 " in slow.recv(4096)


def test_who_leaves_is_not_answered_for(served):
    place = urlsplit(served.url)
    body = as_npy(frames(1)[0])
    for _ in range(5):
        with socket.create_connection((place.hostname, place.port)) as leaving:
            head = f"POST /v1/models/chest/classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\n"
            leaving.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert post(served, "chest/classify", body).status_code == 200


@pytest.mark.parametrize(
    "address", ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "http://[::1]:22"]
)
def test_an_address_instead_of_an_image_is_not_opened(served, address, monkeypatch):
    opened = []
    real = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda self, to: (opened.append(to), real(self, to))[1])
    answer = post(served, "chest/classify", address.encode())
    assert answer.status_code == 422
    assert all(to[1] == urlsplit(served.url).port for to in opened)


@pytest.mark.parametrize("named", ["/etc/passwd", "../../identity.key", "http://127.0.0.1:1/x.raw"])
def test_a_header_that_names_another_file_does_not_get_it(served, named):
    header = f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 16 16\nencoding: raw\ndata file: {named}\n\n"
    answer = post(served, "chest/classify", header.encode())
    assert answer.status_code == 422
    assert "root:" not in answer.text
    assert named not in answer.text


def test_an_archive_that_unpacks_without_end_is_refused(served):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("slice.dcm", bytes(300 << 20))
    answer = post(served, "chest/classify", stream.getvalue())
    assert answer.status_code == 422
    assert "overflow" in answer.json()["error"]


def test_markup_in_a_class_name_stays_text(served):
    tensors, card = checkpoints.load(served.store, served.checkpoint_id)
    checkpoints.save(served.store, "abcdefabcdef", tensors, {**card, "class_names": ["none", MARKUP]})
    served.ledger.point("chest", "champion", "abcdefabcdef", expected=served.checkpoint_id)
    answer = post(served, "chest/classify", as_png(frame()))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert MARKUP in answer.json()["probabilities"]


def test_weights_that_were_changed_are_not_used_and_the_reason_is_told_without_a_path(served, tmp_path):
    file = tmp_path / "store" / "checkpoints" / served.checkpoint_id / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    answer = post(served, "chest/classify", as_png(frame()))
    assert answer.status_code == 500
    assert "hilum doctor" in answer.json()["error"]
    assert str(tmp_path) not in answer.text


def test_a_pickle_is_no_image_and_is_never_opened(served, tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], dtype=object), allow_pickle=True)
    for body in (pickle.dumps(Bomb()), stream.getvalue()):
        assert post(served, "chest/classify", body).status_code == 422
    assert not (tmp_path / "exploded").exists()


def test_no_key_is_in_what_the_service_says_or_keeps(served, tmp_path, caplog, capfd):
    with caplog.at_level("DEBUG"):
        post(served, "chest/classify", as_png(frame()), later=True)
        post(served, "chest/classify", b"", key=served.key + "x")
        get(served, "/v1/models")
    said = caplog.text + "".join(capfd.readouterr())
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert served.key not in said
    assert served.key.encode() not in kept
    assert json.loads(served.keys.read_text())["keys"][0]["name"] == "tester"
