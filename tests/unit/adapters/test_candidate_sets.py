"""NCC and ECC: blocks around listed candidates, every voxel where its set says it is."""

from collections import Counter

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its own name for itself)
from tests.unit.adapters import thesis_folders as folders
from tests.unit.adapters.thesis_folders import embolism
from tests.unit.adapters.thesis_runs import ingested, prepared, table

from hilum.adapters.own_preparing import prepare
from hilum.adapters.own_sets import own_set, wishes_for
from hilum.core.errors import DataError


def voxels_of(image, array_zyx, place_lps):
    """The value that SimpleITK finds at a place."""
    x, y, z = image.TransformPhysicalPointToIndex(place_lps)
    return array_zyx[z, y, x]


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
