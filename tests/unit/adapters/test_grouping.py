"""Files that belong together become one image, whatever they are called; what lies beside images is passed over."""

import io
import zipfile

import fsspec
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 (what everybody calls it)

from hilum.adapters.folders import find_source
from hilum.adapters.grouping import group, lies_beside, voxels_of
from hilum.adapters.reading import read_item
from hilum.core.errors import DataError
from hilum.core.sources import SourceItem
from hilum.testing.dicom_phantoms import as_bytes, ct_series

SCAN = np.random.default_rng(0).integers(0, 100, (4, 5, 6)).astype(np.int16)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def write_pair(folder, name, data=SCAN):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Pair(data, np.eye(4)), folder / name)


def write_series(folder, series, num=4):
    """A CT whose file names say nothing of the order of its slices."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(series)).integers(0, 2000, (num, 8, 9)).astype(np.uint16)
    for number, dataset in enumerate(ct_series(pixels, series=series)):
        (folder / f"{series}-{(number * 7) % 10}").write_bytes(as_bytes(dataset))
    return pixels


def zipped(members):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, payload in members.items():
            archive.writestr(name, payload)
    return sink.getvalue()


def images(folder):
    return [item.image for item in find_source(str(folder)).items]


def read(folder):
    source = find_source(str(folder))
    return {item.image: next(iter(read_item(source.root, item))) for item in source.items}


def test_a_header_takes_its_voxels_with_it(tmp_path):
    write_pair(tmp_path, "a.hdr")
    write_pair(tmp_path, "sub/b.img.gz")
    touch(tmp_path, "alone.img", "lonely.hdr")
    items = find_source(str(tmp_path)).items
    assert [(item.image, item.parts) for item in items] == [
        ("a.hdr", ("a.img",)),
        ("alone.img", ()),
        ("lonely.hdr", ()),
        ("sub/b.hdr.gz", ("sub/b.img.gz",)),
    ]
    for item in (items[0], items[3]):
        (found,) = read_item(str(tmp_path), item)
        assert np.array_equal(found.image_czyx[0], SCAN.T)
    for item in items[1:3]:
        with pytest.raises(DataError):
            list(read_item(str(tmp_path), item))


@pytest.mark.parametrize("ending", ["mhd", "nhdr"])
def test_a_header_that_names_its_voxels_takes_them_with_it(tmp_path, ending):
    sitk.WriteImage(sitk.GetImageFromArray(SCAN), str(tmp_path / f"a.{ending}"))
    (item,) = find_source(str(tmp_path)).items
    assert (item.image, item.parts) == (f"a.{ending}", ("a.raw",))
    (found,) = read_item(str(tmp_path), item)
    assert np.array_equal(found.image_czyx[0], SCAN)


def test_a_header_never_takes_what_lies_elsewhere(tmp_path):
    touch(tmp_path, "secret.raw", "in/sub/b.raw")
    for number, name in enumerate(["../secret.raw", str(tmp_path / "secret.raw"), "sub/b.raw", "gone.raw"]):
        (tmp_path / "in" / f"{number}.mhd").write_text(f"NDims = 1\nDimSize = 2\nElementDataFile = {name}\n")
        assert voxels_of(str(tmp_path / "in"), f"{number}.mhd") is None


def test_a_pair_inside_an_archive_is_a_pair(tmp_path):
    write_pair(tmp_path / "out", "a.hdr")
    members = {f"x/a.{kind}": (tmp_path / "out" / f"a.{kind}").read_bytes() for kind in ("hdr", "img")}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.zip").write_bytes(zipped(members))
    (item,) = find_source(str(tmp_path / "in")).items
    assert (item.image, item.parts) == ("a.zip!/x/a.hdr", ("a.zip!/x/a.img",))
    (found,) = read_item(str(tmp_path / "in"), item)
    assert np.array_equal(found.image_czyx[0], SCAN.T)


def test_slices_are_found_by_their_content_and_stacked_by_their_place(tmp_path):
    one = write_series(tmp_path / "x", "one")
    two = write_series(tmp_path / "x", "twos", 6)
    (tmp_path / "x" / "notes.txt").write_text("no image")
    items = find_source(str(tmp_path)).items
    assert [len(item.parts) + 1 for item in items] == [4, 6]
    for item, pixels in zip(items, (one, two), strict=True):
        (found,) = read_item(str(tmp_path), item)
        assert np.array_equal(found.image_czyx[0], pixels.astype(np.int32) - 1024)


def test_a_series_in_an_archive_is_the_series_in_its_folder(tmp_path):
    write_series(tmp_path / "a" / "x", "one")
    members = {f"x/{path.name}": path.read_bytes() for path in (tmp_path / "a" / "x").iterdir()}
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.zip").write_bytes(zipped(members))
    (here,), (there,) = read(tmp_path / "a").values(), read(tmp_path / "b").values()
    assert here.image_digest() == there.image_digest()
    assert here.grid == there.grid


def test_one_bad_slice_refuses_its_series_and_no_other(tmp_path):
    write_series(tmp_path / "good", "good")
    write_series(tmp_path / "bad", "bad")
    slices = sorted((tmp_path / "bad").iterdir())
    slices[1].write_bytes(slices[1].read_bytes()[:-40])
    source = find_source(str(tmp_path))
    answers = {}
    for item in source.items:
        try:
            answers[item.image.split("/")[0]] = len(list(read_item(source.root, item)))
        except DataError:
            answers[item.image.split("/")[0]] = 0
    assert answers == {"good": 1, "bad": 0}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("notes.txt", True),
        ("a/README", True),
        ("a/LICENSE", True),
        (".DS_Store", True),
        ("x/Thumbs.db", True),
        ("__MACOSX/._a.png", True),
        ("a.zip!/__MACOSX/a.png", True),
        ("dwi.bval", True),
        ("a.png", False),
        ("1.2.840.113619", False),
        ("noname", False),
        ("a.bmp", False),
        ("..\\evil.png", False),
    ],
)
def test_what_lies_beside_images_everywhere_is_passed_over_and_the_rest_is_not(name, expected):
    assert lies_beside(name) == expected


def test_a_file_of_an_unknown_kind_is_told_and_not_passed_over(tmp_path):
    touch(tmp_path, "a.bmp", "b", "c.tar.gz", "d.txt")
    source = find_source(str(tmp_path))
    assert [item.image for item in source.items] == ["a.bmp", "b", "c.tar.gz"]
    for item in source.items:
        with pytest.raises(DataError, match="No reader"):
            list(read_item(source.root, item))


def test_archives_are_looked_into_and_an_empty_or_broken_one_is_told(tmp_path):
    (tmp_path / "good.zip").write_bytes(zipped({"b.png": b"1", "notes.txt": b"2", "a/c.npy": b"3"}))
    (tmp_path / "none.zip").write_bytes(zipped({"notes.txt": b"2"}))
    (tmp_path / "torn.zip").write_bytes(zipped({"b.png": b"1"})[:-9])
    assert images(tmp_path) == ["good.zip!/a/c.npy", "good.zip!/b.png", "none.zip", "torn.zip"]
    with pytest.raises(DataError, match="no image"):
        list(read_item(str(tmp_path), SourceItem("none.zip")))
    with pytest.raises(DataError, match="cut short"):
        list(read_item(str(tmp_path), SourceItem("torn.zip")))


def test_an_archive_is_a_source_of_its_own(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"b.png": b"1", "c.png": b"2"}))
    source = find_source(str(tmp_path / "a.zip"))
    assert [item.image for item in source.items] == ["a.zip!/b.png", "a.zip!/c.png"]
    assert len(set(source.digests)) == 2
    before = source.fingerprint
    (tmp_path / "a.zip").write_bytes(zipped({"b.png": b"1", "c.png": b"3"}))
    assert find_source(str(tmp_path / "a.zip")).fingerprint != before


def test_an_index_may_name_a_series_by_its_folder_and_its_labels_by_a_header(tmp_path):
    pixels = write_series(tmp_path / "ct", "one")
    write_pair(tmp_path, "scan.hdr")
    write_pair(tmp_path, "truth.hdr", (SCAN % 3).astype(np.uint8))
    lines = ["image,label,patient", "ct,,p1", "scan.hdr,truth.hdr,p2"]
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    series, scan = find_source(str(tmp_path)).items
    assert (len(series.parts), series.patient) == (3, "p1")
    assert scan.parts == ("scan.img", "truth.img")
    (found,) = read_item(str(tmp_path), series)
    assert np.array_equal(found.image_czyx[0], pixels.astype(np.int32) - 1024)
    (found,) = read_item(str(tmp_path), scan)
    assert np.array_equal(found.label_map_zyx, SCAN.T % 3)


def test_a_label_of_the_name_of_a_series_folder_belongs_to_the_series(tmp_path):
    write_series(tmp_path / "images" / "case-1", "one")
    touch(tmp_path, "labels/case-1.nii.gz")
    (item,) = find_source(str(tmp_path)).items
    assert (len(item.parts), item.label) == (3, "labels/case-1.nii.gz")


def test_nothing_is_read_for_files_whose_ending_says_what_they_are(tmp_path):
    touch(tmp_path, "b.png", "a.nii.gz")
    assert group(str(tmp_path), ["b.png", "a.nii.gz", "never-there.png"]) == [
        SourceItem("a.nii.gz"),
        SourceItem("b.png"),
        SourceItem("never-there.png"),
    ]


def test_a_dicom_file_without_a_preamble_is_found_too(tmp_path):
    dataset = pydicom.dcmread(io.BytesIO(as_bytes(ct_series(np.zeros((1, 4, 4), np.uint16))[0])))
    (tmp_path / "bare").write_bytes(as_bytes(dataset, preamble=False))
    (found,) = read(tmp_path).values()
    assert found.modality == "CT"


@pytest.fixture
def bucket():
    """A folder that is on no disk."""
    memory = fsspec.filesystem("memory")
    yield memory, "memory://grouping"
    memory.rm("/grouping", recursive=True)


def test_a_folder_that_is_on_no_disk_is_read_like_one_that_is(tmp_path, bucket):
    memory, root = bucket
    write_series(tmp_path / "ct", "one")
    write_pair(tmp_path, "a.hdr")
    (tmp_path / "b.zip").write_bytes(zipped({"x/c.png": b"no image"}))
    (tmp_path / "notes.txt").write_text("no image")
    memory.put(str(tmp_path), "/grouping", recursive=True)
    here, there = find_source(str(tmp_path)), find_source(root)
    assert there.items == here.items
    assert there.fingerprint == here.fingerprint
    assert [item.image for item in there.items] == ["a.hdr", "b.zip!/x/c.png", here.items[2].image]
    for number in (0, 2):
        (one,), (other,) = (list(read_item(source.root, source.items[number])) for source in (here, there))
        assert one.image_digest() == other.image_digest()
    assert [item.image for item in find_source(f"{root}/*.hdr").items] == ["a.hdr"]
    assert [item.parts for item in find_source(f"{root}/*.hdr").items] == [("a.img",)]


def test_images_and_labels_on_no_disk_are_paired(bucket):
    memory, root = bucket
    for name in ("images/a.png", "labels/a.png", "images/b.png"):
        memory.pipe(f"/grouping/{name}", name.encode())
    pairs = [(item.image, item.label) for item in find_source(root).items]
    assert pairs == [("images/a.png", "labels/a.png"), ("images/b.png", None)]
