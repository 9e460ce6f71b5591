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


def test_sources_travel_to_workers_and_print_without_names():
    source = Source("/home/jane", (SourceItem("jane.png", "jane_label.png", "polyp", "Jane", "pool"),))
    assert pickle.loads(pickle.dumps(source)) == source
    assert "jane" not in repr(source).lower()
    assert "polyp" in repr(source)
