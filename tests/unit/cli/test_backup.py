"""`hilum backup` and `hilum restore`, typed."""

import shutil
from pathlib import Path

import pytest

from hilum.store import vault as vaults


def test_a_store_is_copied_checked_lost_and_restored(typed, store, recipe, tmp_path):
    vault, again = tmp_path / "vault", tmp_path / "again"
    assert typed(f"campaign create liver --recipe {recipe} --store {store.url}").code == 0
    first = typed(f"backup --store {store.url} --to {vault} --json")
    assert first.code == 0, first.err
    assert first.document["num_new"] > 0
    second = typed(f"backup --store {store.url} --to {vault} --json").document
    assert second["num_new"] == 1  # the audit record of the first
    assert typed(f"backup verify --from {vault}").code == 0
    listed = typed(f"backup list --from {vault} --json").document["snapshots"]
    assert listed == [first.document["snapshot"], second["snapshot"]]
    done = typed(f"restore --from {vault} --to {again}")
    assert done.code == 0, done.err
    assert typed(f"round status liver --store {again} --json").document["name"] == "liver"
    assert typed(f"doctor --store {again} --json").document["damaged"] == []
    assert typed(f"restore --from {vault} --to {again}").code == 2


def test_an_older_copy_is_restored_by_name(typed, store, tmp_path):
    vault, again = tmp_path / "vault", tmp_path / "again"
    first = typed(f"backup --store {store.url} --to {vault} --json").document["snapshot"]
    Path(store.url, "later.txt").write_text("x")
    typed(f"backup --store {store.url} --to {vault}")
    assert typed(f"restore --from {vault} --to {again} --snapshot {first}").code == 0
    assert not (again / "later.txt").exists()


def test_a_damaged_copy_ends_verify_with_4_and_names_the_file(typed, store, tmp_path):
    vault = tmp_path / "vault"
    typed(f"backup --store {store.url} --to {vault}")
    victim = max((path for path in (vault / "objects").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    answer = typed(f"backup verify --from {vault} --json")
    assert answer.code == 4
    assert len(answer.document["damaged"]) >= 1
    refused = typed(f"restore --from {vault} --to {tmp_path / 'again'}")
    assert refused.code == 4
    assert answer.document["damaged"][0] in refused.err
    assert typed(f"doctor --store {tmp_path / 'again'}").code == 2  # it is no store


def test_a_place_must_be_named(typed, store):
    answer = typed(f"backup --store {store.url}")
    assert answer.code == 2
    assert "--to URL" in answer.err


def test_nothing_to_restore_is_said(typed, tmp_path):
    answer = typed(f"restore --from {tmp_path} --to {tmp_path / 'again'}")
    assert answer.code == 2
    assert "no finished backup" in answer.err


def test_a_damaged_part_is_put_back_into_the_store_that_is_there(typed, store, recipe, tmp_path):
    vault, root = tmp_path / "vault", Path(store.url)
    typed(f"backup --store {store.url} --to {vault}")
    (first, second) = sorted((root / "volumes").glob("*.zarr"))[:2]
    before = {path: path.read_bytes() for path in (root / "volumes").rglob("*") if path.is_file()}
    victim = max((path for path in first.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    shutil.rmtree(second)
    damaged = typed(f"doctor --store {store.url} --json")
    assert damaged.code == 4
    only = " ".join(f"--only volumes/{one.name}" for one in (first, second))
    done = typed(f"restore --from {vault} --to {store.url} {only} --json")
    assert done.code == 0, done.err
    assert {path: path.read_bytes() for path in before} == before
    assert typed(f"doctor --store {store.url} --json").code == 0
    assert typed(f"audit show --store {store.url} --json").document["records"][-1]["action"] == "put back"


def test_a_manifest_is_put_back_after_the_data_that_it_names(store, typed, tmp_path, monkeypatch):
    vault, written = tmp_path / "vault", []
    typed(f"backup --store {store.url} --to {vault}")
    (run,) = Path(store.url, "runs", "ingest").iterdir()
    shutil.rmtree(run)
    monkeypatch.setattr(vaults, "restore_files", lambda *given, on_file: written.append([one.path for one in given[1]]))
    assert typed(f"restore --from {vault} --to {store.url} --only runs/ingest/{run.name}").code == 0
    data, settling = written
    assert [path.rsplit("/", 1)[-1] for path in settling] == ["manifest.json"]
    assert data
    assert not any(path.endswith("manifest.json") for path in data)


@pytest.mark.parametrize("folder", ["campaigns/liver", "hilum.json", "volumes", "runs/score", "volumes/..", "../x"])
def test_only_published_things_are_put_back(folder, typed, store, tmp_path):
    answer = typed(f"restore --from {tmp_path / 'vault'} --to {store.url} --only {folder}")
    assert answer.code == 2
    assert "published" in answer.err


def test_what_the_copy_has_not_is_said(typed, store, tmp_path):
    typed(f"backup --store {store.url} --to {tmp_path / 'vault'}")
    answer = typed(f"restore --from {tmp_path / 'vault'} --to {store.url} --only checkpoints/000000000000")
    assert answer.code == 2
    assert "has no checkpoints/000000000000" in answer.err


def test_the_head_that_a_backup_shows_is_in_what_is_restored(typed, store, tmp_path):
    vault, again = tmp_path / "vault", tmp_path / "again"
    typed(f"backup --store {store.url} --to {vault}")
    head = typed(f"backup --store {store.url} --to {vault} --json").document["audit_head"]
    typed(f"restore --from {vault} --to {again}")
    assert typed(f"audit verify --store {again} --head {head}").code == 0
