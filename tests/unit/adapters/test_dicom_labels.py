"""Labels in DICOM land on the very voxels they were drawn on, belong to the series they name, and tell no names."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from pydicom.data import get_testdata_file
from tests.unit.adapters.dicom_phantoms import (
    OBLIQUE,
    SHAPE_ZYX,
    STRAIGHT,
    contour,
    ct_series,
    drawn_ZYX,
    lps_of,
    payload_of,
    segmentation,
    square,
    structure_set,
)

from hilum.adapters.dicom import read_dicom
from hilum.adapters.dicom_contours import inside
from hilum.adapters.dicom_labels import read_labels
from hilum.adapters.nifti import grid_of
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.sources import ReadImage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def image_of(slices):
    (image,) = read_dicom([payload_of(one) for one in slices])
    return image


def labels_on(slices, label, **options):
    return read_labels(payload_of(label), image_of(slices), **options)


@pytest.mark.parametrize("orientation", [STRAIGHT, OBLIQUE, (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)])
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_every_voxel_of_a_segmentation_lands_where_it_was_drawn(orientation, kind):
    slices = ct_series(orientation=orientation)
    mask = drawn_ZYX()
    mask[2] = 0  # a slice without it is left out of the file
    found = labels_on(slices, segmentation(slices, mask[..., np.newaxis], ["Liver"], kind=kind))
    assert found.class_names == ("background", "Liver")
    assert np.array_equal(found.label_map_zyx, mask)
    assert found.flags == ()


def test_a_segmentation_lands_where_an_independent_reader_puts_it():
    slices = ct_series(orientation=OBLIQUE)
    made = segmentation(slices, drawn_ZYX()[..., np.newaxis], ["Liver"])
    image = image_of(slices)
    found = read_labels(payload_of(made), image).label_map_zyx
    theirs = made.get_volume(combine_segments=True)
    places = {tuple(np.round(p, 3)) for p in theirs.map_indices_to_reference(np.argwhere(theirs.array == 1))}
    ours = {tuple(np.round(image.grid.index_to_world(i) * [-1, -1, 1], 3) + 0.0) for i in np.argwhere(found == 1)}
    assert {tuple(v + 0.0 for v in p) for p in places} == ours


def test_frames_in_any_order_and_a_cut_out_are_placed_by_their_own_position():
    slices = ct_series()
    inner = [one for one in slices if one.InstanceNumber in (2, 3, 4)]
    mask = drawn_ZYX(shape=(3, *SHAPE_ZYX[1:]))
    made = segmentation(inner, mask[..., np.newaxis], ["Liver"])
    frames = list(made.PerFrameFunctionalGroupsSequence)
    pixels = made.pixel_array
    made.PerFrameFunctionalGroupsSequence = frames[::-1]
    made.PixelData = np.packbits(pixels[::-1].reshape(-1), bitorder="little").tobytes()
    made.PixelData += b"\0" * (len(made.PixelData) % 2)
    found = labels_on(slices, made).label_map_zyx
    assert np.array_equal(found[1:4], mask)
    assert not found[[0, 4]].any()


def test_a_lesion_stays_visible_inside_its_organ_and_the_overlap_is_said():
    slices = ct_series()
    masks = np.zeros((*SHAPE_ZYX, 2), np.uint8)
    masks[1:4, 2:10, 2:14, 0] = 1
    masks[2, 4:6, 4:6, 1] = 1
    found = labels_on(slices, segmentation(slices, masks, ["Liver", "Lesion"]))
    assert found.class_names == ("background", "Lesion", "Liver")
    assert np.array_equal(found.label_map_zyx == 1, masks[..., 1] == 1)
    assert np.array_equal(found.label_map_zyx == 2, (masks[..., 0] == 1) & (masks[..., 1] == 0))
    assert found.flags == ("overlapping_labels",)


def test_the_larger_fraction_wins_and_less_than_half_is_background():
    slices = ct_series()
    fractions = np.zeros((*SHAPE_ZYX, 2), np.float32)
    fractions[0, 0, :4, 0] = [0.4, 0.6, 0.9, 0.6]
    fractions[0, 0, :4, 1] = [0.0, 0.0, 0.6, 0.9]
    made = segmentation(slices, fractions, ["A side", "B side"], kind="FRACTIONAL", max_fractional_value=200)
    found = labels_on(slices, made)
    assert found.label_map_zyx[0, 0, :4].tolist() == [0, 1, 1, 2]
    assert np.count_nonzero(found.label_map_zyx) == 3


def test_values_count_in_the_list_that_is_given_and_other_structures_are_left_out():
    slices = ct_series()
    masks = np.stack([drawn_ZYX(1), drawn_ZYX(2)], axis=-1)
    masks[..., 0] &= 1 - masks[..., 1]
    made = segmentation(slices, masks, ["Spleen", "Liver"])
    found = labels_on(slices, made, class_names=("background", "Kidney", "Liver"))
    assert np.array_equal(found.label_map_zyx == 2, masks[..., 1] == 1)
    assert set(np.unique(found.label_map_zyx)) == {0, 2}
    with pytest.raises(DataError, match="None of the 2 structures"):
        labels_on(slices, made, class_names=("background", "Lung"))


def test_a_segmentation_of_another_grid_is_refused_never_resampled():
    slices = ct_series()
    mask = drawn_ZYX()[..., np.newaxis]
    finer = ct_series("finer")
    for one in finer:
        one.PixelSpacing = [0.4, 0.35]
    shifted = ct_series("shifted", origin=(-20.0 + 0.35, -30.0, 40.0))
    turned = ct_series("turned", orientation=OBLIQUE)
    larger = ct_series("larger", shape_zyx=(5, 12, 17))
    for others in (finer, shifted, turned):
        with pytest.raises(DataError, match="another grid"):
            labels_on(slices, segmentation(others, mask, ["Liver"]))
    with pytest.raises(DataError, match="another grid"):
        labels_on(slices, segmentation(larger, np.ones((5, 12, 17, 1), np.uint8), ["Liver"]))
    beyond = ct_series("beyond", origin=(-20.0 + 0.7 * 3, -30.0, 40.0))
    with pytest.raises(DataError, match="beyond its image"):
        labels_on(slices, segmentation(beyond, np.ones((*SHAPE_ZYX, 1), np.uint8), ["Liver"]))


def test_an_image_without_a_place_takes_a_segmentation_frame_by_frame_and_no_contours():
    slices = ct_series()
    mask = drawn_ZYX()
    placeless = ReadImage(
        np.zeros((1, *SHAPE_ZYX), np.uint8), Grid(SHAPE_ZYX), (1, *SHAPE_ZYX[1:]), flags=("position_unknown",)
    )
    made = segmentation(slices, mask[..., np.newaxis], ["Liver"])
    numbers = {one.SOPInstanceUID: one.InstanceNumber for one in slices}
    named = [f.DerivationImageSequence[0].SourceImageSequence[0] for f in made.PerFrameFunctionalGroupsSequence]
    for source in named:
        source.ReferencedFrameNumber = numbers[source.ReferencedSOPInstanceUID]
    assert np.array_equal(read_labels(payload_of(made), placeless).label_map_zyx, mask)
    named[0].ReferencedFrameNumber = 9
    with pytest.raises(DataError, match="beyond its image"):
        read_labels(payload_of(made), placeless)
    with pytest.raises(DataError, match="no place in the patient"):
        read_labels(payload_of(structure_set({"Liver": [square(slices, 1, 2, 5)]})), placeless)


@pytest.mark.parametrize("orientation", [STRAIGHT, OBLIQUE])
def test_voxels_whose_centres_lie_inside_a_contour_are_the_structure(orientation):
    slices = ct_series(orientation=orientation)
    found = labels_on(slices, structure_set({"Liver": [square(slices, 1, 1.5, 5.5), square(slices, 3, 2.5, 3.5)]}))
    expected = np.zeros(SHAPE_ZYX, np.uint16)
    expected[1, 2:6, 2:6] = 1
    expected[3, 3, 3] = 1
    assert found.class_names == ("background", "Liver")
    assert np.array_equal(found.label_map_zyx, expected)


def test_an_inner_contour_cuts_a_hole_drawn_apart_or_through_a_keyhole():
    slices = ct_series()
    apart = [square(slices, 1, 1.5, 9.5), square(slices, 1, 3.5, 6.5)]
    outer = [(1, 1.5, 1.5), (1, 1.5, 9.5), (1, 9.5, 9.5), (1, 9.5, 1.5), (1, 1.5, 1.5)]
    inner = [(1, 3.5, 3.5), (1, 6.5, 3.5), (1, 6.5, 6.5), (1, 3.5, 6.5), (1, 3.5, 3.5)]
    keyhole = [contour(lps_of(slices, outer + inner))]
    expected = np.zeros(SHAPE_ZYX, bool)
    expected[1, 2:10, 2:10] = True
    expected[1, 4:7, 4:7] = False
    for contours in (apart, keyhole):
        found = labels_on(slices, structure_set({"Ring": contours})).label_map_zyx
        assert np.array_equal(found == 1, expected)


def test_points_and_open_lines_have_no_area_and_are_left_out():
    slices = ct_series()
    line = contour(lps_of(slices, [(1, 2, 2), (1, 2, 8), (1, 8, 8)]), kind="OPEN_PLANAR")
    made = structure_set({"Isocentre": [contour(lps_of(slices, [(1, 2, 2)]), kind="POINT")], "Wire": [line]})
    with pytest.raises(DataError, match="no closed contour"):
        labels_on(slices, made)
    made = structure_set({"Wire": [line], "Liver": [square(slices, 1, 1.5, 5.5)]})
    assert labels_on(slices, made).class_names == ("background", "Liver")


@pytest.mark.parametrize(
    ("corners", "reason"),
    [
        ([(1.5, 2, 2), (1.5, 2, 8), (1.5, 8, 8)], "does not lie on a slice"),
        ([(0, 2, 2), (2, 2, 8), (1, 8, 8)], "does not lie on a slice"),
        ([(7, 2, 2), (7, 2, 8), (7, 8, 8)], "outside its image"),
        ([(1, 2, 2), (1, 2, 8)], "at least three points"),
    ],
)
def test_a_contour_that_cannot_have_been_drawn_on_this_image_is_refused(corners, reason):
    slices = ct_series()
    with pytest.raises(DataError, match=reason):
        labels_on(slices, structure_set({"Liver": [contour(lps_of(slices, corners))]}))


def test_a_real_segmentation_keeps_every_voxel_it_has():
    path = get_testdata_file("liver.dcm", download=False)
    made = pydicom.dcmread(path)
    positions = [f.PlanePositionSequence[0].ImagePositionPatient for f in made.PerFrameFunctionalGroupsSequence]
    y, x = (float(v) for v in made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing)
    first = np.array(min(positions, key=lambda p: p[2]), dtype=float)
    affine = np.array([[-x, 0, 0, -first[0]], [0, -y, 0, -first[1]], [0, 0, 1, first[2]], [0, 0, 0, 1]])
    image = blank(grid_of(affine, (3, 512, 512)))
    found = read_labels(Path(path).read_bytes(), image)
    order = np.argsort([p[2] for p in positions])
    assert found.class_names == ("background", "Liver")
    assert np.array_equal(found.label_map_zyx, made.pixel_array[order])


def test_a_real_structure_set_without_a_preamble_is_drawn_slice_by_slice():
    payload = Path(get_testdata_file("rtstruct.dcm", download=False)).read_bytes()
    affine = np.array([[-50.0, 0, 0, 300], [0, -50, 0, 200], [0, 0, 10, -200], [0, 0, 0, 1]])
    found = read_labels(payload, blank(grid_of(affine, (3, 9, 13))))
    assert found.class_names == ("background", "patient")  # its other two structures are points
    # The first outline is a square from −200 to 200 and from −150 to 150 mm; an edge belongs to one side.
    expected = np.zeros((9, 13), bool)
    expected[1:7, 2:10] = True
    assert np.array_equal(found.label_map_zyx[0] == 1, expected)


def blank(grid):
    return ReadImage(np.zeros((1, *grid.shape_zyx), np.uint8), grid, grid.shape_zyx)


CORNERS = st.lists(st.tuples(*[st.integers(-30, 150).map(lambda n: n / 7 + 0.013)] * 2), min_size=3, max_size=9)


@settings(max_examples=100)
@given(CORNERS, st.integers(0, 3))
def test_filling_starts_at_any_corner_either_way_round_and_two_equal_outlines_leave_nothing(corners, turn):
    points = np.array(corners)
    filled = inside([points], (20, 14))
    assert np.array_equal(filled, inside([np.roll(points, turn, axis=0)], (20, 14)))
    assert np.array_equal(filled, inside([points[::-1]], (20, 14)))
    assert not inside([points, points], (20, 14)).any()


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0.2, 6.28), st.floats(2.0, 8.0)), min_size=3, max_size=12, unique_by=lambda c: c[0])
)
def test_a_star_shaped_outline_is_filled_as_matplotlib_fills_it(polar):
    angles, radii = np.array(sorted(polar)).T
    points_yx = np.stack([9.137 + radii * np.sin(angles), 8.731 + radii * np.cos(angles)], axis=1)
    centres = np.stack(np.meshgrid(np.arange(20), np.arange(18), indexing="ij"), axis=-1).reshape(-1, 2)
    closed = np.vstack([points_yx, points_yx[:1]])
    # Centres on the outline belong to either side.
    steps = np.linspace(0, 1, 400)[:, np.newaxis, np.newaxis]
    dense = (closed[:-1] * (1 - steps) + closed[1:] * steps).reshape(-1, 2)
    clear = np.array([np.abs(dense - c).max(axis=1).min() > 0.05 for c in centres])
    theirs = Outline(closed, closed=True).contains_points(centres)
    ours = inside([points_yx], (20, 18)).reshape(-1)
    # matplotlib winds, we count: they differ where a star-shaped outline never crosses itself not at all.
    if np.diff(np.append(angles, angles[0] + 2 * np.pi)).max() < np.pi:
        assert np.array_equal(ours[clear], theirs[clear])


@pytest.mark.parametrize("name", ["Quokka lesion", "ann_tumour", "tumour Q-77341", "QUOKKA"])
def test_a_structure_named_after_its_patient_is_refused_without_repeating_the_name(name):
    slices = ct_series()
    for made in (
        segmentation(slices, drawn_ZYX()[..., np.newaxis], [name]),
        structure_set({name: [square(slices, 1, 1.5, 5.5)]}),
    ):
        with pytest.raises(DataError, match="repeats the patient's name or number") as refusal:
            labels_on(slices, made)
        assert name not in str(refusal.value)


def test_names_come_in_one_line_and_a_structure_without_one_is_refused():
    slices = ct_series()
    assert labels_on(slices, structure_set({" GTV \r\n  1": [square(slices, 1, 1, 5)]})).class_names[1] == "GTV 1"
    with pytest.raises(DataError, match="has no name"):
        labels_on(slices, structure_set({"": [square(slices, 1, 1, 5)]}))


def test_a_label_cut_short_at_any_byte_or_an_image_in_its_place_is_refused():
    slices = ct_series()
    image = image_of(slices)
    payload = payload_of(segmentation(slices, drawn_ZYX()[..., np.newaxis], ["Liver"]))
    for end in np.linspace(0, len(payload) - 2, 60).astype(int):
        with pytest.raises(DataError):
            read_labels(payload[:end], image)
    with pytest.raises(DataError, match="neither a segmentation nor a structure set"):
        read_labels(payload_of(slices[0]), image)


def test_a_structure_set_cut_short_never_draws_less_than_it_had():
    slices = ct_series()
    payload = payload_of(structure_set({"A": [square(slices, z, 1.5, 5.5) for z in range(3)], "B": []}))
    whole = read_labels(payload, IMAGE).label_map_zyx
    for end in range(0, len(payload), 5):
        try:
            found = read_labels(payload[:end], IMAGE)
        except DataError:
            continue
        assert np.array_equal(found.label_map_zyx, whole), end


@settings(max_examples=150)
@given(st.integers(0, 10**9), st.integers(0, 255), st.booleans())
def test_a_damaged_label_is_read_or_refused_and_nothing_else(where, value, contours):
    slices = ct_series()
    made = structure_set({"Liver": [square(slices, 1, 1.5, 5.5)]}) if contours else SEGMENTATION
    payload = bytearray(payload_of(made))
    payload[where % len(payload)] = value
    try:
        found = read_labels(bytes(payload), IMAGE)
    except DataError:
        return
    assert found.label_map_zyx.shape == SHAPE_ZYX


IMAGE = image_of(ct_series())
SEGMENTATION = segmentation(ct_series(), drawn_ZYX()[..., np.newaxis], ["Liver"])
