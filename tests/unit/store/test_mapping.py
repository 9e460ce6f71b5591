"""The way back to people is encrypted, apart from the store, and opens for who has the passphrase only."""

import json
import stat
from pathlib import Path

import pytest

from hilum.core.errors import CorruptionError, DataError, NotFoundError, RequestError
from hilum.store.layout import Store
from hilum.store.mapping import PASSPHRASE, check_place, extend_mapping, identity_behind, passphrase, read_mapping

SECRET = "correct horse battery"
FOUND = {"patient": {"aaaaaaaaaaaa": "DOE^JANE"}, "source": {"bbbbbbbbbbbb": "ward 7/jane.dcm"}}


@pytest.fixture
def mapping(tmp_path):
    extend_mapping(tmp_path / "people.hilum", FOUND, secret=SECRET)
    return tmp_path / "people.hilum"


def test_what_was_written_is_read(mapping):
    assert read_mapping(mapping, secret=SECRET) == FOUND
    assert identity_behind(FOUND, "aaaaaaaaaaaa") == [("patient", "DOE^JANE")]
    assert identity_behind(FOUND, "cccccccccccc") == []


def test_no_name_is_in_its_bytes_and_only_its_owner_may_read_it(mapping):
    payload = mapping.read_bytes()
    for word in (b"DOE", b"jane", b"aaaaaaaaaaaa", b"patient", SECRET.encode()):
        assert word not in payload
    assert stat.S_IMODE(mapping.stat().st_mode) == 0o600
    assert [p.name for p in mapping.parent.iterdir()] == ["people.hilum"]


def test_a_second_ingest_adds_to_it(mapping):
    assert extend_mapping(mapping, {"patient": {"dddddddddddd": "ROE^RICHARD"}}, secret=SECRET) == 3
    assert read_mapping(mapping, secret=SECRET)["patient"] == {
        "aaaaaaaaaaaa": "DOE^JANE",
        "dddddddddddd": "ROE^RICHARD",
    }


def test_the_same_content_twice_gives_other_bytes(mapping):
    before = mapping.read_bytes()
    extend_mapping(mapping, FOUND, secret=SECRET)
    assert mapping.read_bytes() != before


def test_a_wrong_passphrase_opens_nothing_and_overwrites_nothing(mapping):
    before = mapping.read_bytes()
    with pytest.raises(DataError, match="not its passphrase"):
        read_mapping(mapping, secret=SECRET + "!")
    with pytest.raises(DataError, match="not its passphrase"):
        extend_mapping(mapping, FOUND, secret=SECRET + "!")
    assert mapping.read_bytes() == before


@pytest.mark.parametrize("position", [0, 12, 40, 150, 200, 260, -20, -3])
def test_a_changed_byte_is_noticed(mapping, position):
    payload = bytearray(mapping.read_bytes())
    payload[position] ^= 1
    mapping.write_bytes(payload)
    with pytest.raises((DataError, CorruptionError)):
        read_mapping(mapping, secret=SECRET)


def test_a_file_that_asks_for_endless_work_is_refused(mapping):
    line, token = mapping.read_bytes().split(b"\n", 1)
    mapping.write_bytes(json.dumps({**json.loads(line), "n": 2**30}).encode() + b"\n" + token)
    with pytest.raises(CorruptionError, match="damaged"):
        read_mapping(mapping, secret=SECRET)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1]\nx", b"\xff" * 5000, b'{"format": "other"}\n'])
def test_another_file_is_no_mapping(tmp_path, payload):
    (tmp_path / "other").write_bytes(payload)
    with pytest.raises(DataError, match="not a mapping"):
        read_mapping(tmp_path / "other", secret=SECRET)


def test_a_newer_mapping_is_refused_by_its_version(mapping):
    line, token = mapping.read_bytes().split(b"\n", 1)
    mapping.write_bytes(json.dumps({**json.loads(line), "version": 2}).encode() + b"\n" + token)
    with pytest.raises(DataError, match="version 2"):
        read_mapping(mapping, secret=SECRET)


def test_no_mapping_is_said(tmp_path):
    with pytest.raises(NotFoundError, match="no mapping"):
        read_mapping(tmp_path / "nowhere", secret=SECRET)


@pytest.mark.parametrize("given", [None, "", "short"])
def test_without_a_passphrase_nothing_is_written(monkeypatch, given):
    monkeypatch.delenv(PASSPHRASE, raising=False)
    if given is not None:
        monkeypatch.setenv(PASSPHRASE, given)
    with pytest.raises(RequestError, match="encrypted or not at all") as caught:
        passphrase()
    assert not given or given not in str(caught.value)


def test_a_passphrase_of_the_environment_is_taken(monkeypatch):
    monkeypatch.setenv(PASSPHRASE, SECRET)
    assert passphrase() == SECRET


@pytest.mark.parametrize("inside", ["people", "questions/people", "../store/people", "link/people"])
def test_a_mapping_in_the_store_is_refused(tmp_path, inside):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "link").symlink_to(tmp_path / "store")
    with pytest.raises(RequestError, match="must not lie in the store"):
        check_place(tmp_path / "store" / inside, Store(str(tmp_path / "store")))


def test_a_mapping_beside_the_store_is_fine(tmp_path):
    check_place(tmp_path / "people", Store(str(tmp_path / "store")))
    check_place(Path("people"), Store("memory://bucket/store"))
