"""Files that belong together are found by their headers, wherever they lie and whatever they are called."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from hilum.adapters.dicom import read_dicom
from hilum.adapters.dicom_discovery import FILES_AT_A_TIME, START_BYTES, group_series
from hilum.core.errors import DataError
from hilum.testing.dicom_phantoms import as_bytes, ct_series, enhanced_mr, film, picture

VOXELS = np.arange(5 * 4 * 6, dtype=np.int16).reshape(5, 4, 6)


def written(folder, files):
    """Write ``files`` ({path: dataset or bytes}) and group them, sorted lists of paths first."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else as_bytes(content))
    return group_series(str(folder), list(files))


def files_of(items):
    return [list(item.files) for item in items]


def test_a_series_is_one_item_whatever_its_files_are_called(tmp_path):
    names = ["z", "b/IM7.dcm", "a.txt", "b/c/0001", "IMG"]
    items = written(tmp_path, dict(zip(names, ct_series(VOXELS), strict=True)))
    assert files_of(items) == [sorted(names)]


def test_series_in_one_folder_are_told_apart(tmp_path):
    files = {f"{n}-{s}": d for s in ("x", "y") for n, d in enumerate(ct_series(VOXELS, series=s))}
    items = written(tmp_path, files)
    assert files_of(items) == [[f"{n}-x" for n in range(5)], [f"{n}-y" for n in range(5)]]


@given(st.permutations(range(5)))
@settings(deadline=None, max_examples=10)
def test_the_list_is_the_same_in_whatever_order_files_are_found(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("series")
    slices = ct_series(VOXELS)
    shuffled = written(folder, {f"{n}.dcm": slices[n] for n in order})
    assert shuffled == group_series(str(folder), sorted(f"{n}.dcm" for n in order))


def test_pictures_and_films_of_one_series_are_items_each(tmp_path):
    pixels = np.ones((4, 6), np.uint16)
    frames = np.ones((3, 4, 6), np.uint8)
    enhanced = enhanced_mr(VOXELS, [{"position": (0, 0, 4.0 * n)} for n in range(5)])
    items = written(tmp_path, {"a": picture(pixels), "b": picture(pixels + 1), "c": film(frames), "d": enhanced})
    assert files_of(items) == [["a"], ["b"], ["c"], ["d"]]


def test_parts_of_a_concatenation_belong_together(tmp_path):
    parts = [
        enhanced_mr(VOXELS[s], [{"position": (0, 0, 4.0 * n)} for n in range(5)[s]], ConcatenationUID="1.2.3")
        for s in (slice(0, 2), slice(2, 5))
    ]
    (item,) = written(tmp_path, {"a": parts[0], "b": parts[1]})
    (image,) = read_dicom([(tmp_path / file).read_bytes() for file in item.files])
    assert np.array_equal(image.image_czyx[0], VOXELS)


def test_complete_copies_in_two_folders_are_two_items(tmp_path):
    slices = ct_series(VOXELS)
    items = written(tmp_path, {f"{folder}/{n}": d for folder in ("a", "b") for n, d in enumerate(slices)})
    assert files_of(items) == [[f"a/{n}" for n in range(5)], [f"b/{n}" for n in range(5)]]


def test_a_slice_that_is_twice_in_one_folder_stays_to_be_refused(tmp_path):
    slices = ct_series(VOXELS)
    (item,) = written(tmp_path, {f"{n}": d for n, d in enumerate([*slices, slices[2]])})
    with pytest.raises(DataError, match="Slice 3 of 5 .* is there 2 times"):
        read_dicom([(tmp_path / file).read_bytes() for file in item.files])


def test_half_a_copy_in_another_folder_is_not_taken_for_a_series(tmp_path):
    slices = ct_series(VOXELS)
    files = {f"a/{n}": d for n, d in enumerate(slices)} | {f"b/{n}": d for n, d in enumerate(slices[:2])}
    assert len(written(tmp_path, files)) == 1


def test_what_cannot_be_understood_is_an_item_of_its_own_and_stops_nobody(tmp_path):
    files = {f"s/{n}": d for n, d in enumerate(ct_series(VOXELS))}
    bad = {"a-text": b"nothing of the kind", "b-empty": b"", "c-cut": as_bytes(ct_series(VOXELS)[0])[:200]}
    items = written(tmp_path, {**files, **bad})
    assert files_of(items) == [["a-text"], ["b-empty"], ["c-cut"], [f"s/{n}" for n in range(5)]]


def test_a_file_that_is_not_there_is_an_item_of_its_own(tmp_path):
    assert files_of(group_series(str(tmp_path), ["gone.dcm"])) == [["gone.dcm"]]


def test_a_dicomdir_is_neither_believed_nor_an_image(tmp_path):
    directory = Path(get_testdata_file("DICOMDIR", download=False)).read_bytes()
    files = {f"{n}": d for n, d in enumerate(ct_series(VOXELS))}
    items = written(tmp_path, {**files, "DICOMDIR": directory})
    assert files_of(items) == [[f"{n}" for n in range(5)]]


def test_a_header_longer_than_what_is_read_at_first_is_found(tmp_path):
    long = ct_series(VOXELS)
    for dataset in long:
        dataset.add_new(0x00091001, "OB", b"x" * (START_BYTES + 10))
    assert len(written(tmp_path, {f"{n}": d for n, d in enumerate(long)})) == 1


def test_slices_inside_an_archive_are_grouped_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for n, dataset in enumerate(ct_series(VOXELS)):
            archive.writestr(f"deep/{n}.dcm", as_bytes(dataset))
    names = [f"scan.zip!/deep/{n}.dcm" for n in range(5)]
    assert files_of(group_series(str(tmp_path), names)) == [names]


def test_nobody_is_named_when_an_item_is_shown(tmp_path):
    (item,) = written(tmp_path, {f"Nobody^At^All/{n}": d for n, d in enumerate(ct_series(VOXELS))})
    assert "Nobody" not in repr(item)


def test_a_long_series_is_one_item_and_a_file_that_cannot_be_read_hides_none_of_it(tmp_path):
    voxels = np.zeros((FILES_AT_A_TIME + 7, 2, 2), np.int16)
    for n, one in enumerate(ct_series(voxels)):
        (tmp_path / f"{n:03}").write_bytes(as_bytes(one))
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    items = group_series(str(tmp_path), [*(f"{n:03}" for n in range(len(voxels))), "gone"])
    assert files_of(items) == [[f"{n:03}" for n in range(len(voxels))], ["gone"]]
