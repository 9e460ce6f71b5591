"""Servers break off, are busy, redirect, count wrongly and lie: what arrives is whole or it is an error."""

import json
import logging
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.adapters.dicom_phantoms import ct_series, payload_of

from hilum.adapters.dicomweb import fetched, is_dicomweb, parse_query
from hilum.adapters.dicomweb_cache import private_folder
from hilum.adapters.dicomweb_session import Access
from hilum.core.errors import NotFoundError, RequestError

SLICES = ct_series()
STUDY, SERIES = SLICES[0].StudyInstanceUID, SLICES[0].SeriesInstanceUID
BOUNDARY = b"a-boundary"
ACCESS = Access(token="a-token-nobody-knows")


class Archive(BaseHTTPRequestHandler):
    """One series, served as ``faults`` of the server says."""

    def do_GET(self):
        server, url = self.server, urlsplit(self.path)
        server.asked[url.path] += 1
        server.signed.append(self.headers.get("Authorization"))
        if server.redirect_to is not None and server.asked[url.path] == 1:
            self.send_response(302)
            self.send_header("Location", f"{server.redirect_to}{self.path}")
            self.end_headers()
        elif server.asked[url.path] <= server.busy.get(url.path.rsplit("/", 1)[-1], 0):
            self.answer(503, b"Patient Q-77341 is busy")
        elif url.path.endswith("/studies"):
            self.answer_page(url, [{"0020000D": {"vr": "UI", "Value": [STUDY]}}])
        elif url.path.endswith("/series"):
            series = {"0020000E": {"vr": "UI", "Value": [SERIES]}}
            if server.counted is not None:
                series["00201209"] = {"vr": "IS", "Value": [server.counted]}
            self.answer_page(url, [series])
        else:
            self.answer_series(cut_short=server.asked[url.path] <= server.breaks_off)

    def answer_page(self, url, rows):
        rows = rows[int(parse_qs(url.query).get("offset", ["0"])[0]) :] if self.server.knows_offset else rows
        self.answer(200, json.dumps(rows).encode(), "application/dicom+json")

    def answer_series(self, *, cut_short):
        parts = [
            b"\r\n--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n" + p for p in self.server.payloads
        ]
        body = b"".join(parts)[2:] + b"\r\n--" + BOUNDARY + b"--\r\n"
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}'
        self.answer(200, body, kind, num_sent=len(body) // 2 if cut_short else None)

    def answer(self, status, body, kind="text/plain", num_sent=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:num_sent])

    def log_message(self, *_):
        pass


@contextmanager
def archive(**faults):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    server.asked, server.signed = Counter(), []
    server.redirect_to, server.busy, server.counted, server.breaks_off = None, {}, len(SLICES), 0
    server.knows_offset, server.payloads = True, [payload_of(one) for one in SLICES]
    for name, value in faults.items():
        assert hasattr(server, name)
        setattr(server, name, value)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(server, tmp_path, access=ACCESS) -> dict[str, bytes]:
    """Every file that arrives; afterwards none is left."""
    where = f"dicomweb+http://127.0.0.1:{server.server_port}/web?PatientID=Q-77341"
    try:
        with fetched(where, access, cache=str(tmp_path), first_wait_s=0.001) as folder:
            return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*.dcm")}
    finally:
        assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Iterator[dict[str, bytes]]:
    with archive() as server:
        return fetch(server, tmp_path_factory.mktemp("whole"))


def test_a_sound_server_gives_every_instance_once(whole):
    assert sorted(whole.values()) == sorted(payload_of(one) for one in SLICES)


@pytest.mark.parametrize(
    "faults",
    [
        {"busy": {"studies": 2}},
        {"busy": {"series": 4}},
        {"busy": {SERIES: 3}},
        {"breaks_off": 3},
        {"knows_offset": False},
        {"counted": None},
        {"payloads": [payload_of(one) for one in reversed(SLICES)]},
        {"payloads": [payload_of(one) for one in [*SLICES, SLICES[0]]]},
    ],
    ids=lambda faults: next(iter(faults)),
)
def test_what_passes_is_tried_again_until_all_is_there(faults, whole, tmp_path):
    with archive(**faults) as server:
        assert fetch(server, tmp_path) == whole


