"""Volumes: scans of one item, stacks of many, and the patches that lie in them."""

import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.geometry import Grid, Patch
from hilum.core.imaging import SIDES, Study, Volume


def stack(depth=1, num=12, classes=()):
    return Volume(
        volume_id="a1b2c3",
        study=Study("study", "patient"),
        grid=Grid((depth * num, 8, 8)),
        item_shape_zyx=(depth, 8, 8),
        num_channels=1,
        modality="MR",
        low=0.0,
        high=1.0,
        has_label_map=False,
        classes=classes,
    )


@given(st.integers(1, 7), st.integers(1, 20))
def test_a_stack_holds_as_many_items_as_fit_along_z(depth, num):
    assert stack(depth, num).num_items == num


def test_a_scan_is_one_item():
    assert stack(depth=30, num=1).num_items == 1


@given(st.integers(1, 6), st.integers(1, 15), st.data())
def test_every_patch_within_an_item_is_known_to_be_in_it(depth, num, data):
    item = data.draw(st.integers(0, num - 1))
    start = data.draw(st.integers(0, depth - 1))
    size = data.draw(st.integers(1, depth - start))
    patch = Patch("a1b2c3", (item * depth + start, 2, 3), (size, 4, 4))
    assert stack(depth, num).item_index(patch) == item


@given(st.integers(1, 5), st.integers(1, 9))
def test_items_come_one_after_the_other_and_cover_the_stack(depth, num):
    volume = stack(depth, num)
    rows = [volume.item_index(Patch("a1b2c3", (z, 0, 0), (1, 8, 8))) for z in range(volume.grid.shape_zyx[0])]
    assert rows == sorted(rows)
    assert [rows.count(item) for item in range(num)] == [depth] * num


def test_the_class_of_a_patch_is_that_of_its_item():
    volume = stack(2, 3, classes=(1, -1, 0))
    found = [volume.classes[volume.item_index(Patch("a1b2c3", (z, 0, 0), (1, 8, 8)))] for z in range(6)]
    assert found == [1, 1, -1, -1, 0, 0]


def test_nobody_is_on_a_side_until_somebody_says_so():
    assert stack().side is None
    assert SIDES == ("pool", "validation", "test")


def test_volumes_are_compared_by_what_they_say_and_travel_to_workers():
    volume = stack(classes=(0,) * 12)
    assert pickle.loads(pickle.dumps(volume)) == volume
    assert dataclasses.replace(volume, side="test") != volume
    with pytest.raises(dataclasses.FrozenInstanceError):
        volume.side = "test"
