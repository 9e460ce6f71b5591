"""`hilum audit`, and what by-hand commands tell it."""

import hashlib
from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.cli import round_steps
from hilum.cli.composition import Engine
from hilum.core.resources import Resources


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(round_steps, "engine", lambda **_: Engine(InlineExecutor(), Resources()))
    monkeypatch.setenv("HILUM_ACTOR", "ada")


def _acts(typed, store, more=""):
    found = typed(f"audit show --store {store.url} --json {more}").document["records"]
    return [(one["actor"], one["action"]) for one in found]


def test_steps_by_hand_are_told_once(typed, store, recipe, in_this_process):
    for verb in ("pool", "score", "select", "label publish", "label collect", "select"):
        assert typed(f"{verb} {recipe} --store {store.url}").code == 0, verb
    told = ["pooled", "scored", "selected", "published", "collected"]
    assert _acts(typed, store) == [("ada", action) for action in told]
    assert typed(f"audit verify --store {store.url}").code == 0


def test_promoting_by_hand_names_both_champions(typed, store, recipe, in_this_process):
    labels = _collected(typed, store, recipe)
    made = typed(f"finetune {recipe} --labels {labels} --store {store.url} --json").document["run_id"]
    for _ in range(2):
        assert typed(f"model promote liver {made} --store {store.url}").code == 0
    last = typed(f"audit show --campaign liver --store {store.url} --json").document["records"]
    assert [(one["action"], one["what"]) for one in last] == [("promoted by hand", {"champion": made, "before": None})]
    shown = typed(f"audit show --store {store.url}").out
    assert "ada" in shown
    assert f"champion={made}" in shown


def _collected(typed, store, recipe):
    for verb in ("pool", "score", "select", "label publish"):
        assert typed(f"{verb} {recipe} --store {store.url}").code == 0
    return typed(f"label collect {recipe} --store {store.url} --json").document["run_id"]


def test_keys_are_told_by_name_and_never_themselves(typed, store, tmp_path, in_this_process):
    file = tmp_path / "keys.json"
    key = typed(f"serve key viewer --file {file} --store {store.url} --json").document["key"]
    assert typed(f"serve revoke viewer --file {file} --store {store.url}").code == 0
    assert _acts(typed, store) == [("ada", "made a key"), ("ada", "revoked keys")]
    written = b"".join(path.read_bytes() for path in Path(store.url, "audit").iterdir())
    assert key.encode() not in written
    assert hashlib.sha256(key.encode()).hexdigest().encode() not in written


def test_keys_where_no_store_is_are_made_and_the_untold_log_is_said(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = typed("serve key viewer --file keys.json")
    assert answer.code == 0
    assert "no audit log was told" in answer.err
    assert typed("serve key viewer --file keys.json --store ./nowhere").code == 2


def test_a_rebuilt_ledger_is_told(typed, store, in_this_process):
    assert typed(f"doctor --rebuild --store {store.url}").code == 0
    assert _acts(typed, store) == [("ada", "rebuilt the ledger")]


def test_the_head_that_was_kept_finds_what_was_cut_off(typed, store, in_this_process):
    assert typed(f"audit head --store {store.url}").code == 2
    for _ in range(2):
        typed(f"doctor --rebuild --store {store.url}")
    kept = typed(f"audit head --store {store.url}").out.strip()
    assert typed(f"audit verify --head {kept} --store {store.url}").code == 0
    Path(store.url, "audit", "00000002.json").unlink()
    assert typed(f"audit verify --store {store.url}").code == 0
    answer = typed(f"audit verify --head {kept} --store {store.url} --json")
    assert answer.code == 4
    assert "shortened" in answer.document["wrong"]


def test_a_changed_record_ends_verify_with_4_and_its_number(typed, store, in_this_process):
    typed(f"doctor --rebuild --store {store.url}")
    file = Path(store.url, "audit", "00000001.json")
    file.write_text(file.read_text().replace("ada", "eve"))
    answer = typed(f"audit verify --store {store.url}")
    assert answer.code == 4
    assert "Record 1 was changed since it was written." in answer.out
