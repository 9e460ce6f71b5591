"""Both readers of arrays give the same voxels, and both call damage by its name."""

from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.errors import CorruptionError
from hilum.store.ome_zarr import array_metadata
from hilum.store.zarr_arrays import open_array

SHAPE, CHUNK, SHARD = (6, 10, 14), (2, 4, 8), (4, 8, 16)
VOXELS = np.random.default_rng(0).integers(0, 5000, SHAPE).astype(np.uint16)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The same array in a folder (read by tensorstore) and in memory (read by zarr-python)."""
    folder = tmp_path_factory.mktemp("array")
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "metadata": {k: v for k, v in array_metadata(SHAPE, CHUNK, SHARD, "uint16").items() if k != "attributes"},
    }
    ts.open(spec, create=True).result().write(VOXELS).result()
    memory = f"memory://array-{uuid4().hex}"
    fsspec.filesystem("memory").put(str(folder), memory, recursive=True)
    return {"folder": str(folder), "memory": memory}


def copied(places, kind, tmp_path):
    """A copy of one of the arrays that a test may damage, and its files by relative path."""
    fs, path = fsspec.core.url_to_fs(places[kind])
    url = str(tmp_path / "copy") if kind == "folder" else f"memory://copy-{uuid4().hex}"
    target = fsspec.core.url_to_fs(url)[0]
    for file in fs.find(path):
        place = f"{url}/{file.removeprefix(path).lstrip('/')}"
        target.makedirs(place.rsplit("/", 1)[0], exist_ok=True)
        target.pipe_file(place, fs.cat_file(file))
    return url, target


BOXES = st.tuples(*[st.tuples(st.integers(0, n - 1), st.integers(1, n)) for n in SHAPE]).map(
    lambda pairs: tuple(slice(a, min(a + n, size)) for (a, n), size in zip(pairs, SHAPE, strict=True))
)


@settings(max_examples=25)
@given(BOXES)
def test_both_readers_read_any_box_as_it_was_written(places, box):
    for url in places.values():
        np.testing.assert_array_equal(open_array(url).read(box), VOXELS[box])


@settings(max_examples=10)
@given(st.lists(BOXES, max_size=5))
def test_many_boxes_come_back_in_the_order_they_were_asked_for(places, boxes):
    for url in places.values():
        found = open_array(url).read_many(boxes)
        assert len(found) == len(boxes)
        assert all(np.array_equal(array, VOXELS[box]) for array, box in zip(found, boxes, strict=True))


def test_the_type_stays_as_it_was_stored(places):
    for url in places.values():
        assert open_array(url).read((slice(0, 1), slice(0, 1), slice(0, 1))).dtype == np.uint16


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_where_there_is_no_array_there_is_damage(places, kind, tmp_path):
    url, _ = copied(places, kind, tmp_path)
    with pytest.raises(CorruptionError, match="elsewhere"):
        open_array(f"{url}-elsewhere")


@pytest.mark.parametrize("kind", ["folder", "memory"])
@pytest.mark.parametrize("metadata", [b"", b"{", b"[]", b'{"zarr_format": 3}', b"\xff\xfe"])
def test_metadata_that_is_not_an_array_s_is_damage(places, kind, metadata, tmp_path):
    url, fs = copied(places, kind, tmp_path)
    fs.pipe_file(f"{url}/zarr.json", metadata)
    with pytest.raises(CorruptionError):
        open_array(url)


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_flipped_byte_in_any_shard_is_damage(places, kind, tmp_path):
    url, fs = copied(places, kind, tmp_path)
    shards = [path for path in fs.find(url) if not path.endswith("zarr.json")]
    assert len(shards) > 2
    for path in shards:
        whole = fs.cat_file(path)
        broken = bytearray(whole)
        broken[len(broken) // 3] ^= 0x10
        fs.pipe_file(path, bytes(broken))
        with pytest.raises(CorruptionError):
            open_array(url).read(tuple(slice(0, n) for n in SHAPE))
        fs.pipe_file(path, whole)


def test_an_array_of_somebody_else_s_making_is_read_too(tmp_path):
    """Plain chunks, no shards, another compressor: what zarr-python writes unless told otherwise."""
    theirs = zarr.create_array(str(tmp_path / "theirs"), shape=(5, 5, 5), chunks=(2, 3, 4), dtype="float32")
    theirs[:] = np.arange(125, dtype=np.float32).reshape(5, 5, 5)
    found = open_array(str(Path(tmp_path, "theirs"))).read((slice(1, 4), slice(0, 5), slice(2, 3)))
    np.testing.assert_array_equal(found, theirs[1:4, :, 2:3])
