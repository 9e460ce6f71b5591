"""What a segment's name means, and what becomes of segments that nobody can place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.answer_labels import label_named, labels_by_name
from hilum.adapters.dicom_structures import CERTAIN, Structure
from hilum.core.asking import IGNORE
from hilum.core.errors import DataError

CLASSES = ("background", "Left Kidney", "left kidney cyst", "Läsion")


def structure(name, *voxels):
    return Structure(name, np.array(voxels, np.int64), np.full(len(voxels), CERTAIN, np.uint8))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Left Kidney", 1),
        ("left_kidney", 1),
        ("LEFT  KIDNEY ", 1),
        ("left kidney cyst", 2),
        ("LÄSION", 3),
        ("Background", 0),
        ("unanswered", IGNORE),
        ("Unanswered", IGNORE),
    ],
)
def test_a_name_means_its_class_in_any_case_and_with_underscores(name, label):
    assert label_named(name, CLASSES) == label


def test_of_two_classes_that_differ_in_case_alone_the_very_name_counts():
    assert [label_named(name, ("background", "CSF", "csf")) for name in ("CSF", "csf", "Csf")] == [1, 2, 1]


def test_a_class_called_unanswered_is_a_class():
    assert label_named("unanswered", ("background", "unanswered")) == 1


@pytest.mark.parametrize("name", ["kidney", "Segment_1", "1", "left kidney cysts"])
def test_another_name_is_refused_with_those_that_are_known(name):
    with pytest.raises(DataError, match="Known: .*Left Kidney.*; or 'unanswered'"):
        label_named(name, CLASSES)


def test_what_nobody_drew_is_background_and_an_empty_segment_may_be_called_anything():
    found = labels_by_name([structure("Left_Kidney", 1, 2), structure("Segment_9")], (1, 2, 3), CLASSES)
    assert found.ravel().tolist() == [0, 1, 1, 0, 0, 0]
    assert not labels_by_name([], (1, 2, 3), CLASSES).any()


def test_two_segments_of_one_class_are_one_even_where_they_overlap():
    found = labels_by_name([structure("Läsion", 0, 1), structure("läsion", 1, 2)], (1, 1, 4), CLASSES)
    assert found.ravel().tolist() == [3, 3, 3, 0]


def test_an_answer_that_leaves_every_voxel_open_is_none():
    with pytest.raises(DataError, match="answers no voxel"):
        labels_by_name([structure("unanswered", 0, 1)], (1, 1, 2), CLASSES)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.permutations([1, 2, 3]))
def test_labels_do_not_depend_on_the_order_of_segments(labels, order):
    drawn = np.array(labels)
    segments = [structure(CLASSES[label], *np.flatnonzero(drawn == label)) for label in order]
    assert labels_by_name(segments, (1, 1, len(labels)), CLASSES).ravel().tolist() == labels
