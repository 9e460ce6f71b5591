"""Segmentations of 3D Slicer and MITK: by the names of their segments, wherever they lie."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tests.unit.adapters.drawing import layered, named, segments, used_or_refused
from tests.unit.adapters.oblique_desk import CLASSES, OBLIQUE, SHAPE, Desk, grid, labels

from hilum.adapters.nrrd_segments import read_segments, segments_bytes
from hilum.core.errors import DataError
from hilum.core.geometry import Grid


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path, draft=labels(), dicom=True)


def test_a_segmentation_of_3d_slicer_is_read_by_its_segments_names(desk):
    swapped = np.array([0, 9, 4, 1])[labels()]
    header = named("läsion", "Liver tumour", "liver", "not drawn yet", values=(1, 4, 9, 10))
    (desk.folder / "answer.seg.nrrd").write_bytes(segments(header, swapped, desk.grid))
    assert np.array_equal(desk.told(), labels())


def test_a_segment_called_unanswered_is_left_open(desk):
    header = named("Liver", "liver tumour", "unanswered")
    (desk.folder / "answer.seg.nrrd").write_bytes(segments(header, labels(), desk.grid))
    assert np.array_equal(desk.told(), np.array([0, 1, 2, 65_535])[labels()])


def test_a_cropped_segmentation_is_put_where_it_lies(desk):
    part = Grid((4, 6, 7), desk.grid.spacing_mm_zyx, tuple(desk.grid.index_to_world((1, 0, 0))), desk.grid.direction)
    cropped = segments(named("Liver", "liver tumour", "Läsion"), labels()[1:], part)
    (desk.folder / "answer.seg.nrrd").write_bytes(cropped)
    wanted = labels()
    wanted[0] = 0
    assert np.array_equal(desk.told(), wanted)


def test_a_segmentation_beyond_the_image_is_refused_if_something_is_drawn_there(desk):
    wider = Grid((6, 6, 7), desk.grid.spacing_mm_zyx, tuple(desk.grid.index_to_world((-1, 0, 0))), desk.grid.direction)
    beyond = np.concatenate([np.zeros((1, 6, 7), np.uint16), labels()])
    path = desk.folder / "answer.seg.nrrd"
    path.write_bytes(segments(named("Liver", "liver tumour", "Läsion"), beyond, wider))
    assert np.array_equal(desk.told(), labels())
    beyond[0, 0, :2] = 1
    path.write_bytes(segments(named("Liver", "liver tumour", "Läsion"), beyond, wider))
    assert "2 of its voxels lie outside the image" in desk.refusal()


def test_segments_in_several_layers_are_one_answer_where_they_do_not_overlap(desk):
    layers = [labels() == 1, 2 * (labels() == 2) + (labels() == 3)]
    layered(
        desk.folder, layers, desk.grid, named("Liver", "Läsion", "liver tumour", values=(1, 1, 2), layers=(0, 1, 1))
    )
    assert np.array_equal(desk.told(), labels())


def test_a_voxel_of_two_classes_is_given_back_to_be_decided(desk):
    layers = [labels() > 0, labels() == 2]
    layered(desk.folder, layers, desk.grid, named("Liver", "liver tumour", values=(1, 1), layers=(0, 1)))
    assert f"share {np.count_nonzero(labels() == 2)} voxels; give each voxel to one of them" in desk.refusal()


def test_an_old_segmentation_has_a_layer_for_each_segment(desk):
    layers = [labels() == value for value in (1, 2, 3)]
    names = ("Liver", "liver tumour", "Läsion")
    layered(desk.folder, layers, desk.grid, {f"Segment{n}_Name": name for n, name in enumerate(names)})
    assert np.array_equal(desk.told(), labels())


def test_a_segmentation_of_mitk_is_read_by_its_labels_names(desk):
    groups = [
        {"labels": [{"name": "Liver", "value": 1}, {"name": "Läsion", "value": 3, "color": {"type": "ColorProperty"}}]},
        {"labels": [{"name": "Liver Tumour", "value": 7}]},
    ]
    header = {
        "modality": "org.mitk.multilabel.segmentation",
        "org.mitk.multilabel.segmentation.labelgroups": json.dumps(groups, ensure_ascii=False),
    }
    layered(desk.folder, [np.where(labels() == 2, 0, labels()), 7 * (labels() == 2)], desk.grid, header)
    (desk.folder / "answer.seg.nrrd").rename(desk.folder / "answer.nrrd")
    assert np.array_equal(desk.told(), labels())


BAD_SEGMENTS = {
    "a default name": (named("Segment_1", "liver tumour", "Läsion"), "No class is called 'Segment_1'"),
    "a slip": (named("Livre", "liver tumour", "Läsion"), "Did you mean 'Liver'?"),
    "no name": (named("", "liver tumour", "Läsion"), "has no name"),
    "a value that nobody has": (named("Liver", "liver tumour"), "it has the value 3, which none of its segments has"),
    "a layer that is not there": (named("Liver", "liver tumour", "Läsion") | {"Segment2_Layer": 4}, "lies in layer 4"),
    "no number": (named("Liver") | {"Segment0_LabelValue": "one"}, "damaged"),
    "no labels": ({"org.mitk.multilabel.segmentation.labelgroups": "{}{"}, "damaged"),
}


@pytest.mark.parametrize("what", BAD_SEGMENTS)
def test_segments_that_cannot_be_used_are_refused_in_words(desk, what):
    header, reason = BAD_SEGMENTS[what]
    voxels = np.where(labels() == 3, 0, labels()) if what == "a layer that is not there" else labels()
    (desk.folder / "answer.seg.nrrd").write_bytes(segments(header, voxels, desk.grid))
    assert reason in desk.refusal()


@settings(max_examples=40, deadline=None)
@given(
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.booleans()] * 3),
)
def test_any_turn_and_flip_of_any_oblique_grid_is_undone(degrees, order, flips):
    rotation = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    where = grid(rotation @ OBLIQUE, shape_zyx=SHAPE)
    turned = labels().transpose(order)
    axes = np.asarray(where.direction)[:, order]
    spacing = np.asarray(where.spacing_mm_zyx)[list(order)]
    origin = np.asarray(where.origin_mm_xyz)
    for axis, flip in enumerate(flips):
        if flip:
            origin = origin + axes[:, axis] * spacing[axis] * (turned.shape[axis] - 1)
            axes = axes * np.where(np.arange(3) == axis, -1, 1)
            turned = np.flip(turned, axis)
    other = Grid(turned.shape, tuple(spacing.tolist()), tuple(origin.tolist()), tuple(map(tuple, axes.tolist())))
    content = segments(named("Liver", "liver tumour", "Läsion"), turned, other)
    found = read_segments(content, where, ("background", "Liver", "liver tumour", "Läsion"))
    assert np.array_equal(found, labels())


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_segmentation_with_any_wrong_byte_is_read_or_refused_in_a_sentence(place, value):
    where = grid(shape_zyx=SHAPE)
    raw = bytearray(segments_bytes(labels(), where, CLASSES))
    raw[place % len(raw)] = value
    found = used_or_refused(lambda: read_segments(bytes(raw), where, CLASSES))
    assert found is None or (found.shape == SHAPE and found.max() < len(CLASSES))


@pytest.mark.parametrize("origin", ["(1e300,0,0)", "(nan,0,0)", "(1e19,1e19,1e19)", "()"])
def test_a_segmentation_from_another_world_is_refused(origin):
    where = grid(shape_zyx=SHAPE)
    head, _, body = segments_bytes(labels(), where, CLASSES).partition(b"space origin: ")
    raw = head + b"space origin: " + origin.encode() + body[body.index(b"\n") :]
    with pytest.raises(DataError):
        read_segments(raw, where, CLASSES)


@pytest.mark.parametrize(
    "directions", ["(1e300,0,0) (0,1,0) (0,0,1)", "(0,0,0) (0,1,0) (0,0,1)", "(1,0,0) (1,0,0) (0,0,1)"]
)
def test_a_segmentation_on_impossible_axes_is_refused(directions):
    where = grid(shape_zyx=SHAPE)
    head, _, body = segments_bytes(labels(), where, CLASSES).partition(b"space directions: ")
    raw = head + b"space directions: " + directions.encode() + body[body.index(b"\n") :]
    with pytest.raises(DataError):
        read_segments(raw, where, CLASSES)
