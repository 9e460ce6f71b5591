"""Label maps as other programs take them: on the image's own grid, of the very files that were sent."""

import io
import logging
import zipfile

import highdicom as hd
import numpy as np
import pydicom
import pytest
import zarr
from tests.services.test_inference import CLASSIFY, GRID, SEGMENT, Served, as_png, frame, nifti_bytes, post, scan

from hilum.adapters.bodies import read_body
from hilum.adapters.dicom_segmentations import read_segmentation
from hilum.testing.dicom_phantoms import as_bytes, ct_series

ROWS = np.array([0.9, 0.3, np.sqrt(1 - 0.81 - 0.09)])
COLUMNS = np.cross([0, 0, 1.0], ROWS) / np.linalg.norm(np.cross([0, 0, 1.0], ROWS))


def series():
    """An oblique, anisotropic CT."""
    place = {"orientation": (*ROWS, *COLUMNS), "spacing_mm_yx": (0.8, 0.6)}
    return ct_series(scan()[0].astype(np.uint16), step=2.5 * np.cross(ROWS, COLUMNS), **place)


def zipped(slices):
    files = [as_bytes(one) for one in slices]
    np.random.default_rng(3).shuffle(files)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, file in enumerate(files):
            archive.writestr(f"{number}.dcm", file)
    return stream.getvalue()


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path)
    made.versions = {"liver": made.champion("liver", SEGMENT), "chest": made.champion("chest", CLASSIFY, seed=1)}
    with made.start() as url:
        made.url = url
        yield made


def label_map_of(served, body):
    return np.load(io.BytesIO(post(served, "liver/segment", body, format="npy").content), allow_pickle=False)


def test_a_series_comes_back_as_a_segmentation_of_its_own_slices(served, caplog):
    slices = series()
    body = zipped(slices)
    with caplog.at_level(logging.DEBUG):
        answer = post(served, "liver/segment", body, format="dicom-seg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom"), answer.text
    assert answer.headers["hilum-version"] == served.versions["liver"]

    label_map = label_map_of(served, body)
    assert label_map.any()
    made = pydicom.dcmread(io.BytesIO(answer.content))
    (lesion,) = read_segmentation(made, read_body(body, max_bytes=1 << 28).grid)
    assert lesion.name == "lesion"
    np.testing.assert_array_equal(np.sort(lesion.voxels), np.flatnonzero(label_map))
    assert (
        made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion
        == (served.versions["liver"])
    )

    # highdicom's reader, slice by slice of the source; the grid runs along the series or against it.
    by_source = hd.seg.segread(io.BytesIO(answer.content)).get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in slices], combine_segments=True, assert_missing_frames_are_empty=True
    )
    first = np.array([float(v) for v in slices[0].ImagePositionPatient]) * (-1, -1, 1)
    grid = read_body(body, max_bytes=1 << 28).grid
    runs_along = np.allclose(grid.index_to_world((0, 0, 0)), first, atol=1e-3)
    np.testing.assert_array_equal(by_source, label_map if runs_along else label_map[::-1])

    # Whose it is goes to the caller alone.
    assert made.PatientID == "P-17"
    for word in ("P-17", "Nobody", *(str(one.SOPInstanceUID) for one in slices)):
        assert word not in caplog.text
    assert not list((served.keys.parent / "store").glob("jobs/*"))


@pytest.mark.parametrize("body", [nifti_bytes(scan(), GRID), as_png(frame())])
def test_a_segmentation_of_what_is_no_dicom_is_refused(served, body):
    answer = post(served, "liver/segment", body, format="dicom-seg")
    assert (answer.status_code, "send DICOM" in answer.json()["error"]) == (422, True)


def test_a_job_never_holds_whose_image_it_is(tmp_path):
    made = Served(tmp_path, at_once_voxels=1000)
    made.champion("liver", SEGMENT)
    with made.start() as url:
        made.url = url
        body = zipped(series())
        for more in ({}, {"later": True}):
            answer = post(made, "liver/segment", body, format="dicom-seg", **more)
            assert (answer.status_code, "keeps no DICOM headers" in answer.json()["error"]) == (422, True)
    assert not list((tmp_path / "store").glob("jobs/*"))


def test_an_ome_zarr_is_the_label_map_at_its_place(served, tmp_path):
    body = nifti_bytes(scan(), GRID)
    answer = post(served, "liver/segment", body, format="ome-zarr")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip"), answer.text
    (tmp_path / "answer.zip").write_bytes(answer.content)
    with zarr.storage.ZipStore(tmp_path / "answer.zip", mode="r") as store:
        group = zarr.open_group(store, mode="r")
        label_map = label_map_of(served, body)
        assert label_map.any()
        np.testing.assert_array_equal(group["0"][:], label_map)
        scale, _ = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
        np.testing.assert_allclose(scale["scale"], GRID.spacing_mm_zyx, rtol=1e-6)
