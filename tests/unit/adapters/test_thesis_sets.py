"""The sets of Models Genesis as users have them: prepared once, whole, and the user's own files untouched."""

import json
import os
from collections import Counter

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its own name for itself)
from tests.unit.adapters import thesis_folders as folders
from tests.unit.adapters.thesis_folders import embolism
from tests.unit.adapters.thesis_runs import ingested, num_candidates, prepared, sides_of, states, table

from hilum.adapters.own_preparing import prepare
from hilum.adapters.own_sets import OWN_SETS, own_set, wishes_for
from hilum.core.errors import DataError, NotFoundError, RecipeError, RequestError

FILL = {
    "luna16": folders.luna16,
    "ncc": lambda folder: folders.write_candidates(
        folder / "candidates_V2.csv", folders.candidates(folders.luna16(folder, subsets=(0, 1, 6, 8)))
    ),
    "ncs": folders.lidc,
    "ecc": embolism,
    "lcs": folders.lits,
    "bms": folders.brats,
}


@pytest.fixture
def theirs(tmp_path):
    return tmp_path / "theirs"


@pytest.fixture
def candidates(theirs):
    """LUNA16 with its candidates: the images and the lines of the table."""
    images = folders.luna16(theirs, subsets=(0, 5, 9))
    rows = folders.candidates(images)
    folders.write_candidates(theirs / "candidates_V2.csv", rows)
    return images, rows


@pytest.mark.parametrize("name", sorted(OWN_SETS))
def test_a_prepared_set_is_ingested_whole_with_its_sides_and_licence(name, tmp_path, theirs):
    FILL[name](theirs)
    done = prepared(name, tmp_path)
    assert done.set_aside == ()
    manifest, volumes = ingested(name, tmp_path)
    rows = table(tmp_path / "out" / "index.csv")
    assert len(rows) == len(volumes) == done.num_images
    assert Counter(volume.side for volume in volumes) == Counter(row["side"] for row in rows)
    assert all(volume.has_label_map == bool(rows[0]["label"]) for volume in volumes)
    expected = own_set(name)
    if name != "luna16":
        in_pool = [volume for volume in volumes if volume.side == "pool"]
        # Volumes of the stand-ins are no larger than a block: each is one candidate, as each item of a stack is.
        assert num_candidates(name, tmp_path, manifest) == sum(volume.num_items for volume in in_pool) > 0
        assert manifest.results["class_names"] == list(expected.class_names)
    assert expected.licence in (tmp_path / "out" / "LICENCE.txt").read_text()
    assert json.loads((tmp_path / "out" / "source.json").read_text())["citation"] == expected.citation


@pytest.mark.parametrize("name", sorted(OWN_SETS))
def test_the_users_files_are_not_touched_and_a_second_run_makes_nothing(name, tmp_path, theirs):
    FILL[name](theirs)
    before = states(theirs)
    first = prepared(name, tmp_path)
    out = states(tmp_path / "out")
    again = prepared(name, tmp_path)
    assert states(theirs) == before
    assert (first.num_made, again.num_made) == (first.num_cases, 0)
    again_out = states(tmp_path / "out")
    made = {path for path in out if path.parent.name in ("images", "labels", "stacks", "cases")}
    assert {path: again_out[path] for path in made} == {path: out[path] for path in made}
    assert {path: content for path, (content, _) in again_out.items()} == {
        path: content for path, (content, _) in out.items()
    }


@pytest.mark.parametrize("name", sorted(OWN_SETS))
def test_a_folder_of_another_layout_is_refused_with_the_layout_that_is_expected(name, tmp_path, theirs):
    (theirs / "pictures").mkdir(parents=True)
    (theirs / "pictures" / "holiday.png").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        prepared(name, tmp_path)
    assert f"Expected: {own_set(name).expects}." in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_there_is_told_with_the_home_of_the_set(tmp_path):
    with pytest.raises(NotFoundError, match="There is no folder .*luna16.grand-challenge.org"):
        prepared("luna16", tmp_path)


