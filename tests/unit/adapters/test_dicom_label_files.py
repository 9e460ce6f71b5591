"""Which label file belongs to which image, and how several of one image become one label map."""

import numpy as np
import pytest
from tests.unit.adapters.dicom_phantoms import (
    SHAPE_ZYX,
    ct_series,
    drawn_ZYX,
    payload_of,
    segmentation,
    square,
    structure_set,
)

from hilum.adapters.dicom import read_dicom
from hilum.adapters.dicom_labels import label_names, labels_of_series, may_be_labels, read_labels
from hilum.core.errors import DataError
from hilum.core.sources import SourceItem

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
(IMAGE,) = read_dicom([payload_of(one) for one in ct_series()])
SEGMENTATION = segmentation(ct_series(), drawn_ZYX()[..., np.newaxis], ["Liver"])
ORGANS = {name: drawn_ZYX(seed, share=0.3) for seed, name in enumerate(("Liver", "Spleen", "Kidney"))}
SIZES = {name: int(mask.sum()) for name, mask in ORGANS.items()}


def organ(name, *, when="20200101", mask_ZYX=None, **options):
    drawn = ORGANS[name] if mask_ZYX is None else mask_ZYX
    return segmentation(ct_series(), drawn[..., np.newaxis], [name], when=when, **options)


def together(*files, **options):
    newest, *older = (payload_of(file) for file in files)
    return read_labels(newest, IMAGE, older=older, **options)


def test_organs_in_files_of_their_own_are_united_and_the_smallest_stays_visible():
    found = together(*(organ(name) for name in ORGANS))
    assert found.class_names == ("background", "Kidney", "Liver", "Spleen")
    expected = np.zeros(SHAPE_ZYX, int)
    for name in sorted(ORGANS, key=lambda name: -SIZES[name]):
        expected[ORGANS[name] == 1] = found.class_names.index(name)
    assert len(set(SIZES.values())) == 3
    assert np.array_equal(found.label_map_zyx, expected)
    assert found.flags == ("overlapping_labels",)


def test_files_that_do_not_overlap_are_united_without_a_flag_and_one_file_of_both_is_the_same():
    left, right = ORGANS["Liver"].copy(), ORGANS["Spleen"].copy()
    left[..., 8:], right[..., :8] = 0, 0
    apart = together(organ("Liver", mask_ZYX=left), organ("Spleen", mask_ZYX=right))
    both = segmentation(ct_series(), np.stack([left, right], axis=-1), ["Liver", "Spleen"])
    assert np.array_equal(apart.label_map_zyx, together(both).label_map_zyx)
    assert apart.flags == ()


def test_a_structure_drawn_twice_is_the_newest_drawing_and_other_structures_of_the_older_file_stay():
    again = drawn_ZYX(9, share=0.1)
    stacked = np.stack([ORGANS["Liver"], np.zeros(SHAPE_ZYX, np.uint8)], axis=-1)
    stacked[0, 0, 0] = (0, 1)
    again[0, 0, 0] = 0
    older = segmentation(ct_series(), stacked, ["Liver", "Spleen"], when="20190101")
    found = together(organ("Liver", mask_ZYX=again), older)
    assert np.array_equal(found.label_map_zyx == 1, again == 1)
    assert np.argwhere(found.label_map_zyx == 2).tolist() == [[0, 0, 0]]


def test_contours_and_voxels_are_united_and_an_unsure_fraction_yields_to_what_is_certain():
    slices = ct_series()
    unsure = np.zeros(SHAPE_ZYX, np.float32)
    unsure[1, 2:6, 2:6] = 0.75
    fractions = segmentation(slices, unsure[..., np.newaxis], ["Tumour"], kind="FRACTIONAL", max_fractional_value=100)
    lines = structure_set({"Liver": [square(slices, 1, 1, 4)]}, series=slices[:1])
    for found in (together(fractions, lines), together(lines, fractions)):
        liver = together(lines).label_map_zyx == 1
        assert np.array_equal(found.label_map_zyx == 1, liver)
        assert np.array_equal(found.label_map_zyx == 2, (unsure > 0) & ~liver)


def test_classes_that_are_named_are_counted_over_all_files_and_a_bad_file_is_told_by_its_place():
    found = together(organ("Liver"), organ("Spleen"), class_names=("background", "Spleen", "Liver"))
    assert set(np.unique(found.label_map_zyx)) == {0, 1, 2}
    bad = organ("Spleen")
    bad.SegmentSequence[0].SegmentLabel = "Quokka"
    with pytest.raises(DataError, match=r"Label file 2 of 2, the newest first: A structure's name repeats"):
        together(organ("Liver"), bad)


def test_several_label_files_of_a_series_are_all_its_own_the_newest_first_whatever_their_kind(tmp_path):
    slices = ct_series()
    item, files = item_of("a", slices)
    made = {
        "p": organ("Liver", when="20200101"),
        "q": structure_set({"Kidney": [square(slices, 1, 1, 5)]}, series=slices[:1], when="20210101"),
        "r": organ("Spleen", when="20220101"),
        "s": segmentation(slices, np.stack([*ORGANS.values()], axis=-1)[..., :2], ["Liver", "Spleen"], when="20180101"),
    }
    root, names = folder_of(tmp_path, **files, **made)
    (labelled, outdated) = labels_of_series(root, [item], names)
    assert labelled.labels == ("r", "q", "p")
    assert outdated == SourceItem("s")
    assert label_names(root, [labelled]) == ("background", "Kidney", "Liver", "Spleen")
    assert set(labelled.files) == {*files, "p", "q", "r"}


