"""A zipped label image is read by zarr as it was drawn, where it was drawn."""

import io
import json
import zipfile

import numpy as np
import pytest
import zarr

from hilum.core.geometry import Grid
from hilum.store.label_archives import label_archive

CLASSES = ("background", "liver", "Läsion")
# X, Y and Z run along turned axes: translation and origin differ.
GRID = Grid((9, 40, 70), (2.5, 0.8, 0.6), (10.0, -20.0, 30.0), ((0.0, 0.6, 0.8), (0.0, -0.8, 0.6), (1.0, 0.0, 0.0)))


@pytest.fixture
def opened(tmp_path):
    label_map = np.random.default_rng(1).integers(0, 3, GRID.shape_zyx).astype(np.uint16)
    payload = label_archive(label_map, GRID, CLASSES)
    (tmp_path / "labels.zip").write_bytes(payload)
    with zarr.storage.ZipStore(tmp_path / "labels.zip", mode="r") as store:
        yield payload, label_map, zarr.open_group(store, mode="r")


def test_zarr_reads_every_voxel(opened):
    _, label_map, group = opened
    (multiscale,) = group.attrs["ome"]["multiscales"]
    array = group[multiscale["datasets"][0]["path"]]
    np.testing.assert_array_equal(array[:], label_map)
    assert array.metadata.dimension_names == ("z", "y", "x")


def test_scale_and_translation_put_a_voxel_where_the_grid_does(opened):
    _, _, group = opened
    (multiscale,) = group.attrs["ome"]["multiscales"]
    assert [axis["unit"] for axis in multiscale["axes"]] == ["millimeter"] * 3
    scale, translation = multiscale["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [2.5, 0.8, 0.6]
    index = np.array([3, 4, 5])
    along_axes = index * scale["scale"] + translation["translation"]
    np.testing.assert_allclose(np.asarray(GRID.direction) @ along_axes, GRID.index_to_world(index), atol=1e-9)
    assert group.attrs["hilum"]["grid"]["direction"] == [list(row) for row in GRID.direction]


def test_values_are_named(opened):
    payload, label_map, group = opened
    label = group.attrs["ome"]["image-label"]
    assert [row["class"] for row in label["properties"]] == list(CLASSES)
    assert "source" not in label
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        assert archive.namelist()[0] == "zarr.json"
        assert json.loads(archive.comment) == {"ome": {"version": "0.5"}}
    assert label_archive(label_map, GRID, CLASSES) == payload


def test_an_empty_label_map_has_all_its_chunks():
    payload = label_archive(np.zeros((1, 5, 7), np.uint16), Grid((1, 5, 7)), CLASSES)
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        assert "0/c/0/0/0" in archive.namelist()
