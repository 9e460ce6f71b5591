"""Metadata by the letter of Zarr v3 and OME-Zarr 0.5, as other programs will read it."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume
from hilum.store import ome_zarr
from hilum.store.layout import Store
from hilum.store.volumes import DTYPES, write_volume

TURNED = ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0))
NAMES = ("background", "liver", "tumour")


def a_volume(shape=(4, 6, 8), channels=2, direction=TURNED, origin=(90.0, 126.0, -72.0)):
    return Volume(
        volume_id="a1b2c3",
        study=Study("study", "patient"),
        grid=Grid(shape, (2.0, 0.5, 0.75), origin, direction),
        item_shape_zyx=shape,
        num_channels=channels,
        modality="MR",
        low=-3.5,
        high=1200.25,
        has_label_map=True,
        side="pool",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A written volume, seen from outside."""
    store, volume = Store(str(tmp_path_factory.mktemp("store"))), a_volume()
    image = np.arange(2 * 4 * 6 * 8, dtype=np.int16).reshape(2, 4, 6, 8)
    labels = (image[0] % 3).astype(np.uint16)
    write_volume(store, volume, image, labels, patch_shape_zyx=(4, 6, 8), class_names=NAMES)
    return store.volume(volume.volume_id)


def test_zarr_python_walks_from_the_image_to_its_labels(folder):
    root = zarr.open_group(folder, mode="r")
    image = root["0"]
    assert image.shape == (2, 4, 6, 8)
    assert image.dtype == np.int16
    assert image.metadata.dimension_names == ("c", "z", "y", "x")
    (name,) = root["labels"].attrs["ome"]["labels"]
    truth = root[f"labels/{name}/0"]
    assert truth.dtype == np.uint16
    assert truth.metadata.dimension_names == ("z", "y", "x")
    np.testing.assert_array_equal(truth[:], image[0] % 3)


def test_every_path_in_the_metadata_leads_to_an_array_or_group(folder):
    root = zarr.open_group(folder, mode="r")
    for place in ("", "labels/truth/"):
        group = root[place] if place else root
        for multiscale in group.attrs["ome"]["multiscales"]:
            for dataset in multiscale["datasets"]:
                assert isinstance(root[place + dataset["path"]], zarr.Array)
    assert root["labels/truth"].attrs["ome"]["image-label"]["source"]["image"] == "../../"


@pytest.mark.parametrize("place", [".", "labels/truth"])
def test_axes_and_transformations_are_those_of_the_array(folder, place):
    root = zarr.open_group(folder, mode="r")
    group = root if place == "." else root[place]
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    array = group["0"]
    assert [axis["name"] for axis in multiscale["axes"]] == list(array.metadata.dimension_names)
    assert [axis["type"] for axis in multiscale["axes"]] == ["channel", "space", "space", "space"][-array.ndim :]
    assert all(axis["unit"] == "millimeter" for axis in multiscale["axes"] if axis["type"] == "space")
    (dataset,) = multiscale["datasets"]
    assert [one["type"] for one in dataset["coordinateTransformations"]] == ["scale", "translation"]
    assert all(len(one[one["type"]]) == array.ndim for one in dataset["coordinateTransformations"])
    assert dataset["coordinateTransformations"][0]["scale"][-3:] == [2.0, 0.5, 0.75]


def test_every_label_value_has_its_class_once(folder):
    properties = zarr.open_group(f"{folder}/labels/truth", mode="r").attrs["ome"]["image-label"]["properties"]
    assert [one["label-value"] for one in properties] == [0, 1, 2]
    assert tuple(one["class"] for one in properties) == NAMES


def test_a_label_map_whose_classes_nobody_named_says_nothing_of_them():
    assert "properties" not in ome_zarr.truth_group([a_volume().grid], [])["attributes"]["ome"]["image-label"]


def test_the_grid_can_be_read_back_from_the_attributes_alone(folder):
    said = zarr.open_group(folder, mode="r").attrs["hilum"]["grid"]
    direction = tuple(tuple(row) for row in said["direction"])
    rebuilt = Grid(tuple(said["shape_zyx"]), tuple(said["spacing_mm_zyx"]), tuple(said["origin_mm_xyz"]), direction)
    assert rebuilt == a_volume().grid


