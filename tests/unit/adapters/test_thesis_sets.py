"""The sets of Models Genesis as users have them: prepared, ingested for real, every voxel where its set says it is."""

import csv
import json
import os
from collections import Counter

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its own name for itself)
from tests.unit.adapters import thesis_folders as folders

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.own_cases import dealt
from hilum.adapters.own_preparing import prepare
from hilum.adapters.own_sets import OWN_SETS, own_set, wishes_for
from hilum.adapters.reading import read_item
from hilum.core.errors import DataError, NotFoundError, RecipeError, RequestError
from hilum.core.resources import Resources
from hilum.loop.recipe_files import campaign_recipe
from hilum.steps import ingest, pool
from hilum.store.layout import Store
from hilum.store.tables import QUARANTINE, read_table
from hilum.store.volumes import volumes_of

AS_IN = {"luna16": "ncc"}


def prepared(name, tmp_path, **given):
    wanted = own_set(name)
    return prepare(wanted, tmp_path / "theirs", tmp_path / "out", wishes_for(wanted, given))


def ingested(name, tmp_path):
    """Everything that a store holds of the prepared folder, by id, with what was refused."""
    store = Store(str(tmp_path / "store"))
    recipe = campaign_recipe(AS_IN.get(name, name)).ingest
    manifest = ingest.run(
        recipe,
        find_source(str(tmp_path / "out")),
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    refused = read_table(f"{store.run('ingest', manifest.run_id)}/quarantine.parquet", QUARANTINE).to_pylist()
    assert refused == []
    return manifest, list(volumes_of(store, manifest.run_id).values())


def num_candidates(name, tmp_path, manifest):
    """How many the set's own recipe would ask about."""
    made = pool.run(
        campaign_recipe(name).pool,
        {"ingest": manifest.run_id},
        store=Store(str(tmp_path / "store")),
        executor=InlineExecutor(),
        resources=Resources(),
    )
    return made.results["num_candidates"]


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sides_of(tmp_path):
    return {row["patient"]: row["side"] for row in table(tmp_path / "out" / "index.csv")}


def voxels_of(image, array_zyx, place_lps):
    """The value that SimpleITK finds at a place."""
    x, y, z = image.TransformPhysicalPointToIndex(place_lps)
    return array_zyx[z, y, x]


def states(folder):
    """Each file's content and time of change."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


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


def embolism(folder, *, more=(), num=4):
    """Scans as MetaImage, NIfTI and NRRD below scans/, with a table of candidates."""
    images = {}
    (folder / "scans").mkdir(parents=True)
    for number in range(num):
        image = folders.image_of(folders.lung(number), direction=folders.FLIPPED if number % 2 else folders.UPRIGHT)
        kind = (".mhd", ".nii.gz", ".nrrd", ".mha")[number % 4]
        sitk.WriteImage(image, str(folder / "scans" / f"pe{number}{kind}"))
        images[f"pe{number}"] = image
    rows = folders.candidates(images)
    folders.write_candidates(folder / "candidates.csv", rows, scan_column="scan", more=more)
    return images, rows


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


@pytest.mark.parametrize(("name", "shape_zyx"), [("ncc", (32, 64, 64)), ("ecc", (64, 64, 64))])
def test_the_middle_of_a_block_is_the_voxel_that_simpleitk_finds_at_the_candidate(name, shape_zyx, tmp_path, theirs):
    if name == "ncc":
        images = folders.luna16(theirs, subsets=(0, 1))
        rows = folders.candidates(images)
        folders.write_candidates(theirs / "candidates_V2.csv", rows)
    else:
        images, rows = embolism(theirs, num=2)
    prepared(name, tmp_path)
    middle = tuple(size // 2 for size in shape_zyx)
    for scan, image in images.items():
        array = sitk.GetArrayFromImage(image)
        mine = [row for row in rows if row.scan == scan]
        with np.load(tmp_path / "out" / "stacks" / f"{scan}.npz") as stack:
            blocks, classes = stack["images"], stack["labels"]
        assert blocks.shape == (len(mine), *shape_zyx)
        assert classes.tolist() == [row.kind for row in mine]
        found = [int(block[middle]) for block in blocks]
        assert found == [int(np.clip(voxels_of(image, array, row.place_lps), -1000, 1000)) for row in mine]


def test_every_voxel_of_a_block_is_where_simpleitk_has_it_and_air_lies_beyond_the_scan(tmp_path, theirs, candidates):
    images, rows = candidates
    prepared("ncc", tmp_path)
    rng = np.random.default_rng(1)
    num_inside = 0
    for scan, image in images.items():
        array = sitk.GetArrayFromImage(image)
        with np.load(tmp_path / "out" / "stacks" / f"{scan}.npz") as stack:
            blocks, spacing = stack["images"], stack["spacing_mm_zyx"]
        for block, row in zip(blocks, [row for row in rows if row.scan == scan], strict=True):
            centre = np.array(image.TransformIndexToPhysicalPoint(row.index_xyz))
            for z, y, x in rng.integers(0, block.shape, (40, 3)).tolist():
                steps_xyz = np.array([x - 32, y - 32, z - 16]) * spacing[::-1]
                index = image.TransformPhysicalPointToIndex((centre + steps_xyz).tolist())
                inside = all(0 <= at < size for at, size in zip(index, image.GetSize(), strict=True))
                num_inside += inside
                expected = int(np.clip(array[index[::-1]], -1000, 1000)) if inside else -1000
                assert block[z, y, x] == expected
    assert num_inside > 100


def test_blocks_of_a_flipped_scan_lie_as_those_of_an_upright_one(tmp_path, theirs):
    voxels = folders.lung(0)
    upright = folders.image_of(voxels)
    flipped = sitk.Flip(upright, (True, True, False))
    for number, image in ((0, upright), (1, flipped)):
        (theirs / f"subset{number}").mkdir(parents=True)
        sitk.WriteImage(image, str(theirs / f"subset{number}" / f"{folders.uid(number)}.mhd"))
    place = upright.TransformIndexToPhysicalPoint((20, 21, 22))
    rows = [folders.Candidate(folders.uid(number), (20, 21, 22), place, 1) for number in (0, 1)]
    folders.write_candidates(theirs / "candidates_V2.csv", rows)
    prepared("ncc", tmp_path)
    stacks = [np.load(tmp_path / "out" / "stacks" / f"{folders.uid(number)}.npz") for number in (0, 1)]
    assert flipped.GetDirection()[0] == -1.0
    assert np.array_equal(stacks[0]["images"], stacks[1]["images"])
    assert np.array_equal(stacks[0]["direction"], stacks[1]["direction"])


def test_a_store_knows_size_direction_and_class_of_every_block_and_no_name(tmp_path, theirs, candidates):
    images, rows = candidates
    prepared("ncc", tmp_path)
    manifest, volumes = ingested("ncc", tmp_path)
    assert manifest.results["num_items"] == len(rows)
    for volume in volumes:
        assert volume.item_shape_zyx == (32, 64, 64)
        np.testing.assert_allclose(volume.grid.spacing_mm_zyx, (1.25, 0.8, 0.7))
        np.testing.assert_allclose(volume.grid.direction, [[0, 0, -1], [0, -1, 0], [1, 0, 0]])
        assert (volume.low, volume.high) == (-1000.0, 1000.0)
        assert sorted(Counter(volume.classes).items()) == [(0, 6), (1, 1)]
    written = b"".join(path.read_bytes() for path in sorted((tmp_path / "store").rglob("*")) if path.is_file())
    assert not any(name.encode() in written for name in images)


def test_the_table_of_blocks_leads_back_to_the_candidates(tmp_path, theirs, candidates):
    _, rows = candidates
    prepared("ncc", tmp_path)
    found = table(tmp_path / "out" / "blocks.csv")
    by_place = {(row.scan, *(f"{v:.6f}" for v in row.place_lps)) for row in rows}
    assert by_place == {
        (row["image"].split("/")[1].removesuffix(".npz"), *(f"{float(row[f'{a}_mm_lps']):.6f}" for a in "xyz"))
        for row in found
    }


def test_negatives_are_capped_a_scan_drawn_by_the_seed_and_no_nodule_is_lost(tmp_path, theirs, candidates):
    def drawn(out, **given):
        wanted = own_set("ncc")
        prepare(wanted, theirs, tmp_path / out, wishes_for(wanted, {"negatives": 2, **given}))
        return (tmp_path / out / "blocks.csv").read_text(), [
            Counter(np.load(path)["labels"].tolist()) for path in sorted((tmp_path / out / "stacks").iterdir())
        ]

    first, counts = drawn("a")
    assert counts == [Counter({0: 2, 1: 1})] * 3
    assert drawn("b")[0] == first
    assert drawn("c", seed=1)[0] != first


def test_what_is_drawn_of_a_scan_does_not_depend_on_other_scans(tmp_path, theirs, candidates):
    wanted, name = own_set("ncc"), folders.uid(9)
    wishes = wishes_for(wanted, {"negatives": 2})
    prepare(wanted, theirs, tmp_path / "all", wishes)
    (theirs / "subset0").rename(tmp_path / "elsewhere")
    prepare(wanted, theirs, tmp_path / "fewer", wishes)
    both = [[row for row in table(tmp_path / out / "blocks.csv") if name in row["image"]] for out in ("all", "fewer")]
    assert both[0] == both[1] != []


def test_a_candidate_outside_its_scan_sets_the_scan_aside_and_the_rest_goes_on(tmp_path, theirs, candidates):
    _, rows = candidates
    x, y, z = rows[0].place_lps
    rows[0] = folders.Candidate(rows[0].scan, rows[0].index_xyz, (-x, -y, z + 500), 1)
    folders.write_candidates(theirs / "candidates_V2.csv", rows)
    done = prepared("ncc", tmp_path)
    assert done.num_images == 2
    [(case, reason)] = done.set_aside
    assert case == rows[0].scan
    assert "lies outside the scan; coordinates must be LPS millimetres" in reason
    assert table(tmp_path / "out" / "set_aside.csv") == [{"case": case, "reason": reason}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b,c,1", "Line 2 of the table: coordinates must be numbers"),
        ("1,2,nan,1", "Line 2 of the table: coordinates must be finite"),
        ("1,2,3,2", "Line 2 of the table: class must be 0 or 1; given '2'"),
    ],
)
def test_a_line_that_cannot_be_meant_is_told_by_its_number(text, reason, tmp_path, theirs):
    folders.luna16(theirs, subsets=[0])
    (theirs / "candidates_V2.csv").write_text(f"seriesuid,coordX,coordY,coordZ,class\n{folders.uid(0)},{text}\n")
    with pytest.raises(DataError, match="None of the 1 cases could be used") as caught:
        prepared("ncc", tmp_path)
    assert reason in str(caught.value)


def test_a_table_without_a_column_names_it_and_those_that_are_needed(tmp_path, theirs):
    folders.luna16(theirs, subsets=[0])
    (theirs / "candidates_V2.csv").write_text("seriesuid,x,y,z\n")
    with pytest.raises(DataError, match=r"no column 'coordX'. Needed: seriesuid, coordX, coordY, coordZ, class"):
        prepared("ncc", tmp_path)


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


def test_a_candidate_table_may_say_patients_and_sides(tmp_path, theirs):
    patient = ("patient", lambda row: "p1" if row.scan in ("pe0", "pe1") else row.scan)
    side = ("side", lambda row: {"pe2": "test", "pe3": "validation"}.get(row.scan, "pool"))
    embolism(theirs, more=(patient, side))
    prepared("ecc", tmp_path)
    rows = table(tmp_path / "out" / "index.csv")
    assert [(row["patient"], row["side"]) for row in rows] == [
        ("p1", "pool"), ("p1", "pool"), ("pe2", "test"), ("pe3", "validation"),
    ]  # fmt: skip


def test_a_side_of_one_scan_is_that_of_its_patient_and_two_are_refused(tmp_path, theirs):
    sides = {"pe0": "test"}
    more = [("patient", lambda row: f"p{int(row.scan[2:]) // 2}"), ("side", lambda row: sides.get(row.scan, ""))]
    _, rows = embolism(theirs, more=more)
    prepared("ecc", tmp_path)
    assert [row["side"] for row in table(tmp_path / "out" / "index.csv") if row["patient"] == "p0"] == ["test"] * 2
    sides["pe1"] = "pool"
    folders.write_candidates(theirs / "candidates.csv", rows, scan_column="scan", more=more)
    with pytest.raises(DataError, match="The patient of scan 'pe1' is on two sides"):
        prepared("ecc", tmp_path)


def test_scans_of_one_patient_are_dealt_to_one_side(tmp_path, theirs):
    embolism(theirs, num=8, more=[("patient", lambda row: f"p{int(row.scan[2:]) // 2}")])
    prepared("ecc", tmp_path)
    pairs = {(row["patient"], row["side"]) for row in table(tmp_path / "out" / "index.csv")}
    assert len(pairs) == 4
    assert {side for _, side in pairs} >= {"pool", "test"}


def test_a_table_that_names_a_scan_that_is_not_there_is_refused(tmp_path, theirs):
    embolism(theirs)
    (theirs / "scans" / "pe1.nii.gz").unlink()
    with pytest.raises(DataError, match=r"names 1 scans that are not in 'scans/', 'pe1' for one"):
        prepared("ecc", tmp_path)


def test_a_dicom_series_is_a_scan_by_its_folders_name(tmp_path, theirs):
    from tests.unit.adapters.dicom_phantoms import ct_series, payload_of

    series = ct_series()
    (theirs / "scans" / "pe9").mkdir(parents=True)
    for number, dataset in enumerate(series):
        (theirs / "scans" / "pe9" / f"{number}.dcm").write_bytes(payload_of(dataset))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(theirs / "scans" / "pe9")))
    image = reader.Execute()
    index = tuple(size // 2 for size in image.GetSize())
    place = image.TransformIndexToPhysicalPoint(index)
    folders.write_candidates(theirs / "candidates.csv", [folders.Candidate("pe9", index, place, 1)], scan_column="scan")
    prepared("ecc", tmp_path)
    with np.load(tmp_path / "out" / "stacks" / "pe9.npz") as stack:
        found = stack["images"][0, 32, 32, 32]
    assert found == int(np.clip(image[index], -1000, 1000))


def test_a_nodule_is_in_the_middle_of_its_crop_at_one_millimetre(tmp_path, theirs):
    middles = folders.lidc(theirs, num=2)
    prepared("ncs", tmp_path)
    for name, places in middles.items():
        for number, place in enumerate(places, start=1):
            file = f"{name}-nodule-{number}.nii.gz"
            image, label = (sitk.ReadImage(str(tmp_path / "out" / part / file)) for part in ("images", "labels"))
            assert image.GetSize() == label.GetSize() == (64, 64, 32)
            np.testing.assert_allclose(image.GetSpacing(), 1.0)
            middle = np.array(image.TransformIndexToPhysicalPoint((32, 32, 16)))
            assert np.abs(middle - place).max() <= 0.5 + 1e-4
            assert label[image.TransformPhysicalPointToIndex(place)] == 1
        assert image[image.TransformPhysicalPointToIndex(places[-1])] == folders.MARKED_HU


def test_a_crop_and_its_mask_are_what_simpleitk_resamples_there(tmp_path, theirs):
    folders.lidc(theirs, num=1)
    prepared("ncs", tmp_path)
    scan, mask = (sitk.ReadImage(str(theirs / part / "LIDC-IDRI-0001.nii.gz")) for part in ("images", "labels"))
    file = "LIDC-IDRI-0001-nodule-2.nii.gz"
    crop, label = (sitk.ReadImage(str(tmp_path / "out" / part / file)) for part in ("images", "labels"))
    clipped = sitk.Clamp(sitk.Cast(scan, sitk.sitkFloat32), sitk.sitkFloat32, -1000, 1000)
    outline = sitk.Resample(mask > 0, crop, sitk.Transform(), sitk.sitkLabelLinear, 0)
    assert np.array_equal(sitk.GetArrayFromImage(outline), sitk.GetArrayFromImage(label))
    # X and Y become coarser and are blurred first, which changes nothing deep inside the nodule.
    linear = sitk.GetArrayFromImage(sitk.Resample(clipped, crop, sitk.Transform(), sitk.sitkLinear, -1000))
    middle = (slice(14, 18), slice(31, 34), slice(31, 34))
    assert np.array_equal(np.rint(linear[middle]), sitk.GetArrayFromImage(crop)[middle])


def test_a_mask_that_marks_nothing_or_lies_elsewhere_is_set_aside(tmp_path, theirs):
    folders.lidc(theirs, num=4)
    empty, moved, alone = (theirs / "labels" / f"LIDC-IDRI-000{number}.nii.gz" for number in (1, 2, 3))
    mask = sitk.ReadImage(str(empty))
    sitk.WriteImage(mask * 0, str(empty))
    mask.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(mask, str(moved))
    (theirs / "images" / alone.name).unlink()
    reasons = dict(prepared("ncs", tmp_path).set_aside)
    assert reasons == {
        "LIDC-IDRI-0001": "The mask marks nothing.",
        "LIDC-IDRI-0002": "The mask is not on the grid of its scan: both must have the same shape and affine.",
        "LIDC-IDRI-0003": "There is no scan of the mask's name.",
    }


def test_1018_scans_are_dealt_as_in_the_thesis():
    shares = {"test": 408 / 1018, "validation": 100 / 1018}
    sides = dealt([str(number) for number in range(1018)], shares, seed=0)
    assert Counter(sides.values()) == {"pool": 510, "validation": 100, "test": 408}
    assert dealt([str(number) for number in range(1018)], shares, seed=1) != sides


def test_a_liver_is_every_label_from_1_on_and_numbers_say_the_side(tmp_path, theirs):
    outlines = folders.lits(theirs)
    prepared("lcs", tmp_path)
    sides = sides_of(tmp_path)
    expected = {0: "pool", 1: "pool", 99: "pool", 100: "validation", 114: "validation", 115: "test", 130: "test"}
    assert sides == {f"volume-{number}": side for number, side in expected.items()}
    for number, drawn in outlines.items():
        found = sitk.ReadImage(str(tmp_path / "out" / "labels" / f"volume-{number}.nii.gz"))
        volume = sitk.ReadImage(str(tmp_path / "out" / "images" / f"volume-{number}.nii"))
        assert np.array_equal(sitk.GetArrayFromImage(found), (drawn >= 1).astype(np.uint8))
        np.testing.assert_allclose(found.GetOrigin(), volume.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(found.GetDirection(), volume.GetDirection(), atol=1e-6)
        np.testing.assert_allclose(found.GetSpacing(), volume.GetSpacing(), atol=1e-6)


def test_a_volume_without_its_segmentation_or_with_a_wrong_one_is_set_aside(tmp_path, theirs):
    folders.lits(theirs)
    batch = theirs / "Training Batch 1"
    (batch / "segmentation-0.nii").unlink()
    sitk.WriteImage(folders.image_of(np.ones((20, 24, 21), np.uint8)), str(batch / "segmentation-1.nii"))
    (theirs / "Training Batch 2" / "segmentation-99.nii").write_bytes(b"nothing of an image")
    moved = folders.image_of(np.ones((20, 24, 22), np.uint8), origin=(0.0, 0.0, 0.0))
    sitk.WriteImage(moved, str(theirs / "Training Batch 2" / "segmentation-100.nii"))
    done = prepared("lcs", tmp_path)
    reasons = dict(done.set_aside)
    assert done.num_images == 3
    assert reasons["volume-0"] == "There is no segmentation of the volume's number."
    assert reasons["volume-1"] == "Its label map is (21, 24, 20), its image (22, 24, 20) (X, Y, Z): they must be equal."
    assert reasons["volume-99"].startswith("A file of it is not NIfTI")
    assert "mm away from its image" in reasons["volume-100"]


def test_a_volume_that_is_there_twice_is_refused(tmp_path, theirs):
    folders.lits(theirs)
    (theirs / "again").mkdir()
    (theirs / "again" / "volume-0.nii").write_bytes(b"x")
    with pytest.raises(DataError, match="volume-0 is there twice"):
        prepared("lcs", tmp_path)


def test_each_patient_of_brats_is_tested_on_in_one_of_three_folds_and_grades_are_spread_alike(tmp_path, theirs):
    folders.brats(theirs, num_high=30, num_low=12)
    tested = []
    for fold in (1, 2, 3):
        cases = own_set("bms").cases(theirs, wishes_for(own_set("bms"), {"fold": fold}))
        counts = Counter(case.side for case in cases)
        assert counts == {"test": 14, "pool": 26, "validation": 2}
        assert Counter(case.name.split("_")[1] for case in cases if case.side == "test") == {"HGG": 10, "LGG": 4}
        tested += [case.name for case in cases if case.side == "test"]
    assert len(set(tested)) == len(tested) == 42


def test_one_sequence_is_taken_as_it_is_and_any_label_is_tumour(tmp_path, theirs):
    folders.brats(theirs)
    prepared("bms", tmp_path, modality="t2")
    name = "Brats18_HGG_0_1"
    assert (theirs / "HGG" / name / f"{name}_t2.nii.gz").samefile(tmp_path / "out" / "images" / f"{name}.nii.gz")
    drawn = sitk.GetArrayFromImage(sitk.ReadImage(str(theirs / "HGG" / name / f"{name}_seg.nii.gz")))
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "labels" / f"{name}.nii.gz")))
    assert np.array_equal(found, (drawn > 0).astype(np.uint8))


def test_all_sequences_are_channels_in_their_order_and_as_bright_as_each_other(tmp_path, theirs):
    folders.brats(theirs)
    prepared("bms", tmp_path, modality="all")
    _, volumes = ingested("bms", tmp_path)
    assert {volume.num_channels for volume in volumes} == {4}
    name = "Brats18_LGG_1_1"
    [item] = [item for item in find_source(str(tmp_path / "out")).items if name in item.image]
    [image] = read_item(str(tmp_path / "out"), item)
    for place, part in enumerate(("t1", "t1ce", "t2", "flair")):
        theirs_zyx = sitk.GetArrayFromImage(sitk.ReadImage(str(theirs / "LGG" / name / f"{name}_{part}.nii.gz")))
        found = image.image_czyx[place]
        brain = theirs_zyx > 0
        assert np.array_equal(found > 0, brain)
        assert np.corrcoef(found[brain], theirs_zyx[brain])[0, 1] > 0.9999
        assert np.percentile(found[brain], 99.5) == pytest.approx(1000, abs=1)


def test_a_patient_without_one_of_the_files_is_set_aside(tmp_path, theirs):
    folders.brats(theirs)
    (theirs / "LGG" / "Brats18_LGG_0_1" / "Brats18_LGG_0_1_seg.nii.gz").unlink()
    done = prepared("bms", tmp_path)
    assert done.set_aside == (("Brats18_LGG_0_1", "A file of it is missing."),)


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


@pytest.mark.parametrize(
    ("given", "message"), [({"fold": 4}, "folds 1 to 3; given 4"), ({"modality": "t1c"}, "'t1ce'")]
)
def test_a_fold_or_sequence_that_there_is_not_is_refused(given, message, tmp_path, theirs):
    folders.brats(theirs)
    with pytest.raises(RecipeError, match=message):
        prepared("bms", tmp_path, **given)


def test_a_misspelt_set_is_guessed():
    with pytest.raises(RecipeError, match="Did you mean 'luna16'"):
        own_set("luna61")


def test_no_path_of_the_users_gets_into_what_is_written_for_machines(tmp_path, theirs, candidates):
    prepared("ncc", tmp_path)
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.suffix in (".json", ".csv", ".txt")]
    assert not any(str(theirs) in text for text in texts)
