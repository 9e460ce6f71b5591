"""Making a store and opening one."""

import pytest

from hilum.core.errors import CorruptionError, NotFoundError, RequestError
from hilum.store.layout import FORMAT_VERSION
from hilum.store.manifest import read_json, write_json
from hilum.store.opening import FOLDERS, create_store, open_store


def test_a_new_store_has_its_folders_and_says_its_format(tmp_path):
    store, is_new = create_store(str(tmp_path / "demo"))
    assert is_new
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {*FOLDERS, "hilum.json"}
    assert read_json(store.settings_file)["format_version"] == FORMAT_VERSION


def test_making_a_store_twice_changes_nothing(tmp_path):
    store, _ = create_store(str(tmp_path))
    before = (tmp_path / "hilum.json").read_bytes()
    again, is_new = create_store(str(tmp_path))
    assert (again, is_new) == (store, False)
    assert (tmp_path / "hilum.json").read_bytes() == before


def test_a_store_beside_other_files_leaves_them_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    create_store(str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_slash_at_the_end_names_the_same_store(tmp_path):
    store, _ = create_store(f"{tmp_path}/")
    assert open_store(str(tmp_path)) == store


def test_a_store_in_memory_opens_like_a_folder():
    store, is_new = create_store("memory://hilum-opening")
    assert is_new
    assert open_store("memory://hilum-opening") == store


def test_opening_what_nobody_made_says_how_to_make_it(tmp_path):
    with pytest.raises(NotFoundError, match="hilum init"):
        open_store(str(tmp_path))


def test_a_store_one_folder_below_is_suggested(tmp_path):
    create_store(str(tmp_path / "liver"))
    with pytest.raises(NotFoundError, match=r"Did you mean .*liver\?"):
        open_store(str(tmp_path))


def test_a_newer_format_is_refused_and_names_the_release_that_reads_it(tmp_path):
    write_json(str(tmp_path / "hilum.json"), {"format_version": FORMAT_VERSION + 1, "hilum_version": "9.1.0"})
    with pytest.raises(RequestError, match=r"Use hilum 9\.1\.0"):
        open_store(str(tmp_path))


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"format_version": "one"}'])
def test_a_damaged_settings_file_is_said_to_be_damaged(tmp_path, text):
    (tmp_path / "hilum.json").write_text(text)
    with pytest.raises(CorruptionError):
        open_store(str(tmp_path))


def test_a_file_where_the_store_should_be_is_refused(tmp_path):
    (tmp_path / "demo").write_text("a file")
    with pytest.raises(RequestError, match="Name a folder you may write"):
        create_store(str(tmp_path / "demo"))


def test_a_url_of_an_unknown_kind_is_refused():
    with pytest.raises(RequestError, match="Give a folder or an fsspec URL"):
        open_store("nosuch://bucket")


def test_a_store_in_the_current_folder_keeps_its_place_when_the_folder_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create_store(".")
    store = open_store(".")
    monkeypatch.chdir("/")
    assert read_json(store.settings_file)["format_version"] == FORMAT_VERSION