@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.tuples(*[st.floats(-300, 300)] * 3),
    st.tuples(*[st.integers(0, 5)] * 3),
)
def test_scale_and_translation_tell_distances_from_the_origin_along_the_array_s_own_axes(order, signs, origin, index):
    direction = tuple(tuple(signs[k] if row == order[k] else 0.0 for k in range(3)) for row in range(3))
    volume = a_volume(direction=direction, origin=origin)
    (multiscale,) = ome_zarr.image_group(volume, [volume.grid], {})["attributes"]["ome"]["multiscales"]
    scale, translation = multiscale["datasets"][0]["coordinateTransformations"]
    along = np.multiply(scale["scale"][1:], index) + translation["translation"][1:]
    np.testing.assert_allclose(np.asarray(direction) @ along, volume.grid.index_to_world(index), atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_type_is_little_endian_compressed_and_checksummed(dtype):
    metadata = ome_zarr.array_metadata((8, 8, 8), (4, 4, 4), (8, 8, 8), dtype)
    (sharding,) = metadata["codecs"]
    inner = sharding["configuration"]["codecs"]
    assert [codec["name"] for codec in inner] == ["bytes", "blosc", "crc32c"]
    one_byte = np.dtype(dtype).itemsize == 1
    assert inner[0].get("configuration", {"endian": None})["endian"] == (None if one_byte else "little")
    assert inner[1]["configuration"]["typesize"] == np.dtype(dtype).itemsize
    assert inner[1]["configuration"]["shuffle"] == ("noshuffle" if one_byte else "shuffle")
    assert [codec["name"] for codec in sharding["configuration"]["index_codecs"]] == ["bytes", "crc32c"]
    assert metadata["data_type"] == dtype


def test_what_is_written_is_json_that_any_parser_takes(folder):
    for place in ("", "/0", "/labels", "/labels/truth", "/labels/truth/0"):
        metadata = json.loads(Path(f"{folder}{place}/zarr.json").read_text(encoding="utf-8"))
        assert metadata["zarr_format"] == 3
        assert metadata["node_type"] == ("array" if place.endswith("0") else "group")


SIZES = st.tuples(st.integers(1, 200), st.integers(1, 600), st.integers(1, 600))
PATCHES = st.tuples(st.integers(1, 96), st.integers(1, 256), st.integers(1, 256))
BYTES = st.sampled_from([1, 2, 4, 8])


@given(SIZES, PATCHES, BYTES)
def test_a_chunk_is_never_larger_than_its_item(item, patch, voxel_bytes):
    chunk = ome_zarr.chunk_shape_zyx(item, patch, voxel_bytes)
    assert all(1 <= c <= n for c, n in zip(chunk, item, strict=True))


@given(SIZES, PATCHES, BYTES)
def test_a_patch_never_touches_more_than_a_few_chunks_an_axis_of_usual_size(item, patch, voxel_bytes):
    chunk = ome_zarr.chunk_shape_zyx(item, patch, voxel_bytes)
    if int(np.prod(chunk)) * voxel_bytes > ome_zarr.MAX_CHUNK_BYTES // 4:
        return  # halved until it was small enough
    touched = [-(-(min(p, n) - 1) // c) + 1 for p, n, c in zip(patch, item, chunk, strict=True)]
    assert max(touched) <= 5


@given(SIZES, st.integers(1, 300), PATCHES, BYTES)
def test_items_of_a_stack_share_a_chunk_only_as_whole_items(item, num_items, patch, voxel_bytes):
    chunk = ome_zarr.stack_chunk_shape_zyx(item, num_items, patch, voxel_bytes)
    assert chunk[0] <= item[0] or (chunk[0] % item[0] == 0 and chunk[1:] == item[1:])


@given(SIZES, st.tuples(st.integers(1, 32), st.integers(1, 64), st.integers(1, 64)), BYTES)
def test_a_shard_reaches_no_further_past_the_volume_than_its_last_chunk(shape, chunk, voxel_bytes):
    shard = ome_zarr.shard_shape_zyx(shape, chunk, voxel_bytes)
    assert all(s < n + c for s, n, c in zip(shard, shape, chunk, strict=True))
    assert all(s % c == 0 for s, c in zip(shard, chunk, strict=True))


@settings(max_examples=15)
@given(st.sampled_from([(64, 64, 64), (100, 200, 300), (2, 50, 50)]), BYTES)
def test_a_small_volume_is_one_file(shape, voxel_bytes):
    chunk = ome_zarr.chunk_shape_zyx(shape, (32, 64, 64), voxel_bytes)
    if np.prod(shape) * voxel_bytes * 2 > ome_zarr.MAX_SHARD_BYTES:
        return
    shard = ome_zarr.shard_shape_zyx(shape, chunk, voxel_bytes)
    assert all(s >= n for s, n in zip(shard, shape, strict=True))
