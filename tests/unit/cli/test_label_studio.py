"""`hilum label up`, `down`, `open` and `reconcile` without a server: what each refuses, and what it says to do.

With a real server they are typed in tests/label_studio.
"""

import json
import socket
import sys

import pytest

TOKEN = "a-token-of-the-account-there"
LABEL_STUDIO = """
extends: smoke
annotator: {kind: label_studio, project: Stripes}
"""


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """Nobody's Label Studio: neither in the environment nor at the user's."""
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_TOKEN", "LABEL_STUDIO_TOKEN_FILE", "BRIDGE_URL", "BRIDGE_KEY"):
        monkeypatch.delenv(f"HILUM_{name}", raising=False)
    monkeypatch.setenv("HILUM_LABEL_STUDIO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def asks_there(tmp_path):
    path = tmp_path / "there.yaml"
    path.write_text(LABEL_STUDIO)
    return str(path)


@pytest.fixture
def taken():
    """A port at which something listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def refused(answer):
    """What was said to somebody who can put it right: one sentence on stderr and exit code 2."""
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err
    return " ".join(answer.err.split())


@pytest.mark.parametrize("verb", ["open", "reconcile"])
def test_a_recipe_that_asks_elsewhere_is_refused(verb, typed, store, recipe):
    told = refused(typed(f"label {verb} {recipe} --store {store.url}"))
    assert "asks 'oracle', not Label Studio" in told
    assert "annotator: {kind: label_studio}" in told


def test_without_a_server_one_is_named(typed, store, asks_there):
    told = refused(typed(f"label open {asks_there} --store {store.url} --no-browser"))
    assert "HILUM_LABEL_STUDIO_URL" in told
    assert "hilum label up" in told


def test_half_of_an_address_is_refused(typed, store, asks_there, monkeypatch):
    monkeypatch.setenv("HILUM_LABEL_STUDIO_URL", "https://studio.example.org")
    assert "HILUM_LABEL_STUDIO_TOKEN is not" in refused(typed(f"label open {asks_there} --store {store.url}"))


def test_what_is_no_address_is_refused(typed, store, asks_there, monkeypatch):
    monkeypatch.setenv("HILUM_LABEL_STUDIO_TOKEN", TOKEN)
    monkeypatch.setenv("HILUM_LABEL_STUDIO_URL", "file:///etc/passwd")
    assert "must be an address like https://" in refused(typed(f"label open {asks_there} --store {store.url}"))


def test_a_token_is_copied_from_label_studio_and_not_made_here(typed, store, asks_there, monkeypatch):
    monkeypatch.setenv("HILUM_LABEL_STUDIO_URL", "https://studio.example.org")
    monkeypatch.setenv("HILUM_LABEL_STUDIO_TOKEN", "cut-short")
    told = refused(typed(f"label open {asks_there} --store {store.url}"))
    assert "copy it from your account's page in Label Studio" in told
    assert "cut-short" not in told


def test_without_the_sdk_the_extra_is_named(typed, store, asks_there, monkeypatch):
    monkeypatch.setenv("HILUM_LABEL_STUDIO_TOKEN", TOKEN)
    monkeypatch.setenv("HILUM_LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "label_studio_sdk", None)
    assert "hilum[label-studio]" in refused(typed(f"label open {asks_there} --store {store.url}"))


def test_reconciling_what_was_not_published_names_what_comes_first(typed, store, asks_there):
    told = typed(f"label reconcile {asks_there} --store {store.url}")
    assert told.code == 2
    assert f"First type: hilum pool {asks_there}" in " ".join(told.err.split())


@pytest.mark.parametrize("option", ["--port 0", "--port 65536", "--bridge-port 0", "--port here"])
def test_what_is_no_port_is_refused(option, typed, store):
    assert option.split()[0] in refused(typed(f"label up --store {store.url} {option}"))


def test_a_port_that_is_taken_is_refused_before_anything_is_installed(typed, store, home, taken):
    told = refused(typed(f"label up --store {store.url} --port {taken}"))
    assert f"Port {taken} is taken" in told
    assert "--port" in told
    assert not home.exists()


def test_without_a_store_nothing_is_started(typed, tmp_path, home):
    assert "hilum init" in refused(typed(f"label up --store {tmp_path / 'nowhere'}"))
    assert not home.exists()


@pytest.mark.parametrize("verb", ["up --store {store}", "down", "open {recipe} --store {store}"])
def test_what_was_kept_of_a_server_and_is_damaged_is_said(verb, typed, store, asks_there, home):
    home.mkdir()
    (home / "access.json").write_text('{"url": "http://127.0.0.1:8080", "tok')
    answer = typed(f"label {verb.format(store=store.url, recipe=asks_there)}")
    assert answer.code != 0
    assert "access.json cannot be read" in " ".join(answer.err.split())


def test_stopping_what_does_not_run_is_done(typed, home):
    assert "Nothing was running." in typed("label down").out
    known = {"url": "http://127.0.0.1:8080", "token": "t", "user": "a@b.c", "pid": 1, "bridge_pid": 1}
    home.mkdir()
    (home / "access.json").write_text(json.dumps(known))
    answer = typed("label down --json")
    assert answer.code == 0
    assert answer.document["stopped"] == {"bridge": False, "label_studio": False}
