"""Archives from the internet: believed only when whole, and never allowed to choose where they are unpacked."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from hilum.adapters.downloads import MEDNIST_FILE, Download, download, unpack_as, unpack_mednist, unpack_tar
from hilum.core.errors import CorruptionError, RequestError

CONTENT = bytes(range(256)) * 40
OTHERWISE = "name a folder in HILUM_DATA_MIRROR"


class Site(BaseHTTPRequestHandler):
    """Serves one file whole, one that breaks off, and refuses a third."""

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(CONTENT if self.path == "/whole" else CONTENT[:1000])

    def answer(self, body):
        self.send_response(403 if self.path == "/forbidden" else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


AS_ONE_FILE = unpack_as("set.bin")


def wanted(url, unpack=AS_ONE_FILE, content=CONTENT):
    return Download(url, hashlib.md5(content, usedforsecurity=False).hexdigest(), unpack)


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_is_published_is_what_is_there_afterwards_and_no_archive_beside_it(tmp_path, site):
    download(wanted(f"{site}/whole"), tmp_path, otherwise=OTHERWISE)
    assert names_in(tmp_path) == ["set.bin"]
    assert (tmp_path / "set.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("page", ["cut", "forbidden"])
def test_a_download_that_breaks_off_or_is_refused_says_what_else_one_can_do(tmp_path, site, page):
    with pytest.raises((RequestError, CorruptionError)) as failure:
        download(wanted(f"{site}/{page}"), tmp_path, otherwise=OTHERWISE)
    assert f"{site}/{page}" in str(failure.value)
    assert OTHERWISE in str(failure.value) or "Try again later" in str(failure.value)
    assert "set.bin" not in names_in(tmp_path)


def test_a_server_that_is_not_there_is_one_sentence_without_the_network_s_own_story(tmp_path):
    with pytest.raises(RequestError, match=f"Without internet, {OTHERWISE}") as failure:
        download(wanted("http://127.0.0.1:9/whole"), tmp_path, otherwise=OTHERWISE)
    assert "\n" not in str(failure.value)
    assert failure.value.__suppress_context__


def test_a_file_with_another_checksum_is_never_unpacked(tmp_path):
    (tmp_path / "archive").write_bytes(b"something else")
    unpacked = []
    published = wanted((tmp_path / "archive").as_uri(), lambda archive, folder: unpacked.append(archive))
    folder = tmp_path / "set"
    folder.mkdir()
    with pytest.raises(CorruptionError, match=f"not {published.md5}"):
        download(published, folder, otherwise=OTHERWISE)
    assert unpacked == []


@settings(max_examples=20)
@given(st.binary(max_size=300), st.integers(0, 299))
def test_one_flipped_bit_is_another_file(tmp_path_factory, content, place):
    folder = tmp_path_factory.mktemp("flip")
    flipped = bytearray(content or b"\0")
    flipped[place % len(flipped)] ^= 1
    (folder / "archive").write_bytes(bytes(flipped))
    with pytest.raises(CorruptionError):
        download(wanted((folder / "archive").as_uri(), content=content), folder, otherwise=OTHERWISE)


def a_tar(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


TAKE = unpack_tar((r"set/scan_(\d+)\.nii\.gz", r"images/\1.nii.gz"), (r"set/seg_(\d+)\.nii\.gz", r"labels/\1.nii.gz"))


def test_files_are_taken_to_the_place_their_pattern_says_and_all_others_are_left(tmp_path):
    members = [
        ("set/scan_1.nii.gz", b"i"),
        ("set/seg_1.nii.gz", b"l"),
        ("set/readme.txt", b"x"),
        ("scan_2.nii.gz", b"x"),
    ]
    folder = tmp_path / "set"
    TAKE(a_tar(tmp_path / "a.tar.gz", *members), folder)
    assert names_in(folder) == ["images/1.nii.gz", "labels/1.nii.gz"]
    assert (folder / "labels" / "1.nii.gz").read_bytes() == b"l"


@settings(max_examples=30)
@given(st.text("./set_can1\\-", min_size=1, max_size=30))
@example("../set/scan_1.nii.gz")
@example("/etc/set/scan_1.nii.gz")
@example("set/../../scan_1.nii.gz")
@example("set/scan_1.nii.gz/../../../x")
@example("set/scan_1.nii.gz\n")
def test_a_name_in_an_archive_cannot_lead_out_of_the_folder(tmp_path_factory, name):
    top = tmp_path_factory.mktemp("tar")
    folder = top / "deep" / "set"
    folder.mkdir(parents=True)
    TAKE(a_tar(top / "a.tar.gz", (name, b"evil"), ("set/scan_7.nii.gz", b"good")), folder)
    assert names_in(top) == ["a.tar.gz", "deep/set/images/7.nii.gz"]


def test_folders_devices_and_hard_links_with_a_wanted_name_are_not_files(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("not for you")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, kind in enumerate(
            (tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE)
        ):
            info = tarfile.TarInfo(f"set/scan_{number}.nii.gz")
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
    folder = tmp_path / "set"
    folder.mkdir()
    TAKE(tmp_path / "a.tar", folder)
    assert names_in(folder) == []


def jpeg(grey):
    sink = io.BytesIO()
    Image.fromarray(np.full((64, 64), grey, np.uint8)).save(sink, "JPEG")
    return sink.getvalue()


def test_mednist_s_classes_are_numbered_in_the_order_of_their_names(tmp_path):
    members = [
        (f"MedNIST/{name}/{i:06d}.jpeg", jpeg(grey)) for name, grey in (("Hand", 200), ("CXR", 50)) for i in (1, 0)
    ]
    unpack_mednist(a_tar(tmp_path / "a.tar.gz", *members, ("MedNIST/README.md", b"")), tmp_path)
    with np.load(tmp_path / MEDNIST_FILE) as stack:
        assert stack["classes"].tolist() == ["CXR", "Hand"]
        assert stack["labels"].tolist() == [0, 0, 1, 1]
        assert np.abs(stack["images"].mean(axis=(1, 2)) - [50, 50, 200, 200]).max() < 3