@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        ({"busy": {"studies": 99}}, "answers HTTP 503, also when asked again"),
        ({"breaks_off": 99}, "breaks off every time"),
        ({"counted": 6}, "sent 5 of the 6 instances"),
        ({"payloads": [payload_of(one) for one in ct_series("another")]}, "of another series"),
        ({"payloads": [b"no DICOM at all"]}, "not DICOMweb"),
        ({"payloads": []}, "sent 0 of the 5 instances"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_stays_wrong_is_one_sentence_without_addresses_or_answers(faults, sentence, tmp_path):
    with archive(**faults) as server, pytest.raises(RequestError, match=sentence) as refusal:
        fetch(server, tmp_path)
    for secret in ("Q-77341", STUDY, SERIES, "a-token", "/web"):
        assert secret not in str(refusal.value)


def test_logs_hold_neither_the_question_nor_the_secret_however_much_is_logged(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    with archive(busy={"studies": 1}) as server:
        fetch(server, tmp_path)
    logging.getLogger("urllib3.connectionpool").warning("afterwards they speak again")
    for secret in ("Q-77341", STUDY, SERIES, "a-token"):
        assert secret not in caplog.text
    assert "speak again" in caplog.text


def test_trying_again_has_an_end(tmp_path):
    with archive(busy={"studies": 99}) as server, pytest.raises(RequestError):
        fetch(server, tmp_path)
    assert server.asked == {"/web/studies": 5}


def test_a_redirect_to_another_host_is_refused_and_the_other_host_never_asked(tmp_path):
    with archive() as other:
        for host in (f"http://127.0.0.1:{other.server_port}", f"http://localhost:{other.server_port}"):
            with (
                archive(redirect_to=host) as server,
                pytest.raises(RequestError, match="redirects to another host"),
            ):
                fetch(server, tmp_path)
        assert other.asked == {}


def test_a_redirect_on_the_same_host_is_followed_with_its_credentials(whole, tmp_path):
    with archive(redirect_to="") as server:
        assert fetch(server, tmp_path) == whole
        assert set(server.signed) == {"Bearer a-token-nobody-knows"}


def test_a_user_and_a_password_travel_as_the_standard_says_and_none_means_none(tmp_path):
    with archive() as server:
        fetch(server, tmp_path, Access(user="Jörg", password="pass:wörd"))
        assert set(server.signed) == {"Basic SsO2cmc6cGFzczp3w7ZyZA=="}
    with archive() as server:
        fetch(server, tmp_path, Access())
        assert set(server.signed) == {None}


def test_a_server_that_is_not_there_is_said(tmp_path):
    with archive() as server:
        pass
    with pytest.raises(RequestError, match="cannot be reached"):
        fetch(server, tmp_path)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("dicomweb+https://pacs.example/web", "not the whole archive"),
        ("dicomweb+https://pacs.example/web?PatientID=", "has no value"),
        ("dicomweb+https://pacs.example/web?PatientId=7", "Did you mean 'PatientID'"),
        ("dicomweb+https://ann:secret@pacs.example/web?PatientID=7", "Keep credentials out"),
        ("dicomweb+http://pacs.example/web?PatientID=7", "https only"),
        ("dicomweb+ftp://pacs.example/web?PatientID=7", "is dicomweb"),
        ("dicomweb+https:///web?PatientID=7", "is dicomweb"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_before_anything_is_sent(where, sentence):
    with pytest.raises(RequestError, match=sentence) as refusal:
        parse_query(where)
    assert "secret" not in str(refusal.value)


def test_keys_are_sorted_into_searches_that_every_server_must_know():
    query = parse_query(
        "dicomweb+https://pacs.example:8443/web/?PatientID=7&Modality=CT&Modality=SEG&StudyDate=20200101-"
    )
    assert (query.url, query.host) == ("https://pacs.example:8443/web", "pacs.example:8443")
    assert query.of_study == ({"PatientID": "7", "StudyDate": "20200101-"},)
    assert query.of_series == ({"Modality": "CT"}, {"Modality": "SEG"})
    assert "PatientID" not in repr(query)
    assert is_dicomweb("dicomweb+https://pacs.example/web")
    assert not is_dicomweb("https://pacs.example/web")


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(tmp_path):
    program = (
        "import os, sys; from hilum.adapters.dicomweb_cache import private_folder\n"
        "with private_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'scan').write_text('of a patient'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    (tmp_path / "hilum-dicomweb-elsewhere-1-x").mkdir()
    with private_folder(str(tmp_path)) as mine:
        assert not left.exists()
        with private_folder(str(tmp_path)):
            assert mine.exists()
        assert mine.stat().st_mode & 0o077 == 0
    assert [p.name for p in tmp_path.iterdir()] == ["hilum-dicomweb-elsewhere-1-x"]


def test_a_cache_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="HILUM_DICOMWEB_CACHE"), private_folder(str(tmp_path / "file")):
        pass


def test_the_folder_is_removed_when_its_reader_fails(tmp_path):
    with (
        archive() as server,
        pytest.raises(NotFoundError, match="mine"),
        fetched(f"dicomweb+http://127.0.0.1:{server.server_port}/web?PatientID=7", ACCESS, cache=str(tmp_path)),
    ):
        raise NotFoundError("mine")
    assert list(tmp_path.iterdir()) == []