def test_a_label_whose_names_cannot_be_used_is_not_passed_over(tmp_path):
    item, files = item_of("a", ct_series())
    bad = organ("Spleen", when="20190101")
    bad.SegmentSequence[0].SegmentLabel = "Quokka"
    root, names = folder_of(tmp_path, **files, p=organ("Liver"), q=bad)
    (labelled,) = labels_of_series(root, [item], names)
    assert labelled.labels == ("p", "q")


def folder_of(tmp_path, **files):
    for name, made in files.items():
        (tmp_path / name).write_bytes(payload_of(made))
    return str(tmp_path), sorted(files)


def item_of(name, slices):
    names = [f"{name}{one.InstanceNumber}" for one in slices]
    return SourceItem(names[0], parts=tuple(names[1:]), patient=name), dict(zip(names, slices, strict=True))


def test_a_label_goes_to_the_series_it_names_among_neighbours_of_one_study(tmp_path):
    first, second = ct_series("first"), ct_series("second")
    item_a, files_a = item_of("a", first)
    item_b, files_b = item_of("b", second)
    made = {
        "x": structure_set({"Liver": [square(second, 1, 1, 5)]}, series=[second[0]]),
        "y": segmentation(first, drawn_ZYX()[..., np.newaxis], ["Spleen"]),
    }
    root, names = folder_of(tmp_path, **files_a, **files_b, **made)
    found = labels_of_series(root, [item_a, item_b, SourceItem("x"), SourceItem("y")], names)
    assert [(item.image, item.label, item.patient) for item in found] == [("a1", "y", "a"), ("b1", "x", "b")]
    assert [item.parts for item in found] == [item_a.parts, item_b.parts]
    assert label_names(root, found) == ("background", "Liver", "Spleen")


def test_a_series_in_two_items_gives_its_label_to_the_one_whose_slices_were_drawn_on(tmp_path):
    slices = ct_series()
    low = [one for one in slices if one.InstanceNumber <= 2]
    high = [one for one in slices if one.InstanceNumber > 2]
    item_a, files_a = item_of("a", low)
    item_b, files_b = item_of("b", high)
    drawn = square(slices, 3, 1, 5, image=next(one for one in slices if one.InstanceNumber == 4))
    for references in ([slices[0]], []):
        made = structure_set({"Liver": [drawn]}, series=references)
        root, names = folder_of(tmp_path, **files_a, **files_b, x=made)
        found = labels_of_series(root, [item_a, item_b], names)
        assert [item.label for item in found] == [None, "x"]


def test_without_series_and_slices_the_frame_of_reference_decides_if_only_one_image_has_it(tmp_path):
    here, there = ct_series("here", frame="one"), ct_series("there", frame="two")
    item_a, files_a = item_of("a", here)
    item_b, files_b = item_of("b", there)
    made = structure_set({"Liver": [square(there, 1, 1, 5)]}, frame="two")
    root, names = folder_of(tmp_path, **files_a, **files_b, x=made)
    assert [item.label for item in labels_of_series(root, [item_a, item_b], names)] == [None, "x"]
    item_c, files_c = item_of("c", ct_series("third", frame="two"))
    root, names = folder_of(tmp_path, **files_c)
    found = labels_of_series(root, [item_a, item_b, item_c], [*names, "x"])
    assert [item.label for item in found] == [None, None, None, None]
    assert found[-1] == SourceItem("x")


def test_the_newest_of_two_labels_is_taken_and_every_other_label_file_stays_to_be_refused(tmp_path):
    slices = ct_series()
    item, files = item_of("a", slices)
    old = segmentation(slices, drawn_ZYX()[..., np.newaxis], ["Liver"], when="20190101")
    new = segmentation(slices, drawn_ZYX(1)[..., np.newaxis], ["Liver"], when="20210101")
    stranger = structure_set({"Liver": [square(slices, 1, 1, 5)]}, series=ct_series("elsewhere")[:1])
    root, names = folder_of(tmp_path, **files, p=new, q=old, r=stranger)
    found = labels_of_series(root, [item, SourceItem("p", parts=("q",))], names)
    assert found[0].label == "p"
    assert found[1:] == [SourceItem("q"), SourceItem("r")]


def test_a_label_that_the_owner_named_is_kept_and_a_source_without_dicom_labels_is_left_alone(tmp_path):
    slices = ct_series()
    item, files = item_of("a", slices)
    owned = SourceItem(item.image, label="mine.nii.gz", parts=item.parts)
    made = segmentation(slices, drawn_ZYX()[..., np.newaxis], ["Liver"])
    (tmp_path / "notes").write_text("1.2.840.10008.5.1.4.1.1.66.4 is only mentioned here")
    root, names = folder_of(tmp_path, **files, p=made)
    assert labels_of_series(root, [owned], [*names, "notes"]) == [owned, SourceItem("p")]
    assert labels_of_series(root, [item], sorted(files)) == [item]
    assert label_names(root, [item, owned]) == ()


def test_only_segmentations_and_structure_sets_are_taken_for_labels():
    slices = ct_series()
    assert may_be_labels(payload_of(SEGMENTATION)[:4096])
    assert may_be_labels(payload_of(structure_set({"L": []}))[:4096])
    assert not may_be_labels(payload_of(slices[0])[:4096])
    assert not may_be_labels(b"1.2.840.10008.5.1.4.1.1.66.4")
