"""Looking over volumes: a lost or changed chunk is told by the volume's, the file's and the voxels' names."""

import json
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilum.core.geometry import Grid
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import IngestRecipe
from hilum.store.inspection import Damage
from hilum.store.layout import Store
from hilum.store.manifest import Run, write_bytes
from hilum.store.volume_checks import volume_damages, volume_ids
from hilum.store.volumes import write_volume, write_volume_table

SHAPE = (20, 40, 40)


def a_volume(name, *, truth=True):
    return Volume(name, Study("s", "p"), Grid(SHAPE, (2.0, 1.0, 1.0)), SHAPE, 1, "MR", 0.0, 1.0, truth)


def written(store, name="aaa", *, truth=True):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 30000, (1, *SHAPE)).astype(np.int16)
    labels = rng.integers(0, 3, SHAPE).astype(np.uint16) if truth else None
    write_volume(store, a_volume(name, truth=truth), image, labels, patch_shape_zyx=(8, 16, 16))
    return Path(store.volume(name))


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    return Store(str(tmp_path / "store") if request.param == "folder" else f"memory://checks-{uuid4().hex}")


def test_an_empty_store_has_no_volumes_and_no_damage(store):
    assert volume_ids(store) == []
    assert list(volume_damages(store)) == []


def test_sound_volumes_are_counted_and_not_complained_about(store):
    written(store, "aaa")
    written(store, "bbb", truth=False)
    assert volume_ids(store) == ["aaa", "bbb"]
    assert list(volume_damages(store)) == [None, None]


@pytest.mark.parametrize("array", ["0", "labels/truth/0"])
def test_a_lost_shard_is_named_with_its_voxels(store, array):
    written(store, "aaa")
    written(store, "bbb")
    fs = fsspec.core.url_to_fs(store.url)[0]
    key = "c/0/0/0/0" if array == "0" else "c/0/0/0"
    fs.rm(f"{store.volume('bbb')}/{array}/{key}")
    none, damage = volume_damages(store)
    assert none is None
    assert damage == Damage("volumes/bbb.zarr", (f"{array}/{key}: missing (voxels z 0 to 19, y 0 to 39, x 0 to 39)",))


def test_a_changed_chunk_is_named_and_only_that_one(store):
    written(store)
    fs = fsspec.core.url_to_fs(store.url)[0]
    place = f"{store.volume('aaa')}/0/c/0/0/0/0"
    good = fs.cat_file(place)
    fs.pipe_file(place, bytes([good[0], good[1], good[2] ^ 4, *good[3:]]))
    (damage,) = volume_damages(store)
    (reason,) = damage.reasons
    assert reason.startswith("0/c/0/0/0/0: damaged in the chunk of voxels z ")


def test_a_changed_index_takes_its_whole_shard(store):
    written(store)
    fs = fsspec.core.url_to_fs(store.url)[0]
    place = f"{store.volume('aaa')}/0/c/0/0/0/0"
    good = fs.cat_file(place)
    fs.pipe_file(place, good[:-3] + bytes([good[-3] ^ 1]) + good[-2:])
    (damage,) = volume_damages(store)
    (reason,) = damage.reasons
    assert "none of its" in reason
    assert "z 0 to 19, y 0 to 39, x 0 to 39" in reason


@pytest.mark.parametrize("name", ["zarr.json", "0/zarr.json", "labels/zarr.json", "labels/truth/zarr.json"])
@pytest.mark.parametrize("damage", ["lost", "flipped", "emptied"])
def test_lost_and_changed_metadata_is_named(store, name, damage):
    written(store)
    fs = fsspec.core.url_to_fs(store.url)[0]
    place = f"{store.volume('aaa')}/{name}"
    good = fs.cat_file(place)
    if damage == "lost":
        fs.rm(place)
    else:
        fs.pipe_file(place, b"" if damage == "emptied" else good[:-1] + bytes([good[-1] ^ 2]))
    (found,) = volume_damages(store)
    (reason,) = found.reasons
    assert name in reason or "not a whole volume" in reason


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0), bit=st.integers(0, 7))
def test_any_flipped_bit_of_any_file_of_a_volume_is_found(tmp_path, place, bit):
    store = Store(str(tmp_path / uuid4().hex))
    folder = written(store)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    ends = np.cumsum([p.stat().st_size for p in files])
    where = place % int(ends[-1])
    file = files[int(np.searchsorted(ends, where, side="right"))]
    content = bytearray(file.read_bytes())
    content[where % len(content)] ^= 1 << bit
    file.write_bytes(content)
    (damage,) = volume_damages(store)
    assert damage is not None


def test_a_volume_that_an_ingest_names_and_nobody_has_is_missing(tmp_path):
    store = Store(str(tmp_path))
    written(store, "aaa")
    this = Run(store, "ingest", 1, IngestRecipe(), {"source": "s"})
    write_volume_table(this.path("volumes.parquet"), [a_volume("aaa"), a_volume("bbb")])
    this.commit(files=["volumes.parquet"])
    assert list(volume_damages(store)) == [None, Damage("volumes/bbb.zarr", ("missing",))]


def test_a_damaged_table_does_not_stop_the_looking(tmp_path):
    store = Store(str(tmp_path))
    written(store)
    this = Run(store, "ingest", 1, IngestRecipe(), {"source": "s"})
    write_bytes(this.path("volumes.parquet"), b"rows")
    this.commit(files=["volumes.parquet"])
    write_bytes(this.path("volumes.parquet"), b"other")
    assert list(volume_damages(store)) == [None]


@pytest.mark.parametrize("changed", [{"shape": "x"}, {"codecs": []}, {"shape": [1, 2]}, {"chunk_grid": None}])
def test_metadata_of_an_old_volume_that_is_no_arrays_is_named_and_not_a_crash(tmp_path, changed):
    """Format 1 had no digests: what its metadata says is all there is to go by."""
    store = Store(str(tmp_path))
    folder = written(store, truth=False)
    root = json.loads((folder / "zarr.json").read_text())
    kept = {k: v for k, v in root["attributes"]["hilum"].items() if k not in {"sha256", "metadata"}}
    root["attributes"]["hilum"] = {**kept, "format_version": 1}
    (folder / "zarr.json").write_text(json.dumps(root))
    assert list(volume_damages(store)) == [None]
    metadata = json.loads((folder / "0/zarr.json").read_text())
    (folder / "0/zarr.json").write_text(json.dumps(metadata | changed))
    (damage,) = volume_damages(store)
    assert damage is not None
