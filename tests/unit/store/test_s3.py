"""On a bucket: the same bytes as in a folder, read by tensorstore and by zarr-python, and damage is damage.

The server is moto's, a real one on loopback that speaks S3.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import s3fs
import zarr

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.errors import CorruptionError, RequestError
from hilum.core.geometry import Grid, Patch
from hilum.core.imaging import Study, Volume
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.core.sources import ReadImage
from hilum.steps import ingest
from hilum.store import audit, vault, zarr_arrays
from hilum.store.layout import Store
from hilum.store.manifest import sha256, write_bytes
from hilum.store.opening import create_store
from hilum.store.volume_checks import volume_damages
from hilum.store.volumes import open_volume, volume_exists, volumes_of, write_volume

BUCKET = "scans"


@pytest.fixture(scope="module")
def endpoint():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(20)


@pytest.fixture(scope="module")
def bucket(endpoint):
    settings = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HILUM_IDENTITY_KEY": "5a" * 32,
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    s3fs.S3FileSystem.clear_instance_cache()
    fs = s3fs.S3FileSystem()
    fs.mkdir(BUCKET)
    yield fs
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    s3fs.S3FileSystem.clear_instance_cache()


def a_volume(name):
    grid = Grid((20, 40, 40), (2.0, 1.0, 1.0))
    return Volume(name, Study("s", "p"), grid, (20, 40, 40), 1, "MR", 0.0, 1.0, True)


def written(store, name):
    volume = a_volume(name)
    rng = np.random.default_rng(1)
    image = rng.integers(0, 500, (1, 20, 40, 40)).astype(np.int16)
    labels = rng.integers(0, 3, (20, 40, 40)).astype(np.uint16)
    write_volume(store, volume, image, labels, patch_shape_zyx=(8, 16, 16))
    return volume, image, labels


def test_a_volume_on_a_bucket_is_read_by_tensorstore_and_by_zarr_python_alike(bucket):
    store = Store(f"s3://{BUCKET}/alike")
    volume, image, labels = written(store, "abc")
    patch = Patch("abc", (3, 10, 20), (8, 16, 16))
    reader = open_volume(store, volume)
    assert np.array_equal(reader.read_CZYX(patch), image[(slice(None), *patch.slices)])
    assert np.array_equal(reader.read_label_map_ZYX(patch), labels[patch.slices])
    assert isinstance(zarr_arrays.open_array(f"{store.volume('abc')}/0"), zarr_arrays._Fast)
    assert np.array_equal(zarr.open_array(f"{store.volume('abc')}/0", mode="r")[:], image)


def test_a_bucket_and_a_folder_hold_the_same_files(bucket, tmp_path):
    remote, local = Store(f"s3://{BUCKET}/same"), Store(str(tmp_path))
    written(remote, "abc")
    written(local, "abc")
    here = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    there = {path.removeprefix(f"{BUCKET}/same/"): bucket.cat_file(path) for path in bucket.find(f"{BUCKET}/same")}
    assert here == there


def test_a_volume_whose_last_file_has_not_arrived_is_not_there(bucket):
    store = Store(f"s3://{BUCKET}/half")
    volume, _, _ = written(store, "abc")
    bucket.rm(f"{BUCKET}/half/volumes/abc.zarr/zarr.json")
    assert not volume_exists(store, "abc")
    with pytest.raises(CorruptionError, match="not a whole volume"):
        open_volume(store, volume)


@pytest.mark.parametrize("damage", ["lost", "flipped"])
def test_a_damaged_shard_on_a_bucket_is_damage(bucket, damage):
    store = Store(f"s3://{BUCKET}/{damage}")
    volume, _, _ = written(store, "abc")
    (shard,) = bucket.find(f"{BUCKET}/{damage}/volumes/abc.zarr/0/c")
    content = bytearray(bucket.cat_file(shard))
    bucket.rm(shard)
    if damage == "flipped":
        content[40] ^= 1
        bucket.pipe_file(shard, bytes(content))
    reader = open_volume(store, volume)
    with pytest.raises(CorruptionError):
        reader.read_CZYX(Patch("abc", (0, 0, 0), (20, 40, 40)))


def test_a_server_that_is_gone_is_not_mistaken_for_damage(bucket):
    error = zarr_arrays._damaged("s3://x", ValueError("UNAVAILABLE: connection refused"))
    assert not isinstance(error, CorruptionError)


def test_the_doctor_names_what_is_damaged_on_a_bucket(bucket):
    store = Store(f"s3://{BUCKET}/doctor")
    written(store, "abc")
    written(store, "def")
    assert list(volume_damages(store)) == [None, None]
    shard = bucket.find(f"{BUCKET}/doctor/volumes/def.zarr/0/c")[0]
    content = bytearray(bucket.cat_file(shard))
    content[2] ^= 1
    bucket.pipe_file(shard, bytes(content))
    bucket.rm(bucket.find(f"{BUCKET}/doctor/volumes/def.zarr/labels/truth/0/c")[0])
    none, damage = volume_damages(store)
    assert none is None
    assert damage.place == "volumes/def.zarr"
    changed, missing = damage.reasons
    assert changed.startswith("0/c/0/0/0/0: damaged in the chunk of voxels z ")
    assert missing.startswith("labels/truth/0/c/0/0/0: missing")


def test_of_two_writers_on_a_bucket_the_first_stands(bucket):
    """Both look before either writes: what decides is the server's condition."""
    url = f"s3://{BUCKET}/race/manifest.json"
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: write_bytes(url, str(n).encode(), only_if_absent=True), range(8)))
    assert won.count(True) == 1
    assert bucket.cat_file(f"{BUCKET}/race/manifest.json") == str(won.index(True)).encode()


