"""What is given to ingest is named by its content, and shows nothing of people when it is printed."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.geometry import Grid
from hilum.core.sources import ReadImage, Source, SourceItem


def image_of(array_ZYX, **said):
    return ReadImage(array_ZYX[np.newaxis], Grid(array_ZYX.shape), array_ZYX.shape, **said)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["u1", "<i2", ">i2", "<u4", "<f4", ">f4"]))
def test_a_digest_follows_the_values_and_not_how_memory_holds_them(seed, dtype):
    array = np.random.default_rng(seed).integers(0, 100, (2, 3, 4)).astype(dtype)
    swapped = array.astype(array.dtype.newbyteorder())
    fortran = np.asfortranarray(array)
    digests = {image_of(a).image_digest() for a in (array, swapped, fortran, array[:, ::-1][:, ::-1])}
    assert len(digests) == 1


def test_another_value_type_or_shape_is_another_digest():
    array = np.zeros((2, 3, 4), np.int16)
    changed = array.copy()
    changed[1, 2, 3] = 1
    others = [changed, array.astype(np.uint16), array.reshape(3, 2, 4), array.astype(np.float32)]
    assert len({image_of(a).image_digest() for a in [array, *others]}) == 5


def test_an_image_without_labels_has_no_label_digest():
    array = np.zeros((1, 2, 2), np.uint8)
    assert image_of(array).label_digest() is None
    assert image_of(array, label_map_zyx=array.astype(np.uint16)).label_digest() is not None


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50), st.sampled_from(["measured", "photograph"]))
def test_the_grey_range_is_finite_and_never_empty(values, intensity):
    low, high = image_of(np.array(values, np.float32).reshape(1, 1, -1), intensity=intensity).grey_range()
    assert np.isfinite([low, high]).all()
    assert low < high
    assert low >= min(values)


def test_two_files_without_patients_are_two_people_and_no_file_is_mistaken_for_a_patient():
    a, b = SourceItem("a.png"), SourceItem("b.png")
    assert a.patient_or_file != b.patient_or_file
    assert SourceItem("x.png", patient="a.png").patient_or_file != a.patient_or_file


@pytest.mark.parametrize(
    "change", [{"class_name": "x"}, {"patient": "p"}, {"side": "test"}, {"label": "l.png"}, {"image": "other.png"}]
)
def test_whatever_is_said_of_an_item_changes_the_fingerprint(change):
    before = Source("/data", (SourceItem("a.png"),), digests=("d",))
    after = Source("/data", (SourceItem(**({"image": "a.png"} | change)),), digests=("d",))
    assert before.fingerprint != after.fingerprint
    assert before.fingerprint == Source("/elsewhere", before.items, digests=("d",)).fingerprint
    assert before.fingerprint != Source("/data", before.items, digests=("e",)).fingerprint


def test_a_further_label_file_changes_the_fingerprint_and_none_leaves_old_names_alone():
    plain = Source("/d", (SourceItem("a", "l"),), digests=("x", "y"))
    assert plain.fingerprint == "46b836406a4fb6f620d9a2b1f72f43c051eab61ba1f2179b34182e7e8c837826"
    more = Source("/d", (SourceItem("a", "l", older_labels=("m",)),), digests=("x", "y"))
    assert more.fingerprint != plain.fingerprint
    assert more.items[0].files == ("a", "l", "m")


def test_sources_travel_to_workers_and_print_without_names():
    source = Source("/home/jane", (SourceItem("jane.png", "jane_label.png", "polyp", "Jane", "pool"),))
    assert pickle.loads(pickle.dumps(source)) == source
    assert "jane" not in repr(source).lower()
    assert "polyp" in repr(source)


@given(st.lists(st.integers(-1000, 3000), min_size=2, max_size=60))
def test_measured_levels_run_from_the_half_to_the_ninety_nine_and_a_half_percentile(values):
    low, high = image_of(np.array(values, np.int16).reshape(1, 1, -1)).grey_range()
    expected = np.percentile(values, [0.5, 99.5])
    assert low == pytest.approx(expected[0])
    if expected[1] > expected[0]:
        assert high == pytest.approx(expected[1])


def test_one_very_bright_voxel_does_not_darken_a_scan():
    scan = np.random.default_rng(0).normal(100, 10, (10, 20, 20)).astype(np.float32)
    spiked = scan.copy()
    spiked[0, 0, 0] = 1e6
    np.testing.assert_allclose(image_of(spiked).grey_range(), image_of(scan).grey_range(), atol=1)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_dark_photograph_stays_dark(dtype, white):
    dark = np.array([[[3, 7, 20]]], dtype)
    assert image_of(dark, intensity="photograph").grey_range() == (0, white)


def test_a_drawing_of_two_levels_uses_both():
    assert image_of(np.array([[[0, 1, 1]]], np.uint8), intensity="photograph").grey_range() == (0, 1)


def test_a_photograph_with_fractions_is_measured():
    bright = np.linspace(0, 1, 1000, dtype=np.float32).reshape(1, 10, 100)
    assert image_of(bright, intensity="photograph").grey_range() == image_of(bright).grey_range()


@pytest.mark.parametrize("level", [0, -7, 250])
def test_an_image_of_one_level_has_a_range_all_the_same(level):
    assert image_of(np.full((1, 4, 4), level, np.int16)).grey_range() == (level, level + 1)


def test_a_few_lesion_voxels_in_air_are_not_lost():
    scan = np.zeros((1, 100, 100), np.int16)
    scan[0, 5, 5:8] = 900
    assert image_of(scan).grey_range() == (0, 900)


def test_the_order_of_files_is_part_of_the_fingerprint():
    a, b = SourceItem("a.png"), SourceItem("b.png")
    assert Source("/d", (a, b)).fingerprint != Source("/d", (b, a)).fingerprint
    assert Source("/d", (a,), class_names=("x", "y")).fingerprint != Source("/d", (a,)).fingerprint


def test_no_two_ways_to_say_something_of_a_file_are_confused():
    """Missing and empty are different, and nothing runs together at the seams."""
    items = [
        SourceItem("a", label="b"),
        SourceItem("a", class_name="b"),
        SourceItem("a", patient="b"),
        SourceItem("ab"),
        SourceItem("a", label=""),
        SourceItem("a"),
    ]
    assert len({Source("/d", (item,)).fingerprint for item in items}) == len(items)
