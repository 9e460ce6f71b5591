"""A volume comes back as it went in, is there whole or not at all, and no damage to it goes unnoticed."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.errors import CorruptionError, DataError, NotFoundError
from hilum.core.geometry import Grid, Patch
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import IngestRecipe
from hilum.store import ome_zarr
from hilum.store.layout import Store
from hilum.store.manifest import Run
from hilum.store.volumes import (
    DTYPES,
    metadata_digests,
    open_volume,
    sweep_partials,
    volume_exists,
    volume_of_row,
    volume_row,
    volumes_of,
    write_volume,
    write_volume_table,
)

TURNED = ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0))
PATCH = (8, 16, 16)


def a_volume(shape=(20, 30, 40), *, channels=1, item=None, name="a1b2c3", truth=True, side="pool", classes=()):
    grid = Grid(shape, (2.0, 0.5, 0.75), (90.0, 126.0, -72.0), TURNED)
    return Volume(
        volume_id=name,
        study=Study("study", "patient"),
        grid=grid,
        item_shape_zyx=item or shape,
        num_channels=channels,
        modality="MR",
        low=-3.5,
        high=1200.25,
        has_label_map=truth,
        classes=classes,
        side=side,
    )


def voxels(volume, dtype="int16", seed=0):
    rng = np.random.default_rng(seed)
    shape = (volume.num_channels, *volume.grid.shape_zyx)
    image = rng.normal(0, 100, shape) if dtype == "float32" else rng.integers(0, 120, shape)
    image = image.astype(dtype)
    image[:, : shape[1] // 2] = 0  # half of it is air, as in real scans
    labels = rng.integers(0, 3, volume.grid.shape_zyx).astype(np.uint16) if volume.has_label_map else None
    return image, labels


def stored(store, volume, dtype="int16"):
    image, labels = voxels(volume, dtype)
    write_volume(store, volume, image, labels, patch_shape_zyx=PATCH)
    return image, labels


def whole(volume):
    return Patch(volume.volume_id, (0, 0, 0), volume.grid.shape_zyx)


def shards(store, volume, array="0"):
    return sorted(p for p in Path(store.volume(volume.volume_id), array, "c").rglob("*") if p.is_file())


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 24), st.integers(1, 24)),
    channels=st.integers(1, 6),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_any_patch_of_any_volume_is_the_same_box_of_the_voxels_written(tmp_path_factory, shape, channels, dtype, data):
    store = Store(str(tmp_path_factory.mktemp("store")))
    volume = a_volume(shape, channels=channels)
    image, labels = stored(store, volume, dtype)
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    size = tuple(data.draw(st.integers(1, n - a)) for n, a in zip(shape, start, strict=True))
    patch = Patch(volume.volume_id, start, size)
    reader = open_volume(store, volume)
    read = reader.read_CZYX(patch)
    assert read.dtype == np.dtype(dtype)
    assert np.array_equal(read, image[(slice(None), *patch.slices)])
    assert np.array_equal(reader.read_label_map_ZYX(patch), labels[patch.slices])


def test_many_patches_in_flight_are_the_patches_one_by_one(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume()
    stored(store, volume)
    reader = open_volume(store, volume)
    patches = [Patch(volume.volume_id, (z, y, 3), PATCH) for z in (0, 5, 12) for y in (0, 9)]
    for together, patch in zip(reader.read_many_CZYX(patches), patches, strict=True):
        assert np.array_equal(together, reader.read_CZYX(patch))


def test_zarr_python_reads_the_very_same_bytes_and_finds_ome_zarr_metadata(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume(channels=2)
    image, labels = stored(store, volume)
    group = zarr.open_group(store.volume(volume.volume_id), mode="r")
    assert np.array_equal(group["0"][:], image)
    assert np.array_equal(group["labels/truth/0"][:], labels)
    (multiscale,) = group.attrs["ome"]["multiscales"]
    assert group.attrs["ome"]["version"] == "0.5"
    assert [axis["name"] for axis in multiscale["axes"]] == ["c", "z", "y", "x"]
    assert {axis.get("unit") for axis in multiscale["axes"]} == {None, "millimeter"}
    scale, translation = multiscale["datasets"][0]["coordinateTransformations"]
    assert scale == {"type": "scale", "scale": [1.0, 2.0, 0.5, 0.75]}
    assert translation["translation"] == [0.0, -72.0, -126.0, -90.0]
    assert group["labels"].attrs["ome"]["labels"] == ["truth"]
    assert group["labels/truth"].attrs["ome"]["image-label"]["source"]["image"] == "../../"


def test_direction_and_place_survive_the_store_though_ome_zarr_cannot_say_them(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume(classes=(2,), side=None)
    stored(store, volume)
    kept = zarr.open_group(store.volume(volume.volume_id), mode="r").attrs["hilum"]
    assert tuple(map(tuple, kept["grid"]["direction"])) == TURNED
    assert volume_of_row(volume_row(volume)) == volume


def test_a_row_of_a_table_from_before_tags_and_flags_is_read():
    plain = a_volume()
    row = {name: value for name, value in volume_row(plain).items() if name not in {"tags", "flags"}}
    assert volume_of_row(row) == plain


def test_class_names_go_beside_the_label_map(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume()
    image, labels = voxels(volume)
    write_volume(store, volume, image, labels, patch_shape_zyx=PATCH, class_names=("air", "liver", "lesion"))
    truth = zarr.open_group(f"{store.volume(volume.volume_id)}/labels/truth", mode="r").attrs["ome"]
    assert truth["image-label"]["properties"][2] == {"label-value": 2, "class": "lesion"}


def test_nothing_in_a_volume_names_a_patient_or_a_study(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume()
    stored(store, volume)
    for file in Path(store.volume(volume.volume_id)).rglob("*"):
        if file.is_file():
            assert b"patient" not in file.read_bytes(), file.name
            assert b"study" not in file.read_bytes(), file.name


def test_inner_chunks_and_indexes_are_checksummed_and_no_chunk_is_left_out(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume((40, 64, 64))
    image = np.zeros((1, 40, 64, 64), np.int16)
    write_volume(store, volume, image, np.zeros((40, 64, 64), np.uint16), patch_shape_zyx=(16, 32, 32))
    (sharding,) = json.loads(Path(store.volume(volume.volume_id), "0", "zarr.json").read_text())["codecs"]
    config = sharding["configuration"]
    assert config["codecs"][-1]["name"] == config["index_codecs"][-1]["name"] == "crc32c"
    (shard,) = shards(store, volume)
    num_chunks = int(np.prod([-(-n // c) for n, c in zip((1, 40, 64, 64), config["chunk_shape"], strict=True)]))
    index = np.frombuffer(shard.read_bytes()[:-4][-16 * num_chunks :], np.uint64).reshape(-1, 2)
    assert not (index == np.iinfo(np.uint64).max).any(), "an empty chunk was left out"


@pytest.mark.parametrize("array", ["0", "labels/truth/0"])
def test_a_missing_shard_is_damage_and_never_zeros(tmp_path, array):
    store, volume = Store(str(tmp_path)), a_volume()
    stored(store, volume)
    shards(store, volume, array)[0].unlink()
    reader = open_volume(store, volume)
    read = reader.read_CZYX if array == "0" else reader.read_label_map_ZYX
    with pytest.raises(CorruptionError):
        read(whole(volume))


def test_two_hundred_flipped_bits_are_found_every_time(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume((16, 32, 32), truth=False)
    stored(store, volume)
    (shard,) = shards(store, volume)
    good = shard.read_bytes()
    rng = np.random.default_rng(3)
    for place in rng.integers(0, 8 * len(good), 200):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << (place % 8)
        shard.write_bytes(bad)
        # A reader of its own each time: an open one may still hold what it read before.
        reader = open_volume(store, volume)
        with pytest.raises(CorruptionError):
            reader.read_CZYX(whole(volume))


def flipped_in(file, *, every):
    """The file with one bit flipped, for every so-manieth bit of it; whole again afterwards."""
    good = file.read_bytes()
    for bit in range(0, 8 * len(good), every):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(bad)
        yield bit
    file.write_bytes(good)


def test_a_flipped_bit_of_a_volume_s_own_metadata_is_found(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume()
    stored(store, volume)
    for _ in flipped_in(Path(store.volume(volume.volume_id), "zarr.json"), every=5):
        with pytest.raises(CorruptionError):
            metadata_digests(store.volume(volume.volume_id))
    assert len(metadata_digests(store.volume(volume.volume_id))) == 4


@pytest.mark.parametrize("array", ["0", "labels/truth/0"])
def test_a_flipped_bit_of_an_array_s_metadata_is_found(tmp_path, array):
    store, volume = Store(str(tmp_path)), a_volume()
    stored(store, volume)
    for _ in flipped_in(Path(store.volume(volume.volume_id), array, "zarr.json"), every=61):
        with pytest.raises(CorruptionError, match=f"{array}/zarr.json: changed"):
            open_volume(store, volume).read_label_map_ZYX(whole(volume))


def test_a_volume_of_format_1_had_no_seal_and_is_read(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume()
    image, labels = stored(store, volume)
    file = Path(store.volume(volume.volume_id), "zarr.json")
    metadata = json.loads(file.read_text())
    kept = metadata["attributes"]["hilum"]
    del kept["sha256"], kept["metadata"]
    file.write_text(
        json.dumps(metadata | {"attributes": {**metadata["attributes"], "hilum": {**kept, "format_version": 1}}})
    )
    reader = open_volume(store, volume)
    assert np.array_equal(reader.read_CZYX(whole(volume)), image)
    assert np.array_equal(reader.read_label_map_ZYX(whole(volume)), labels)


def test_a_changed_table_of_volumes_is_refused(tmp_path):
    store = Store(str(tmp_path))
    this = Run(store, "ingest", 1, IngestRecipe(), {"source": "s"})
    write_volume_table(this.path("volumes.parquet"), [a_volume()])
    this.commit(files=["volumes.parquet"])
    write_volume_table(this.path("volumes.parquet"), [a_volume(side="test")])
    with pytest.raises(CorruptionError, match="changed since it was written"):
        volumes_of(store, this.run_id)


def test_a_shard_cut_short_is_damage(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume()
    stored(store, volume)
    shard = shards(store, volume)[0]
    for keep in (0, 1, 100, len(shard.read_bytes()) - 1):
        shard.write_bytes(shard.read_bytes()[:keep])
        with pytest.raises(CorruptionError):
            open_volume(store, volume).read_CZYX(whole(volume))


@pytest.mark.parametrize("lost", ["zarr.json", "0/zarr.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"attributes": {}}'])
def test_lost_or_damaged_metadata_is_damage(tmp_path, lost, content):
    store, volume = Store(str(tmp_path)), a_volume()
    stored(store, volume)
    file = Path(store.volume(volume.volume_id), lost)
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(CorruptionError):
        open_volume(store, volume)


def test_a_volume_of_a_newer_format_is_refused_with_its_number(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume()
    stored(store, volume)
    file = Path(store.volume(volume.volume_id), "zarr.json")
    metadata = json.loads(file.read_text())
    metadata["attributes"]["hilum"]["format_version"] = 99
    file.write_text(json.dumps(metadata))
    with pytest.raises(CorruptionError, match="format 99"):
        open_volume(store, volume)


@pytest.mark.parametrize(
    ("name", "start", "shape"),
    [("a1b2c3", (0, 0, 30), (1, 1, 11)), ("a1b2c3", (-1, 0, 0), (2, 2, 2)), ("other", (0, 0, 0), (1, 1, 1))],
)
def test_a_patch_outside_its_volume_is_refused(tmp_path, name, start, shape):
    store, volume = Store(str(tmp_path)), a_volume()
    stored(store, volume)
    with pytest.raises(DataError, match="does not lie in volume"):
        open_volume(store, volume).read_CZYX(Patch(name, start, shape))


def test_a_volume_without_a_label_map_says_so(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume(truth=False)
    stored(store, volume)
    with pytest.raises(DataError, match="no label map"):
        open_volume(store, volume).read_label_map_ZYX(whole(volume))


def test_an_array_that_contradicts_its_volume_is_not_written(tmp_path):
    store, volume = Store(str(tmp_path)), a_volume()
    image, labels = voxels(volume)
    wrong = [
        (image[:, 1:], labels),
        (image.astype(np.float64), labels),
        (image, None),
        (image, labels.astype(np.int32)),
        (image, labels[1:]),
    ]
    for bad_image, bad_labels in wrong:
        with pytest.raises(DataError):
            write_volume(store, volume, bad_image, bad_labels, patch_shape_zyx=PATCH)
    assert not volume_exists(store, volume.volume_id)


@pytest.mark.parametrize("url", ["{tmp}/local", "memory://volumes-{name}"])
def test_writing_twice_leaves_the_first_alone(tmp_path, url):
    store, volume = Store(url.format(tmp=tmp_path, name=tmp_path.name)), a_volume()
    image, labels = stored(store, volume)
    assert not write_volume(store, volume, image + 1, labels, patch_shape_zyx=PATCH)
    assert np.array_equal(open_volume(store, volume).read_CZYX(whole(volume)), image)


def test_a_store_that_is_no_folder_gives_the_same_voxels_and_misses_a_lost_shard(tmp_path):
    store, volume = Store(f"memory://{tmp_path.name}"), a_volume(channels=2)
    image, labels = stored(store, volume)
    reader = open_volume(store, volume)
    patch = Patch(volume.volume_id, (3, 5, 7), PATCH)
    assert np.array_equal(reader.read_CZYX(patch), image[(slice(None), *patch.slices)])
    assert np.array_equal(reader.read_many_CZYX([patch])[0], reader.read_CZYX(patch))
    assert np.array_equal(reader.read_label_map_ZYX(patch), labels[patch.slices])
    memory = fsspec.filesystem("memory")
    shard = next(path for path in memory.find(f"/{tmp_path.name}") if "/0/c/" in path and "labels" not in path)
    good = memory.cat_file(shard)
    memory.pipe_file(shard, good[:50] + bytes([good[50] ^ 1]) + good[51:])
    with pytest.raises(CorruptionError):
        open_volume(store, volume).read_CZYX(whole(volume))
    memory.rm(shard)
    with pytest.raises(CorruptionError, match="missing"):
        open_volume(store, volume)
    memory.rm(f"/{tmp_path.name}/volumes/{volume.volume_id}.zarr/0/zarr.json")
    with pytest.raises(CorruptionError):
        open_volume(store, volume)


def write_for_ever(root):
    number = 0
    while True:
        volume = a_volume((32, 64, 64), name=f"v{number:06d}")
        image, labels = voxels(volume, seed=number)
        write_volume(Store(root), volume, image, labels, patch_shape_zyx=PATCH)
        number += 1


def test_a_writer_killed_at_any_moment_leaves_whole_volumes_or_none(tmp_path):
    store = Store(str(tmp_path))
    context = multiprocessing.get_context("forkserver")
    for kill in range(4):
        writer = context.Process(target=write_for_ever, args=(str(tmp_path),))
        writer.start()
        deadline = time.monotonic() + 60
        before = len(list(Path(tmp_path).glob("volumes/*.zarr")))
        while len(list(Path(tmp_path).glob("volumes/*.zarr"))) < before + 2 + kill and time.monotonic() < deadline:
            time.sleep(0.003)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    there = sorted(path.stem for path in Path(tmp_path).glob("volumes/*.zarr"))
    assert len(there) >= 2
    for name in there:
        volume = a_volume((32, 64, 64), name=name)
        image, labels = voxels(volume, seed=int(name[1:]))
        reader = open_volume(store, volume)
        assert np.array_equal(reader.read_CZYX(whole(volume)), image)
        assert np.array_equal(reader.read_label_map_ZYX(whole(volume)), labels)


def test_what_killed_writers_left_is_swept_once_it_is_old(tmp_path):
    store = Store(str(tmp_path))
    assert sweep_partials(store) == 0
    left = Path(tmp_path, "volumes", "abc.zarr.0123.partial")
    (left / "0").mkdir(parents=True)
    assert sweep_partials(store) == 0, "it may still be being written"
    os.utime(left, (0, 0))
    assert sweep_partials(store) == 1
    assert not left.exists()


def test_what_a_killed_writer_left_is_swept_at_once_and_a_live_one_s_never(tmp_path):
    context = multiprocessing.get_context("forkserver")
    writer = context.Process(target=write_for_ever, args=(str(tmp_path),))
    writer.start()
    volumes = tmp_path / "volumes"
    for _ in range(20):  # sweeping beside it, it must not notice
        sweep_partials(Store(str(tmp_path)))
        time.sleep(0.02)
    while not list(volumes.glob("*.partial")):
        time.sleep(0.001)
    os.kill(writer.pid, signal.SIGSTOP)
    left = list(volumes.glob("*.partial"))
    while not left:  # stopped between two volumes: let it go on to the next
        os.kill(writer.pid, signal.SIGCONT)
        time.sleep(0.003)
        os.kill(writer.pid, signal.SIGSTOP)
        left = list(volumes.glob("*.partial"))
    assert sweep_partials(Store(str(tmp_path))) == 0, "stopped, but alive"
    assert left[0].exists()
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert sweep_partials(Store(str(tmp_path))) == 1
    assert not list(volumes.glob("*.partial"))
    assert writer.exitcode == -signal.SIGKILL, "a sweep beside it stopped the writer"


def test_volumes_of_an_ingest_are_those_of_its_table(tmp_path):
    store = Store(str(tmp_path))
    volumes = [a_volume(name=name, side=side, classes=(1, -1)) for name, side in (("b", "test"), ("a", None))]
    this = Run(store, "ingest", 1, IngestRecipe(), {"source": "s"})
    assert write_volume_table(this.path("volumes.parquet"), volumes) == 2
    with pytest.raises(NotFoundError):
        volumes_of(store, this.run_id)
    this.commit(files=["volumes.parquet"])
    found = volumes_of(store, this.run_id)
    assert list(found) == ["a", "b"]
    assert sorted(found.values(), key=lambda v: v.volume_id) == sorted(volumes, key=lambda v: v.volume_id)


sizes = st.tuples(st.integers(1, 300), st.integers(1, 700), st.integers(1, 700))
patches = st.tuples(st.integers(1, 128), st.integers(1, 256), st.integers(1, 256))


@given(sizes, patches, st.integers(1, 400), st.sampled_from([1, 2, 4, 12]))
@settings(deadline=None)
def test_chunks_fit_their_items_and_shards_are_bounded_multiples_of_chunks(item, patch, num_items, voxel_bytes):
    chunk = ome_zarr.stack_chunk_shape_zyx(item, num_items, patch, voxel_bytes)
    shape = (item[0] * num_items, item[1], item[2])
    shard = ome_zarr.shard_shape_zyx(shape, chunk, voxel_bytes)
    assert all(1 <= c <= n for c, n in zip(chunk, shape, strict=True))
    assert all(s % c == 0 for s, c in zip(shard, chunk, strict=True))
    assert np.prod(chunk) * voxel_bytes <= ome_zarr.MAX_CHUNK_BYTES
    assert np.prod(shard) * voxel_bytes <= ome_zarr.MAX_SHARD_BYTES
    assert np.prod(shard) // np.prod(chunk) <= ome_zarr.MAX_CHUNKS_IN_A_SHARD
    small = np.prod(shape) * voxel_bytes < ome_zarr.MIN_CHUNK_BYTES
    assert small or num_items > 1 or np.prod(chunk) * voxel_bytes > ome_zarr.MIN_CHUNK_BYTES // 4


def test_a_chunk_is_half_a_patch_an_axis_and_small_frames_are_never_cut():
    assert ome_zarr.chunk_shape_zyx((192, 384, 384), (32, 64, 64), 2) == (16, 32, 32)
    assert ome_zarr.stack_chunk_shape_zyx((1, 28, 28), 3000, (1, 28, 28), 1)[1:] == (28, 28)
    assert ome_zarr.stack_chunk_shape_zyx((1, 64, 64), 3000, (1, 64, 64), 1) == (4, 64, 64)
