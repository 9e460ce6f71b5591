"""hilum.Client at a real service: answers, jobs, errors in the service's words, and how long it insists."""

import contextlib
import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest
from tests.services.test_inference import CLASSIFY, GRID, SEGMENT, Served, as_png, frame, nifti_bytes, scan

import hilum
from hilum.adapters.nifti_patches import affine_of
from hilum.client import Client, Stored
from hilum.testing.dicom_phantoms import as_bytes, ct_series

GUIDE = Path(__file__).resolve().parents[2] / "platform/docs/guide/inference.md"
BODY = nifti_bytes(scan(), GRID)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@contextlib.contextmanager
def at(tmp_path, **limits):
    made = Served(tmp_path, **limits)
    made.versions = {"liver": made.champion("liver", SEGMENT), "chest": made.champion("chest", CLASSIFY, seed=1)}
    with made.start() as url:
        made.url, made.client = url, Client(url, made.key)
        yield made


@pytest.fixture
def served(tmp_path):
    with at(tmp_path) as made:
        yield made


def test_the_guides_code_does_what_it_says(served, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("scan.nii.gz").write_bytes(BODY)
    Path("frame.png").write_bytes(as_png(frame()))
    Path("series").mkdir()
    for number, one in enumerate(ct_series(scan()[0].astype(np.uint16))):
        Path("series", f"{number:03d}").write_bytes(as_bytes(one))
    names = {"key": served.key, "voxels_zyx": scan()[0]}
    code, of_arrays = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8000" in code
    exec(compile(code.replace("http://127.0.0.1:8000", served.url), "guide", "exec"), names)
    exec(compile(of_arrays, "guide", "exec"), names)
    assert names["label_map_zyx"].shape == GRID.shape_zyx
    said = capsys.readouterr().out
    assert f"liver {served.versions['liver']}" in said
    assert "no model 'lung'" in said
    found = nib.Nifti1Image.from_bytes(gzip.decompress(Path("answer.nii.gz").read_bytes()))
    np.testing.assert_allclose(found.affine, affine_of(GRID), atol=1e-5)
    assert Path("answer.dcm").read_bytes()[128:132] == b"DICM"


def test_a_large_image_is_followed_to_its_end_and_forgotten(tmp_path):
    with at(tmp_path, at_once_voxels=1000) as served:
        answer = served.client.segment("liver", BODY)
        assert (answer.version, answer.class_names) == (served.versions["liver"], ("background", "lesion"))
        assert 0 <= answer.uncertainty <= 1
        assert nib.Nifti1Image.from_bytes(gzip.decompress(answer.content)).shape == GRID.shape_zyx[::-1]
        assert not list((tmp_path / "store" / "jobs").glob("*"))
        with pytest.raises(hilum.RequestError, match="pruned"):
            served.client.segment("liver", BODY, depth=3)
        hasty = Client(served.url, served.key, seconds=-1)
        with pytest.raises(hilum.RequestError, match="not answered within"):
            hasty.segment("liver", BODY)


def test_what_is_refused_is_hilums_error_with_the_services_sentence(served):
    for error, said, ask in (
        (hilum.NotFoundError, "no model 'lung'", lambda: served.client.segment("lung", BODY)),
        (hilum.DataError, "Readable", lambda: served.client.segment("liver", b"no image at all")),
        (hilum.DataError, "send DICOM", lambda: served.client.segment("liver", BODY, format="dicom-seg")),
        (hilum.NotFoundError, "has no volume", lambda: served.client.score("liver", Stored("0" * 12, "0" * 12))),
        (hilum.RequestError, "key or token is missing", lambda: Client(served.url).models()),
        (hilum.NotFoundError, "cannot be read", lambda: served.client.segment("liver", "nowhere.nii.gz")),
        (hilum.RequestError, "outline", lambda: served.client.segment("liver", BODY, format="json")),
    ):
        with pytest.raises(error, match=said) as raised:
            ask()
        assert raised.type is error
    with pytest.raises(hilum.RequestError, match="https"):
        Client("file:///etc/passwd")


def test_a_service_that_is_not_there_is_said():
    with pytest.raises(hilum.HilumError, match="cannot be reached"):
        Client("http://127.0.0.1:1").models()


class Busy(BaseHTTPRequestHandler):
    """Says what it is told to say, one reply after the other, and remembers what it was asked."""

    replies: ClassVar[list] = []
    seen: ClassVar[list] = []

    def do_GET(self):
        self.seen.append((self.path, self.headers.get("Authorization")))
        status, headers, content = self.replies.pop(0)
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def busy(monkeypatch):
    monkeypatch.setattr(Busy, "replies", [])
    monkeypatch.setattr(Busy, "seen", [])
    server = HTTPServer(("127.0.0.1", 0), Busy)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


WAIT = (503, {"Retry-After": "0"}, {"error": "Too many images wait."})


def test_a_busy_service_is_asked_again_but_not_for_ever(busy):
    Busy.replies[:] = [WAIT, (429, {"Retry-After": "0"}, {}), (200, {}, {"models": []})]
    assert Client(busy).models() == []
    assert len(Busy.seen) == 3
    Busy.replies[:] = [WAIT] * 9
    with pytest.raises(hilum.RequestError, match="Too many images wait"):
        Client(busy, num_tries=4).models()
    assert len(Busy.seen) == 7


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "3600"}, {"Retry-After": "soon"}])
def test_a_service_that_does_not_say_when_is_not_asked_again(busy, headers):
    Busy.replies[:] = [(503, headers, {"error": "Too many images wait."})] * 3
    with pytest.raises(hilum.RequestError, match="Too many"):
        Client(busy).models()
    assert len(Busy.seen) == 1


def test_the_key_goes_to_nobody_else(busy):
    Busy.replies[:] = [(302, {"Location": f"{busy}/elsewhere"}, {}), (200, {}, {"models": []})]
    with pytest.raises(hilum.HilumError, match="302"):
        Client(busy, "secret").models()
    assert Busy.seen == [("/v1/models", "Bearer secret")]
