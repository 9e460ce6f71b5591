"""`hilum look`."""

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Files without a folder land here."""
    monkeypatch.chdir(tmp_path)


def test_a_page_is_made_unless_a_picture_is_wanted(typed, store):
    answer = typed(f"look --store {store.url} --json")
    assert answer.code == 0, answer.err
    assert answer.document["file"] == "look.html"
    assert (answer.document["num_volumes"], answer.document["num_shown"]) == (30, 24)
    assert Path("look.html").read_bytes().startswith(b"<!doctype html>")


def test_a_picture_is_a_picture(typed, store):
    answer = typed(f"look --store {store.url} --out sheets/mine.PNG --most 3")
    assert answer.code == 0, answer.err
    assert "sheets/mine.PNG" in answer.out
    with Image.open("sheets/mine.PNG") as picture:
        assert picture.format == "PNG"


def test_another_ending_is_refused_before_anything_is_read(typed, store):
    answer = typed(f"look --store {store.url} --out look.pdf")
    assert answer.code == 2
    assert ".html or a .png" in answer.err
    assert not list(Path().glob("look.*"))


def test_before_the_first_ingest_it_says_what_to_do(typed, tmp_path):
    typed(f"init {tmp_path}/empty")
    answer = typed(f"look --store {tmp_path}/empty")
    assert answer.code == 2
    assert "hilum ingest" in answer.err


def test_an_ingest_that_is_not_there_is_named(typed, store):
    answer = typed(f"look --store {store.url} --ingest 0123456789ab")
    assert answer.code == 2
    assert "0123456789ab" in answer.err


def test_a_damaged_volume_is_told(typed, store):
    shard = next(p for p in Path(store.url, "volumes").glob("*/0/c/**/*") if p.is_file())
    shard.unlink()
    answer = typed(f"look --store {store.url} --most 40 --json")
    assert answer.code == 0
    (damaged,) = answer.document["damaged"]
    assert damaged in str(shard)
