"""`hilum backup` and `hilum restore`, typed."""

from pathlib import Path


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
