"""A batch read in common is what its patches are one by one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilum.core.candidates import as_image
from hilum.core.geometry import Grid, Patch
from hilum.core.imaging import Study, Volume
from hilum.nn.normalise import normalise
from hilum.steps.patch_images import Places, batches, read_images
from hilum.store.opening import create_store
from hilum.store.volumes import open_volume, write_volume

SHAPE = (5, 20, 24)
VOLUME = Volume("0ddba11c0de5", Study("s", "p"), Grid(SHAPE), SHAPE, 2, "MR", 100.0, 900.0, False, (), "pool")
SIZES = st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(1, 12))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    store, _ = create_store(str(tmp_path_factory.mktemp("store")))
    voxels = np.random.default_rng(0).normal(500, 300, (2, *SHAPE)).astype(np.float32)
    voxels[1, 3, 10, 11] = np.nan
    write_volume(store, VOLUME, voxels, None, patch_shape_zyx=(2, 8, 8))
    return open_volume(store, VOLUME)


class Counted:
    """A reader that counts what it is asked for."""

    def __init__(self, reader):
        self.reader, self.volume, self.num_voxels, self.num_reads = reader, reader.volume, 0, 0

    def read_block_CZYX(self, start, shape):
        self.num_reads += 1
        self.num_voxels += int(np.prod(shape))
        return self.reader.read_block_CZYX(start, shape)


def one_by_one(reader, starts, shape):
    for start in starts:
        image = reader.read_CZYX(Patch(VOLUME.volume_id, tuple(start), tuple(shape)))
        whole = np.isfinite(image).all()
        yield as_image(normalise(image, VOLUME.low, VOLUME.high)) if whole else "Its voxels are not all finite numbers."


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(shape=SIZES, data=st.data())
def test_every_patch_is_what_it_is_alone_and_a_damaged_one_costs_itself(reader, shape, data):
    place = st.tuples(*[st.integers(0, n - size) for n, size in zip(SHAPE, shape, strict=True)])
    starts = sorted(data.draw(st.lists(place, min_size=1, max_size=12)))
    found = []
    for num, images in read_images(reader, np.array(starts, np.int32), np.array(shape, np.int32)):
        found += [images] if isinstance(images, str) else list(images)
        assert num == 1 or len(images) == num
    for image, expected in zip(found, one_by_one(reader, starts, shape), strict=True):
        if isinstance(expected, str):
            assert image == expected
        else:
            np.testing.assert_array_equal(image, expected)


def test_neighbours_are_read_together_and_no_more_than_they_hold(reader):
    shape, near = (1, 8, 8), [(0, 0, x) for x in range(12)]
    counted = Counted(reader)
    assert sum(num for num, _ in read_images(counted, np.array(near, np.int32), np.array(shape, np.int32))) == 12
    assert (counted.num_reads, counted.num_voxels) == (1, 8 * 19)
    far = Counted(reader)
    list(read_images(far, np.array([(0, 0, 0), (4, 12, 16)], np.int32), np.array(shape, np.int32)))
    assert (far.num_reads, far.num_voxels) == (2, 2 * 64)


def test_a_volume_that_cannot_be_normalised_costs_every_patch_its_reason(reader):
    flat = Counted(reader)
    flat.volume = replace(VOLUME, low=1.0, high=1.0)
    found = list(read_images(flat, np.array([(0, 0, 0), (0, 0, 1)], np.int32), np.array((1, 4, 4), np.int32)))
    assert [num for num, _ in found] == [1, 1]
    assert all("high must be above low" in reason for _, reason in found)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 2)), max_size=30), st.integers(1, 7))
def test_batches_hold_everybody_once_by_shape_volume_and_place(rows, size):
    codes, z, depth = np.array(rows, np.int64).reshape(-1, 3).T
    boxes = [
        np.stack([column, column * 0, column * 0 + extra], axis=1).astype(np.int32)
        for column, extra in ((z, 0), (depth, 1))
    ]
    places = Places(np.array([f"{i:04d}" for i in range(len(rows))], np.str_), ["a", "b", "c"], codes, *boxes)
    found = list(batches(places, size))
    assert all(0 < batch.num <= size and len(np.unique(batch.shapes_zyx, axis=0)) == 1 for batch in found)
    keys = [
        (int(d), int(c), int(s))
        for b in found
        for d, c, s in zip(b.shapes_zyx[:, 0], b.codes, b.starts_zyx[:, 0], strict=True)
    ]
    assert keys == sorted((depth, code, start) for code, start, depth in rows)
    assert sorted(i for batch in found for i in batch.candidate_ids) == places.candidate_ids.tolist()
