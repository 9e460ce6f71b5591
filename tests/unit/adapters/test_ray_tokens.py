"""Where Ray's token comes from, and that a new one is its owner's alone."""

import pytest

from hilum.adapters.ray_tokens import find_token, guard_a_new_ray, show_our_token


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def _environ(name):
    import os

    return os.environ.get(name)


def test_a_new_ray_asks_for_a_token_that_only_its_owner_can_read(home):
    guard_a_new_ray()
    file = home / ".ray" / "auth_token"
    assert len(file.read_text()) == 64
    assert file.stat().st_mode & 0o077 == 0
    assert _environ("RAY_AUTH_MODE") == "token"
    assert _environ("RAY_AUTH_TOKEN") is None
    first = find_token()
    guard_a_new_ray()
    assert find_token() == first == file.read_text()


def test_where_no_file_can_be_written_this_process_knows_the_token(home, monkeypatch):
    (home / ".ray").write_text("a file where a folder should be")
    guard_a_new_ray()
    assert len(_environ("RAY_AUTH_TOKEN")) == 64


def test_a_token_that_is_there_is_used(monkeypatch, home):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    guard_a_new_ray()
    assert find_token() == "mine"
    assert not (home / ".ray").exists()


def test_a_token_file_that_is_named_and_missing_is_made_there(monkeypatch, home):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "elsewhere" / "token"))
    guard_a_new_ray()
    assert (home / "elsewhere" / "token").read_text() == find_token()
    assert not (home / ".ray").exists()


def test_switched_off_in_so_many_words_it_is_off(monkeypatch, home):
    monkeypatch.setenv("RAY_AUTH_MODE", "Disabled")
    guard_a_new_ray()
    assert _environ("RAY_AUTH_MODE") == "Disabled"
    assert not (home / ".ray").exists()


@pytest.mark.parametrize(
    ("mode", "token", "after"), [(None, "mine", "token"), (None, "", None), ("disabled", "mine", "disabled")]
)
def test_our_token_is_shown_where_we_have_one_and_nobody_said_otherwise(mode, token, after, monkeypatch):
    for name, value in (("RAY_AUTH_MODE", mode), ("RAY_AUTH_TOKEN", token)):
        if value is not None:
            monkeypatch.setenv(name, value)
    show_our_token()
    assert _environ("RAY_AUTH_MODE") == after
