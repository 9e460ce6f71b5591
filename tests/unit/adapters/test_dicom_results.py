"""A model's label map as DICOM comes back voxel for voxel, by whoever reads it, on the files that were sent."""

import io
import zipfile

import highdicom as hd
import numpy as np
import pydicom
import pytest

from hilum.adapters.bodies import dicom_files, read_series
from hilum.adapters.dicom_results import SourceImages
from hilum.adapters.dicom_segmentations import read_segmentation
from hilum.core.errors import DataError
from hilum.testing.dicom_phantoms import as_bytes, ct_series, enhanced_mr, film, picture

CLASSES = ("background", "Liver", "Läsion")
ROWS = np.array([0.9, 0.3, np.sqrt(1 - 0.81 - 0.09)])
COLUMNS = np.cross([0, 0, 1.0], ROWS) / np.linalg.norm(np.cross([0, 0, 1.0], ROWS))
OBLIQUE = (*ROWS, *COLUMNS)
SHAPE = (5, 6, 7)
MOST = 1 << 24


def voxels(shape=SHAPE):
    return np.random.default_rng(0).integers(0, 4000, shape, dtype=np.uint16)


def drawn(shape=SHAPE):
    """Both classes, and an empty slice, in a shape that no flip maps onto itself."""
    label_map = np.zeros(shape, np.uint16)
    label_map[0, 0, 1:] = 1
    label_map[1:3, 2:4, 1:3] = 2
    label_map[-1, -1, 3:5] = 2
    return label_map


def oblique_series(**changes):
    step = 2.5 * np.cross(ROWS, COLUMNS)
    return ct_series(voxels(), step=step, orientation=OBLIQUE, spacing_mm_yx=(0.8, 0.6), **changes)


def shuffled(series):
    files = [as_bytes(one) for one in series]
    np.random.default_rng(3).shuffle(files)
    return files


def found(payload, grid, **how):
    """The label map in a segmentation, by hilum's own reader."""
    label_map = np.zeros(int(np.prod(grid.shape_zyx)), np.uint16)
    for structure in read_segmentation(pydicom.dcmread(io.BytesIO(payload)), grid, **how):
        label_map[structure.voxels] = CLASSES.index(structure.name)
    return label_map.reshape(grid.shape_zyx)


def test_an_oblique_series_in_any_order_is_drawn_voxel_for_voxel():
    series = oblique_series()
    files = shuffled(series)
    image = read_series(files, max_bytes=MOST)
    payload = SourceImages(files, max_bytes=MOST).segmentation(drawn(), CLASSES, checkpoint_id="0a1b2c3d4e5f")
    np.testing.assert_array_equal(found(payload, image.grid), drawn())

    file = hd.seg.segread(io.BytesIO(payload))
    by_source = file.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in series], combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(by_source, drawn() if _is_first(series, image) else drawn()[::-1])
    volume = file.get_volume(combine_segments=True)
    np.testing.assert_allclose(sorted(volume.spacing), [0.6, 0.8, 2.5], rtol=1e-6)


def _is_first(series, image):
    """Whether the first slice of the series is the first of the grid."""
    place = np.array([float(v) for v in series[0].ImagePositionPatient]) * (-1, -1, 1)
    return np.allclose(image.grid.index_to_world((0, 0, 0)), place, atol=1e-3)


def test_it_says_whose_it_is_and_by_which_version():
    series = oblique_series(PatientName="Müller^Ä", SpecificCharacterSet="ISO_IR 100")
    files = shuffled(series)
    payload = SourceImages(files, max_bytes=MOST).segmentation(drawn(), CLASSES, checkpoint_id="0a1b2c3d4e5f")
    made = pydicom.dcmread(io.BytesIO(payload))
    assert str(made.PatientName) == "Müller^Ä"
    assert (made.PatientID, made.StudyInstanceUID) == (series[0].PatientID, series[0].StudyInstanceUID)
    assert made.FrameOfReferenceUID == series[0].FrameOfReferenceUID
    (referenced,) = made.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series[0].SeriesInstanceUID
    assert {one.ReferencedSOPInstanceUID for one in referenced.ReferencedInstanceSequence} == {
        one.SOPInstanceUID for one in series
    }
    assert made.SeriesInstanceUID != series[0].SeriesInstanceUID
    liver, lesion = made.SegmentSequence
    assert (liver.SegmentLabel, lesion.SegmentLabel) == CLASSES[1:]
    (algorithm,) = liver.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("hilum", "0a1b2c3d4e5f")


def test_where_nothing_is_found_every_class_is_still_named():
    files = shuffled(oblique_series())
    grid = read_series(files, max_bytes=MOST).grid
    empty = np.zeros(SHAPE, np.uint16)
    payload = SourceImages(files, max_bytes=MOST).segmentation(empty, CLASSES, checkpoint_id="0a1b2c3d4e5f")
    np.testing.assert_array_equal(found(payload, grid), empty)
    assert len(hd.seg.segread(io.BytesIO(payload)).segment_numbers) == 2


def test_frames_of_one_file_in_any_order_are_drawn_voxel_for_voxel():
    heights = [10.0, 0.0, 20.0, 5.0, 15.0]
    file = enhanced_mr(voxels(), [{"position": (1, 2, height)} for height in heights])
    files = [as_bytes(file)]
    grid = read_series(files, max_bytes=MOST).grid
    payload = SourceImages(files, max_bytes=MOST).segmentation(drawn(), CLASSES, checkpoint_id="0a1b2c3d4e5f")
    np.testing.assert_array_equal(found(payload, grid), drawn())


@pytest.mark.parametrize("frame_of_reference", ["1.2.3", None])
def test_a_picture_without_a_place_is_drawn_too(frame_of_reference):
    files = [as_bytes(picture(voxels((6, 7)), FrameOfReferenceUID=frame_of_reference))]
    grid = read_series(files, max_bytes=MOST).grid
    payload = SourceImages(files, max_bytes=MOST).segmentation(drawn()[:1], CLASSES, checkpoint_id="0a1b2c3d4e5f")
    np.testing.assert_array_equal(found(payload, grid, is_placed=False), drawn()[:1])


def test_a_film_is_refused():
    with pytest.raises(DataError, match="films"):
        SourceImages([as_bytes(film(voxels().astype(np.uint8)))], max_bytes=MOST)


def test_headers_that_are_not_whole_are_refused_without_a_name_in_the_sentence():
    files = shuffled(oblique_series(StudyInstanceUID=None, PatientName="Quokka^Ann"))
    with pytest.raises(DataError, match="not whole") as refused:
        SourceImages(files, max_bytes=MOST).segmentation(drawn(), CLASSES, checkpoint_id="0a1b2c3d4e5f")
    assert "Quokka" not in str(refused.value)


def test_only_dicom_has_files_to_refer_to():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, file in enumerate(shuffled(oblique_series())):
            archive.writestr(f"{number}.dcm", file)
    assert len(dicom_files(stream.getvalue(), max_bytes=MOST)) == SHAPE[0]
    with pytest.raises(DataError, match="send DICOM"):
        dicom_files(b"\x89PNG\r\n\x1a\n", max_bytes=MOST)
