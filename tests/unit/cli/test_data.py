"""`hilum data`."""

import json

import pytest

from hilum.adapters.catalogue import entries


def test_every_set_is_listed_with_its_licence_and_whom_to_cite(typed):
    sets = typed("data list --json").document["sets"]
    assert {found["name"] for found in sets} == {found.name for found in entries()}
    assert all(found["licence"] and found["citation"] and found["home"] for found in sets)


@pytest.mark.parametrize("verb", ["where", "fetch"])
def test_a_misspelt_set_is_answered_with_the_likely_one(verb, typed):
    answer = typed(f"data {verb} mednis")
    assert answer.code == 2
    assert "Did you mean 'mednist'?" in answer.err


def test_the_packaged_set_needs_no_network(typed):
    assert typed("data where packaged --json").document["where"] == "installed packages"


def test_a_set_is_fetched_once_with_its_licence_beside_it(typed, tmp_path):
    first = typed(f"data fetch packaged {tmp_path}/brains --as segment --json")
    assert first.code == 0, first.err
    assert (tmp_path / "brains" / "LICENCE.txt").is_file()
    assert json.loads((tmp_path / "brains" / "source.json").read_text())["name"] == "packaged"
    again = typed(f"data fetch packaged {tmp_path}/brains --as segment --json")
    assert (first.document["already_done"], again.document["already_done"]) == (False, True)
    assert f"hilum ingest {tmp_path}/brains --store ./store" in again.document["next"]


def test_a_wrong_preparation_is_answered_with_the_likely_one(typed, tmp_path):
    answer = typed(f"data fetch packaged {tmp_path}/brains --as clasify")
    assert answer.code == 2
    assert "Did you mean 'classify'?" in answer.err


def test_a_mirror_without_the_set_says_so(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("HILUM_DATA_MIRROR", str(tmp_path))
    answer = typed("data where mednist")
    assert answer.code == 2
    assert "HILUM_DATA_MIRROR" in answer.err
