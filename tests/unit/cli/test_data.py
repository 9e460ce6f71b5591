"""`hilum data`."""

import json

import pytest
from tests.unit.adapters import thesis_folders

from hilum.adapters.catalogue import entries
from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.own_sets import OWN_SETS
from hilum.adapters.reading import read_item
from hilum.cli.reading import ingest_recipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.opening import create_store


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


def test_a_set_that_is_the_users_to_get_is_listed_with_its_layout_and_never_fetched(typed):
    by_hand = typed("data list --json").document["by_hand"]
    assert {found["name"] for found in by_hand} == set(OWN_SETS)
    assert all(found["licence"] and found["citation"] and found["expects"] for found in by_hand)
    assert all(found["home"].startswith("http") for found in by_hand)
    answer = typed("data fetch lcs")
    assert answer.code == 2
    assert "hilum may not fetch 'lcs'" in answer.err
    assert "hilum data prepare lcs FOLDER OUT" in answer.err


def test_a_users_own_set_is_prepared_once_and_the_next_command_takes_it_in(typed, tmp_path):
    thesis_folders.lits(tmp_path / "theirs", numbers=(0, 1, 100, 115))
    (tmp_path / "theirs" / "Training Batch 1" / "segmentation-1.nii").unlink()
    first = typed(f"data prepare lcs {tmp_path}/theirs {tmp_path}/out --json").document
    again = typed(f"data prepare lcs {tmp_path}/theirs {tmp_path}/out --json").document
    assert (first["already_done"], again["already_done"]) == (False, True)
    assert first["sides"] == again["sides"] == {"pool": 1, "validation": 1, "test": 1}
    assert [found["case"] for found in first["set_aside"]] == ["volume-1"]
    store, _ = create_store(str(tmp_path / "store"))
    ingest.run(
        ingest_recipe("lcs", max_gib=None),
        find_source(str(tmp_path / "out")),
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    taken = typed(first["next"][-1].removeprefix("hilum ").replace("./store", store.url) + " --json")
    assert taken.document["already_done"]
    assert taken.document["results"]["num_volumes"] == 3
    assert taken.document["results"]["class_names"] == ["background", "liver"]


def test_people_read_what_was_set_aside_and_why(typed, tmp_path):
    thesis_folders.lits(tmp_path / "theirs", numbers=range(14))
    for outline in sorted((tmp_path / "theirs").rglob("segmentation-*"))[:12]:
        outline.unlink()
    answer = typed(f"data prepare lcs {tmp_path}/theirs {tmp_path}/out")
    assert answer.code == 0, answer.err
    assert "2 of 14 cases made now" in answer.out
    assert "set aside: volume-0: There is no segmentation of the volume's number." in answer.out
    assert "… and 2 more, in set_aside.csv" in answer.out


def test_a_folder_of_another_layout_is_one_sentence_with_what_is_expected(typed, tmp_path):
    (tmp_path / "theirs").mkdir()
    answer = typed(f"data prepare bms {tmp_path}/theirs {tmp_path}/out")
    assert answer.code == 2
    assert "is not BraTS'18 as its makers distribute it. Expected: 'HGG/' and 'LGG/'" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("lsc x y", "Did you mean 'lcs'?"),
        ("lcs x y --fold 2", "lcs has no option --fold"),
        ("ncc x y --negatives -1", "0 or more"),
        ("ncc nowhere y", "There is no folder 'nowhere'"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_written(line, told, typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = typed(f"data prepare {line}")
    assert answer.code == 2
    assert told in answer.err
    assert not [path for path in tmp_path.iterdir() if path.name != "state"]
