"""Answers as DICOM segmentations: of the question's own series, by name, on the question's grid."""

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.adapters.drawing import slices_of, used_or_refused, write_segmentation
from tests.unit.adapters.oblique_desk import CLASSES, SHAPE, Desk, labels

from hilum.adapters.dicom_answers import read_dicom_answer
from hilum.adapters.dicom_patches import uid_of


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path, draft=labels(), dicom=True)


ORIENTATIONS = ("RAS", "LPS", "LAI", "PIR", "SLA", "IPL", "ASR", "RIP")


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_a_dicom_segmentation_on_other_axes_of_the_same_grid_is_restored(desk, code):
    drawn = hd.seg.segread(desk.folder / "draft.dcm").get_volume(combine_segments=True)
    write_segmentation(desk, drawn.to_patient_orientation(tuple(code.translate(str.maketrans("SI", "HF")))))
    assert np.array_equal(desk.told(), labels())


def test_segments_are_known_by_their_names_whatever_their_numbers(desk):
    # Drawn in another order: number 1 is class 3.
    swapped = np.array([0, 3, 2, 1], np.uint16)[labels()]
    write_segmentation(desk, swapped, names=("läsion", "Liver_Tumour", "LIVER"))
    assert np.array_equal(desk.told(), labels())


def test_a_dicom_segmentation_with_an_unknown_name_is_refused(desk):
    write_segmentation(desk, labels(), names=("Liver", "Segment_2", "Läsion"))
    assert "No class is called 'Segment_2'" in desk.refusal()


def test_overlapping_dicom_segments_are_given_back(desk):
    masks = np.stack([labels() > 0, labels() == 2, labels() == 3], axis=-1).astype(np.uint8)
    write_segmentation(desk, masks)
    assert "give each voxel to one of them" in desk.refusal()


def test_a_dicom_segmentation_of_another_grid_is_refused(desk):
    sources = slices_of(desk)
    for one in sources:
        one.PixelSpacing = [0.8, 0.9]
    write_segmentation(desk, labels(), sources=sources)
    assert "lies on another grid" in desk.refusal()


def test_a_dicom_segmentation_of_another_question_is_refused_although_it_fits(desk):
    sources = slices_of(desk)
    for one in sources:
        one.SeriesInstanceUID = uid_of("0000deadbeef", "series")
    write_segmentation(desk, labels(), sources=sources)
    assert "drawn on another image than this question's" in desk.refusal()


def test_an_image_saved_as_a_dicom_answer_is_refused(desk):
    (desk.folder / "dicom" / "0001.dcm").rename(desk.folder / "answer.dcm")
    assert "DICOM but not a segmentation" in desk.refusal()


@pytest.fixture(scope="module")
def dicom_answer(tmp_path_factory):
    desk = Desk(tmp_path_factory.mktemp("answer"), draft=labels(), dicom=True)
    return (desk.folder / "draft.dcm").read_bytes(), desk


@settings(max_examples=150, deadline=None)
@given(share=st.floats(0, 0.9999), value=st.integers(0, 255))
def test_a_dicom_answer_with_any_wrong_byte_is_read_or_refused_in_a_sentence(dicom_answer, share, value):
    payload, desk = dicom_answer
    raw = bytearray(payload)
    raw[int(share * len(raw))] = value
    found = used_or_refused(
        lambda: read_dicom_answer(bytes(raw), desk.grid, candidate_id=desk.task.candidate_id, class_names=CLASSES)
    )
    assert found is None or (found.shape == SHAPE and found.max() < len(CLASSES))
