"""Copies of files by their content: kept once, compared always, never half there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hilum.core.errors import CorruptionError, NotFoundError
from hilum.store import vault as vaults
from hilum.store.layout import Store

LEDGER = {"campaigns": [], "aliases": [], "tasks": {}}
CONTENT = {"hilum.json": b"{}", "runs/a/b/data": b"x" * 5000, "runs/a/c/data": b"x" * 5000, "empty": b""}


def _quiet(done, total):
    pass


@pytest.fixture
def store(tmp_path):
    for name, payload in CONTENT.items():
        path = tmp_path / "store" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload)
    return Store(str(tmp_path / "store"))


@pytest.fixture
def vault(tmp_path):
    return str(tmp_path / "vault")


def _written(vault, store):
    return vaults.write_snapshot(vault, store, vaults.list_files(store.url), LEDGER, on_file=_quiet)


def _objects(vault):
    return sorted(path for path in Path(vault, "objects").rglob("*") if path.is_file())


def _tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_the_same_content_is_kept_once_and_comes_back_as_every_file(store, vault, tmp_path):
    copied = _written(vault, store)
    assert copied.num_new == len(_objects(vault)) == 3
    assert copied.manifest.results == {"num_files": 4, "num_bytes": 10_002}
    files = vaults.snapshot_files(vault, copied.manifest.run_id)
    assert vaults.damaged_files(vault, files, on_file=_quiet) == []
    vaults.restore_files(vault, files, Store(str(tmp_path / "again")), on_file=_quiet)
    assert _tree(tmp_path / "again") == CONTENT


def test_a_second_copy_reads_and_writes_only_what_changed(store, vault, monkeypatch):
    _written(vault, store)
    Path(store.path("runs/a/c/data")).write_bytes(b"y" * 5000)
    read = []
    hashed = vaults._hashed
    monkeypatch.setattr(vaults, "_hashed", lambda url: read.append(url) or hashed(url))
    copied = _written(vault, store)
    assert (copied.num_new, copied.new_bytes) == (1, 5000)
    assert read == [store.path("runs/a/c/data")]
    assert len(vaults.snapshots(vault)) == 2


def test_an_object_that_was_lost_is_copied_again(store, vault):
    _written(vault, store)
    for path in _objects(vault):
        path.unlink()
    assert _written(vault, store).num_new == 3


@pytest.mark.parametrize("damage", ["flipped", "shortened", "lost"])
def test_a_damaged_object_is_named_and_never_restored(damage, store, vault, tmp_path):
    snapshot = _written(vault, store).manifest.run_id
    files = vaults.snapshot_files(vault, snapshot)
    (digest,) = {one.sha256 for one in files if one.path == "runs/a/b/data"}
    place = Path(vault, "objects", digest[:2], digest)
    payload = place.read_bytes()
    place.unlink()
    if damage != "lost":
        place.write_bytes(payload[:-1] + (b"y" if damage == "flipped" else b""))
    broken = ["runs/a/b/data", "runs/a/c/data"]
    assert vaults.damaged_files(vault, files, on_file=_quiet) == broken
    with pytest.raises(CorruptionError, match="2 files of the snapshot are missing or changed"):
        vaults.restore_files(vault, files, Store(str(tmp_path / "again")), on_file=_quiet)
    assert set(_tree(tmp_path / "again")) == set(CONTENT) - set(broken)


@pytest.mark.parametrize("file", ["files.parquet", "ledger.json", "manifest.json"])
def test_a_snapshot_whose_own_files_changed_is_refused(file, store, vault):
    snapshot = _written(vault, store).manifest.run_id
    path = Path(vault, "snapshots", snapshot, file)
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(bytes(payload))
    with pytest.raises(CorruptionError):
        vaults.snapshot_manifest(vault, snapshot)


def test_a_place_without_a_finished_snapshot_says_so(store, vault):
    with pytest.raises(NotFoundError, match="no finished backup"):
        vaults.chosen_snapshot(vault, None)
    first = _written(vault, store).manifest.run_id
    with pytest.raises(NotFoundError, match=first):
        vaults.chosen_snapshot(vault, "yesterday")


def test_a_file_that_goes_away_is_left_out(store, vault):
    listed = vaults.list_files(store.url)
    Path(store.path("empty")).unlink()
    copied = vaults.write_snapshot(vault, store, listed, LEDGER, on_file=_quiet)
    kept = vaults.snapshot_files(vault, copied.manifest.run_id)
    assert {one.path for one in kept} == set(CONTENT) - {"empty"}


def test_a_file_that_changes_while_it_is_copied_is_copied_whole(store, vault, monkeypatch):
    place = Path(store.path("runs/a/b/data"))
    hashed, is_first = vaults._hashed, True

    def changed_right_after(url):
        nonlocal is_first
        found = hashed(url)
        if url.endswith("runs/a/b/data") and is_first:
            is_first = False
            place.write_bytes(b"new" * 100)
        return found

    monkeypatch.setattr(vaults, "_hashed", changed_right_after)
    snapshot = _written(vault, store).manifest.run_id
    assert not is_first
    files = vaults.snapshot_files(vault, snapshot)
    assert vaults.damaged_files(vault, files, on_file=_quiet) == []
    (kept,) = [one for one in files if one.path == "runs/a/b/data"]
    assert (kept.num_bytes, kept.stamp) in ((300, ""), (5000, kept.stamp))


COPY = """
import sys
from hilum.store import vault
from hilum.store.layout import Store
store = Store(sys.argv[1])
vault.write_snapshot(sys.argv[2], store, vault.list_files(store.url), {}, on_file=lambda n, _: print(n, flush=True))
"""


def test_a_copy_that_is_killed_is_gone_on_with_and_copies_nothing_twice(tmp_path, vault):
    folder = tmp_path / "store"
    folder.mkdir()
    for number in range(400):
        (folder / f"{number}").write_bytes(os.urandom(2000))
    copying = subprocess.Popen([sys.executable, "-c", COPY, str(folder), vault], stdout=subprocess.PIPE, text=True)
    for _ in range(40):
        assert copying.stdout.readline()
    os.kill(copying.pid, signal.SIGKILL)
    copying.wait(timeout=30)
    assert vaults.snapshots(vault) == []
    num_there = len([path for path in _objects(vault) if not path.name.endswith(".partial")])
    assert num_there >= 40
    copied = _written(vault, Store(str(folder)))
    assert copied.num_new == 400 - num_there
    assert vaults.damaged_files(vault, vaults.snapshot_files(vault, copied.manifest.run_id), on_file=_quiet) == []


def test_a_vault_on_this_disk_is_its_owners_alone(store, vault):
    _written(vault, store)
    assert Path(vault).stat().st_mode & 0o077 == 0
