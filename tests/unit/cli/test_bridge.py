"""`hilum bridge`: what it refuses before it listens. What it serves is in tests/services."""

import pytest

from hilum.adapters.addresses import is_loopback

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for name in ("KEY", "KEY_FILE", "OPEN", "ORIGINS"):
        monkeypatch.delenv(f"HILUM_BRIDGE_{name}", raising=False)


@pytest.fixture
def store(tmp_path, typed):
    typed(f"init {tmp_path}")
    return tmp_path


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", "127.0.0.1.example.org"])
def test_beyond_this_machine_nothing_is_served_without_a_key(host, store, typed, monkeypatch):
    answer = typed(f"bridge --store {store} --host {host}")
    assert answer.code == 2
    assert "HILUM_BRIDGE_KEY" in answer.err
    monkeypatch.setenv("HILUM_BRIDGE_KEY", KEY)
    monkeypatch.setenv("HILUM_BRIDGE_OPEN", "true")
    assert typed(f"bridge --store {store} --host {host}").code == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_this_machine(host):
    assert is_loopback(host)


def test_without_a_key_it_does_not_start_and_says_how_to_make_one(store, typed):
    answer = typed(f"bridge --store {store} --port 0")
    assert answer.code == 2
    assert "HILUM_BRIDGE_OPEN" in answer.err


@pytest.mark.parametrize("origin", ["*", "label-studio", "http://host/", "http://host/x", "http://u@host", "file://x"])
def test_an_origin_that_no_browser_sends_is_refused(origin, store, typed, monkeypatch):
    monkeypatch.setenv("HILUM_BRIDGE_KEY", KEY)
    monkeypatch.setenv("HILUM_BRIDGE_ORIGINS", f"http://localhost:8080 {origin}")
    answer = typed(f"bridge --store {store} --port 0")
    assert answer.code == 2
    assert "no origin" in answer.err


def test_a_store_that_is_not_there_is_said(tmp_path, typed, monkeypatch):
    monkeypatch.setenv("HILUM_BRIDGE_KEY", KEY)
    assert "hilum init" in typed(f"bridge --store {tmp_path / 'nowhere'}").err


def test_drafting_needs_a_password(store, typed, monkeypatch):
    monkeypatch.setenv("HILUM_BRIDGE_KEY", KEY)
    monkeypatch.delenv("HILUM_PRE_ANNOTATION_PASSWORD", raising=False)
    answer = typed(f"bridge --store {store} --port 0 --model liver")
    assert answer.code == 2
    assert "HILUM_PRE_ANNOTATION_PASSWORD" in answer.err
