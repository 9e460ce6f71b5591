"""`hilum metrics`: what it refuses before it listens. What it tells is in tests/services."""

import pytest


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in ("HILUM_API_KEYS_FILE", "HILUM_METRICS_OPEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path, typed):
    typed(f"init {tmp_path / 'store'}")
    return tmp_path / "store"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org"])
def test_beyond_this_machine_nothing_is_told_without_a_key(host, store, typed):
    answer = typed(f"metrics --store {store} --host {host}")
    assert answer.code == 2
    assert "hilum serve key prometheus" in answer.err
    assert "HILUM_METRICS_OPEN" in answer.err


def test_a_store_that_is_not_there_is_said(tmp_path, typed):
    assert "hilum init" in typed(f"metrics --store {tmp_path / 'nowhere'} --port 0").err


def test_a_file_that_holds_no_keys_is_refused(store, typed, tmp_path, monkeypatch):
    (tmp_path / "keys.json").write_text("[]")
    monkeypatch.setenv("HILUM_API_KEYS_FILE", str(tmp_path / "keys.json"))
    answer = typed(f"metrics --store {store} --port 0")
    assert (answer.code, "API keys" in answer.err) == (2, True)