def test_scans_of_luna16_stay_what_they_are_and_subsets_say_their_side(tmp_path, theirs):
    images = folders.luna16(theirs)
    assert prepared("luna16", tmp_path).num_per_side == {"pool": 5, "validation": 2, "test": 3}
    sides = sides_of(tmp_path)
    assert [sides[folders.uid(number)] for number in range(10)] == ["pool"] * 5 + ["validation"] * 2 + ["test"] * 3
    for name, image in images.items():
        again = sitk.ReadImage(str(tmp_path / "out" / "images" / f"{name}.mhd"))
        assert np.array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(image))
        assert (again.GetOrigin(), again.GetDirection()) == (image.GetOrigin(), image.GetDirection())


def test_scans_are_linked_and_not_copied_where_the_disk_can(tmp_path, theirs):
    folders.luna16(theirs, subsets=[3])
    prepared("luna16", tmp_path)
    name = f"{folders.uid(3)}.raw"
    assert (theirs / "subset3" / name).samefile(tmp_path / "out" / "images" / name)


def test_scans_are_copied_where_the_disk_cannot_link(tmp_path, theirs, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    folders.luna16(theirs, subsets=[3])
    monkeypatch.setattr(os, "link", refuse)
    prepared("luna16", tmp_path)
    name = f"{folders.uid(3)}.raw"
    assert not (theirs / "subset3" / name).samefile(tmp_path / "out" / "images" / name)
    assert (theirs / "subset3" / name).read_bytes() == (tmp_path / "out" / "images" / name).read_bytes()


def test_a_scan_that_is_cut_short_is_set_aside_and_made_once_it_is_whole(tmp_path, theirs, candidates):
    broken = theirs / "subset5" / f"{folders.uid(5)}.raw"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1000])
    first = prepared("ncc", tmp_path)
    assert [case for case, _ in first.set_aside] == [folders.uid(5)]
    assert "cut short" in first.set_aside[0][1]
    broken.write_bytes(whole)
    again = prepared("ncc", tmp_path)
    assert (again.num_made, again.num_images, again.set_aside) == (1, 3, ())


def test_a_header_without_its_voxels_is_set_aside(tmp_path, theirs):
    folders.luna16(theirs, subsets=(0, 1))
    (theirs / "subset1" / f"{folders.uid(1)}.raw").unlink()
    done = prepared("luna16", tmp_path)
    assert [(case, "not beside it" in reason) for case, reason in done.set_aside] == [(folders.uid(1), True)]


def test_a_preparation_that_is_stopped_goes_on_where_it_was(tmp_path, theirs, candidates):
    wanted = own_set("ncc")

    def stop_after_one(items, _num, _label):
        for number, item in enumerate(items):
            if number == 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        prepare(wanted, theirs, tmp_path / "out", wishes_for(wanted, {}), watch=stop_after_one)
    assert not (tmp_path / "out").exists()
    done = prepared("ncc", tmp_path)
    assert (done.num_cases, done.num_made, done.num_images) == (3, 1, 3)


def test_a_new_scan_is_added_to_what_was_prepared(tmp_path, theirs):
    folders.luna16(theirs, subsets=(0, 7))
    prepared("luna16", tmp_path)
    folders.luna16(theirs, subsets=[8])
    again = prepared("luna16", tmp_path)
    assert (again.num_made, again.num_images) == (1, 3)


@pytest.mark.parametrize(("name", "given"), [("ncc", {"negatives": 3}), ("lcs", {})])
def test_a_folder_that_holds_something_else_is_not_overwritten(name, given, tmp_path, theirs, candidates):
    folders.lits(theirs)
    prepared("ncc", tmp_path)
    before = states(tmp_path / "out")
    with pytest.raises(RequestError, match="name another folder"):
        prepared(name, tmp_path, **given)
    assert states(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("lcs", {"fold": 2}, "lcs has no option --fold. It knows: none."),
        ("bms", {"negatives": 2}, "bms has no option --negatives. It knows: --fold, --modality, --seed."),
        ("ncc", {"negatives": -1}, "--negatives and --seed are 0 or more"),
    ],
)
def test_what_a_set_knows_nothing_of_is_refused(name, given, message):
    with pytest.raises(RecipeError, match=message):
        wishes_for(own_set(name), given)


def test_a_misspelt_set_is_guessed():
    with pytest.raises(RecipeError, match="Did you mean 'luna16'"):
        own_set("luna61")


def test_no_path_of_the_users_gets_into_what_is_written_for_machines(tmp_path, theirs, candidates):
    prepared("ncc", tmp_path)
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".csv", ".txt")]
    assert not any(str(theirs) in text for text in texts)