DELAY_SECONDS = 0.1


def answer_slowly(client, port):
    """Hand every request on at once, and every answer a tenth of a second later."""
    with client, socket.create_connection(("127.0.0.1", port)) as server:

        def hand_on(origin, target, delay):
            with contextlib.suppress(OSError):
                while payload := origin.recv(1 << 20):
                    time.sleep(delay)
                    target.sendall(payload)
                target.shutdown(socket.SHUT_WR)

        answers = threading.Thread(target=hand_on, args=(server, client, DELAY_SECONDS), daemon=True)
        answers.start()
        hand_on(client, server, 0)
        answers.join()


@pytest.fixture
def slow_bucket(endpoint, bucket, monkeypatch):
    """The same bucket, a tenth of a second further away."""
    port = int(endpoint.rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=answer_slowly, args=(client, port), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        s3fs.S3FileSystem.clear_instance_cache()
        yield s3fs.S3FileSystem()
        listener.shutdown(socket.SHUT_RDWR)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_slow_bucket_holds_the_same_bytes_and_gives_the_same_voxels(slow_bucket, tmp_path):
    slow, local = Store(f"s3://{BUCKET}/slow"), Store(str(tmp_path))
    started = time.monotonic()
    volume, image, labels = written(slow, "abc")
    written(local, "abc")
    reader = open_volume(slow, volume)
    patch = Patch("abc", (3, 10, 20), (8, 16, 16))
    assert np.array_equal(reader.read_CZYX(patch), image[(slice(None), *patch.slices)])
    assert np.array_equal(reader.read_label_map_ZYX(patch), labels[patch.slices])
    assert time.monotonic() - started > 5 * DELAY_SECONDS, "nothing was slow"
    here = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    there = {
        path.removeprefix(f"{BUCKET}/slow/"): slow_bucket.cat_file(path) for path in slow_bucket.find(f"{BUCKET}/slow")
    }
    assert here == there


def test_a_folder_of_images_on_a_bucket_is_ingested_into_a_bucket(bucket, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 255, (32, 32)).astype(np.uint8))
        bucket.put(str(tmp_path / f"{name}.npy"), f"{BUCKET}/incoming/{name}.npy")
    source = find_source(f"s3://{BUCKET}/incoming")
    store = Store(f"s3://{BUCKET}/store")
    manifest = ingest.run(
        IngestRecipe(patch_shape_zyx=(1, 32, 32)),
        source,
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    assert manifest.results["num_volumes"] == 2
    for volume in volumes_of(store, manifest.run_id).values():
        read = open_volume(store, volume).read_CZYX(Patch(volume.volume_id, (0, 0, 0), (1, 32, 32)))
        digest = ReadImage(read, volume.grid, volume.item_shape_zyx).image_digest()
        files = [np.load(Path(tmp_path, f"{name}.npy"))[None, None] for name in ("one", "two")]
        assert digest in {ReadImage(f, volume.grid, volume.item_shape_zyx).image_digest() for f in files}
    assert not bucket.exists(f"{BUCKET}/store/identity.key")


def test_a_store_on_a_bucket_without_a_key_from_outside_is_refused_before_any_work(bucket, tmp_path, monkeypatch):
    monkeypatch.delenv("HILUM_IDENTITY_KEY")
    np.save(tmp_path / "a.npy", np.zeros((8, 8), np.uint8))
    store = Store(f"s3://{BUCKET}/keyless")
    with pytest.raises(RequestError, match="HILUM_IDENTITY_KEY"):
        ingest.run(
            IngestRecipe(),
            find_source(str(tmp_path)),
            store=store,
            executor=InlineExecutor(),
            resources=Resources(),
            read=read_item,
        )
    assert not bucket.exists(f"{BUCKET}/keyless")


def test_a_store_in_a_bucket_that_is_not_there_is_refused_with_what_to_do(bucket):
    with pytest.raises(RequestError, match="Make the bucket first"):
        create_store("s3://nowhere/store")


def test_writers_on_a_bucket_get_one_order_in_the_audit_log(bucket):
    store = Store(f"s3://{BUCKET}/audited")
    with ThreadPoolExecutor(4) as threads:
        acts = [audit.Act("selected", "liver", number) for number in range(20)]
        numbers = [record.number for record in threads.map(lambda act: audit.append(store, act, actor="ada"), acts)]
    assert sorted(numbers) == list(range(1, 21))
    assert audit.verify(store) == audit.Verdict(20, audit.head(store))
    bucket.rm(store.audit("00000007.json"))
    assert audit.verify(store).wrong == "record 7 is missing"


def test_a_store_on_a_bucket_is_copied_into_a_bucket_and_comes_back_into_a_folder(bucket, tmp_path):
    store, vault_url = Store(f"s3://{BUCKET}/source"), f"s3://{BUCKET}/vault"
    written(store, "abc")
    listed = vault.list_files(store.url)
    copied = [vault.write_snapshot(vault_url, store, listed, {}, on_file=lambda *_: None) for _ in range(2)]
    assert copied[0].num_new == len({sha256(store.path(path)) for path in listed})
    assert copied[1].num_new == 0
    files = vault.snapshot_files(vault_url, vault.snapshots(vault_url)[-1])
    assert vault.damaged_files(vault_url, files, on_file=lambda *_: None) == []
    vault.restore_files(vault_url, files, Store(str(tmp_path)), on_file=lambda *_: None)
    here = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert here == {path: bucket.cat_file(store.path(path)) for path in listed}
