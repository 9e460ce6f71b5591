"""`hilum init` and `hilum doctor`."""

import shutil
from pathlib import Path

import pytest

from hilum.store.manifest import MANIFEST, read_manifest


def test_a_store_is_made_once_and_then_already_done(typed, tmp_path):
    assert "made" in typed(f"init {tmp_path}/demo").out
    again = typed(f"init {tmp_path}/demo")
    assert again.code == 0
    assert "already done" in again.out


def test_what_to_type_next_names_the_store(typed, tmp_path):
    assert typed(f"init {tmp_path}/demo --json").document["next"] == [f"hilum ingest FOLDER --store {tmp_path}/demo"]


def test_a_command_outside_a_store_says_how_to_make_one(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = typed("campaign list")
    assert answer.code == 2
    assert "hilum init" in answer.err


def test_the_store_may_be_named_by_the_environment(typed, store, monkeypatch):
    monkeypatch.setenv("HILUM_STORE", store.url)
    assert typed("campaign list").code == 0


def test_the_current_folder_is_the_store_by_default(typed, store, monkeypatch):
    monkeypatch.chdir(store.url)
    assert typed("doctor --json").document["store"] == store.url


def test_files_that_were_taken_in_before_are_already_done(typed, store, scans):
    answer = typed(f"ingest {scans} --store {store.url} --json")
    assert answer.code == 0, answer.err
    assert answer.document["already_done"]
    assert answer.document["results"]["num_volumes"] == 30


def test_nothing_to_ingest_is_said(typed, store, tmp_path):
    (tmp_path / "empty").mkdir()
    answer = typed(f"ingest {tmp_path}/empty --store {store.url}")
    assert answer.code == 2
    assert "nothing to ingest" in answer.err


def test_a_healthy_store_has_nothing_damaged(typed, store):
    answer = typed(f"doctor --store {store.url} --json")
    assert answer.code == 0
    assert answer.document["num_checked"] == 1
    assert answer.document["damaged"] == []
    assert answer.document["machine"]["hilum"]
    assert answer.document["format_version"] == 1


def test_a_changed_byte_is_found_and_the_place_is_named(typed, store, tmp_path):
    (table,) = (tmp_path / "store/runs/ingest").glob("*/volumes.parquet")
    changed = bytearray(table.read_bytes())
    changed[len(changed) // 2] ^= 1
    table.write_bytes(bytes(changed))
    answer = typed(f"doctor --store {store.url} --json")
    assert answer.code == 4
    (damaged,) = answer.document["damaged"]
    assert damaged["place"].startswith("runs/ingest/")
    assert damaged["reasons"] == ["volumes.parquet: changed since it was written"]


def test_a_changed_chunk_is_found_and_its_volume_and_file_are_named(typed, store):
    shard = sorted(p for p in Path(store.url, "volumes").glob("*/0/c/**/*") if p.is_file())[3]
    changed = bytearray(shard.read_bytes())
    changed[5] ^= 1
    shard.write_bytes(changed)
    answer = typed(f"doctor --store {store.url} --json")
    assert answer.code == 4
    assert answer.document["num_volumes"] == 30
    (damaged,) = answer.document["damaged"]
    assert str(shard).startswith(f"{store.url}/{damaged['place']}/0/c/")
    assert "0/c/" in damaged["reasons"][0]
    told = typed(f"doctor --store {store.url}")
    assert "30 volumes checked, 1 damaged" in told.out
    assert "then ingest the same files again" in told.out


def test_what_the_doctor_advises_about_a_damaged_volume_helps(typed, store, scans):
    volume = sorted(Path(store.url, "volumes").iterdir())[0]
    shutil.rmtree(volume)
    assert typed(f"doctor --store {store.url}").code == 4
    again = typed(f"ingest {scans} --store {store.url} --json")
    assert again.code == 0, again.err
    assert not again.document["already_done"]
    assert typed(f"doctor --store {store.url}").code == 0


def test_a_damaged_key_is_found_and_named_before_it_gives_anybody_another_pseudonym(typed, store, scans, tmp_path):
    key = tmp_path / "store/identity.key"
    sound = typed(f"doctor --store {store.url}")
    assert (sound.code, "sound, fingerprint" in sound.out) == (0, True)
    key.write_text(key.read_text().replace("a", "b", 1))
    answer = typed(f"doctor --store {store.url} --json")
    assert answer.code == 4
    (damaged,) = answer.document["damaged"]
    assert damaged["place"] == "identity.key"
    assert "is damaged" in damaged["reasons"][0]
    assert "Ingest nothing" in typed(f"doctor --store {store.url}").out
    more = typed(f"ingest {scans}/images/*.png --store {store.url}")
    assert (more.code, "identity.key is damaged" in more.err) == (4, True)


def test_a_store_without_its_key_is_whole_and_takes_nothing_in(typed, store, scans, tmp_path):
    (tmp_path / "store/identity.key").unlink()
    answer = typed(f"doctor --store {store.url}")
    assert (answer.code, "nothing be ingested" in answer.out) == (0, True)
    more = typed(f"ingest {scans}/images/*.png --store {store.url}")
    assert (more.code, "identity.json" in more.err) == (2, True)
    assert not (tmp_path / "store/identity.key").exists()


def test_another_key_in_the_environment_is_named_by_the_doctor(typed, store, monkeypatch):
    monkeypatch.setenv("HILUM_IDENTITY_KEY", "ab" * 32)
    answer = typed(f"doctor --store {store.url} --json")
    assert answer.code == 4
    assert [damaged["place"] for damaged in answer.document["damaged"]] == ["HILUM_IDENTITY_KEY"]


def test_people_are_told_of_damage_too(typed, store, tmp_path):
    (table,) = (tmp_path / "store/runs/ingest").glob("*/volumes.parquet")
    table.unlink()
    answer = typed(f"doctor --store {store.url}")
    assert answer.code == 4
    assert "volumes.parquet: missing" in answer.out


def test_a_lost_ledger_is_written_again(typed, store, recipe, tmp_path):
    typed(f"campaign create liver --recipe {recipe} --store {store.url}")
    before = typed(f"round status liver --store {store.url} --json").document
    (tmp_path / "store/ledger.sqlite").unlink()
    lost = typed(f"round next liver --store {store.url}")
    assert lost.code == 2
    assert "hilum doctor --rebuild" in lost.err
    assert typed(f"doctor --rebuild --store {store.url} --json").document["campaigns"] == [
        {"name": "liver", "round": 0, "stage": "opened"}
    ]
    assert typed(f"round status liver --store {store.url} --json").document == before


@pytest.mark.parametrize("url", ["nosuch://bucket", "s4://x"])
def test_a_store_of_an_unknown_kind_is_refused(typed, url):
    answer = typed(f"doctor --store {url}")
    assert answer.code == 2
    assert "fsspec URL" in answer.err


def test_the_manifest_of_the_ingest_is_where_the_layout_says(store, tmp_path):
    (manifest,) = (tmp_path / "store/runs/ingest").glob(f"*/{MANIFEST}")
    assert read_manifest(str(manifest.parent)).step == "ingest"
