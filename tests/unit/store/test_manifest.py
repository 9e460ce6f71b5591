"""Data first, manifest last."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hilum.core.errors import CorruptionError, NotFoundError, RequestError
from hilum.core.recipes import PoolRecipe
from hilum.store.layout import Store, exists, require
from hilum.store.manifest import (
    FORMAT_VERSION,
    Run,
    find_manifest,
    read_json,
    read_manifest,
    verify,
    write_bytes,
    write_json,
)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path))


def a_run(store: Store) -> Run:
    return Run(store, "pool", 1, PoolRecipe(), {"ingest": "i"})


def committed(store: Store):
    run = a_run(store)
    write_bytes(run.path("pool.parquet"), b"rows")
    return run, run.commit(["pool.parquet"], num_candidates=4)


def test_a_run_without_a_manifest_does_not_exist(store):
    run = a_run(store)
    write_bytes(run.path("pool.parquet"), b"rows")
    assert run.finished() is None
    with pytest.raises(NotFoundError, match="no finished run"):
        read_manifest(run.url)


def test_a_committed_run_tells_what_it_was_made_of(store):
    run, manifest = committed(store)
    assert read_manifest(run.url) == manifest
    assert manifest.inputs == {"ingest": "i"}
    assert manifest.results == {"num_candidates": 4}
    assert list(manifest.files) == ["pool.parquet"]


def test_the_first_of_two_commits_stands(store):
    committed(store)
    assert a_run(store).commit(num_candidates=99).results == {"num_candidates": 4}


def test_of_many_racing_commits_all_see_the_same_one(store):
    seen = []
    threads = [
        threading.Thread(target=lambda n=n: seen.append(a_run(store).commit(winner=n).results["winner"]))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 1


def test_a_manifest_cannot_name_a_file_that_is_not_there(store):
    with pytest.raises(FileNotFoundError):
        a_run(store).commit(["missing.parquet"])
    assert a_run(store).finished() is None


def test_a_flipped_byte_and_a_missing_file_are_named(store):
    run, manifest = committed(store)
    assert verify(run.url, manifest) == []
    Path(run.path("pool.parquet")).write_bytes(b"rowz")
    assert verify(run.url, manifest) == ["pool.parquet: changed since it was written"]
    Path(run.path("pool.parquet")).unlink()
    assert verify(run.url, manifest) == ["pool.parquet: missing"]


def test_a_newer_format_is_refused_and_says_who_can_read_it(store):
    run, manifest = committed(store)
    newer = manifest.model_dump() | {"format_version": FORMAT_VERSION + 1, "hilum_version": "9.9"}
    write_json(run.path("manifest.json"), newer)
    with pytest.raises(CorruptionError, match="hilum 9.9 or newer"):
        read_manifest(run.url)


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"step": 3}'])
def test_a_damaged_manifest_is_not_taken_for_a_run(store, payload):
    run, _ = committed(store)
    write_bytes(run.path("manifest.json"), payload)
    with pytest.raises(CorruptionError):
        find_manifest(run.url)


def test_every_flipped_bit_of_a_manifest_is_found(store):
    run, _ = committed(store)
    place = Path(run.path("manifest.json"))
    good = place.read_bytes()
    for bit in range(8 * len(good)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << (bit % 8)
        place.write_bytes(flipped)
        with pytest.raises(CorruptionError):
            find_manifest(run.url)


def test_a_manifest_of_format_1_had_no_seal_and_is_read(store):
    run, manifest = committed(store)
    write_json(run.path("manifest.json"), manifest.model_dump() | {"format_version": 1})
    assert read_manifest(run.url).results == manifest.results


def test_a_manifest_whose_seal_was_taken_off_is_damaged(store):
    run, manifest = committed(store)
    write_json(run.path("manifest.json"), manifest.model_dump())
    with pytest.raises(CorruptionError, match="changed since it was written"):
        read_manifest(run.url)


def test_nothing_partial_is_left_behind(store, tmp_path):
    committed(store)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_writer_killed_at_any_moment_leaves_the_old_or_the_new(tmp_path):
    target = tmp_path / "state.json"
    script = (
        "import sys\nfrom hilum.store.manifest import write_json\n"
        "n = 0\nprint('go', flush=True)\nwhile True:\n    n += 1\n"
        f"    write_json({str(target)!r}, {{'n': n, 'fill': [n] * 20000}})\n"
    )
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"go\n"
        while not target.exists():
            pass
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        content = json.loads(target.read_text())
        assert set(content["fill"]) == {content["n"]}


def test_json_that_does_not_parse_is_corruption_and_a_missing_file_is_not_found(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(CorruptionError, match="do not parse"):
        read_json(str(tmp_path / "a.json"))
    with pytest.raises(NotFoundError):
        read_json(str(tmp_path / "b.json"))


def test_an_object_store_gets_whole_files_too():
    store = Store("memory://manifest-test")
    run, manifest = committed(store)
    assert read_manifest(run.url) == manifest
    assert not write_bytes(run.path("pool.parquet"), b"other", only_if_absent=True)
    assert verify(run.url, manifest) == []


def test_an_unknown_kind_of_url_is_the_callers_mistake():
    with pytest.raises(RequestError, match="fsspec URL"):
        exists("gopher://somewhere")


def test_what_must_exist_is_asked_for_by_name(tmp_path):
    assert require(str(tmp_path), "store") == str(tmp_path)
    with pytest.raises(NotFoundError, match="no store"):
        require(str(tmp_path / "none"), "store")
