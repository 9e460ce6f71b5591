"""A store under fire: chunks lost and flipped, kills at any moment, a full or read-only disk, two writers at once."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hilum.core.geometry import Patch
from hilum.store.inspection import damages
from hilum.store.layout import Store
from hilum.store.opening import create_store
from hilum.store.volume_checks import volume_damages
from hilum.store.volumes import open_volume, volumes_of

KEY = "7e" * 32
INGEST = """
import sys
from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.cli.boundary import run_guarded
from hilum.cli.composition import Engine, store_at
from hilum.cli.main import leave
from hilum.cli.reading import ingest_recipe, run_ingest
from hilum.core.resources import Resources
print("begun", flush=True)

def ingest(_):
    engine = Engine(InlineExecutor(), Resources())
    print(run_ingest(store_at(sys.argv[1]), ingest_recipe(None), find_source(sys.argv[2]), engine).run_id)

leave(run_guarded(ingest, []))
"""
"""`hilum ingest STORE FILES` without a Ray: what it does, in the process that is killed."""


@pytest.fixture(autouse=True)
def one_key(monkeypatch, tmp_path):
    """Stores with one key give one patient one name, and so can be compared byte by byte."""
    monkeypatch.setenv("HILUM_IDENTITY_KEY", KEY)
    monkeypatch.setenv("HILUM_STATE", str(tmp_path / "state"))


def scans(folder, *, num, size=48, seed=0):
    """Noisy blocks, which compress badly, with outlines."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for number in range(num):
        image = rng.integers(0, 4000, (size // 2, size, size)).astype(np.int16)
        np.save(folder / "images" / f"{number:03d}.npy", image)
        np.save(folder / "labels" / f"{number:03d}.npy", (image > 3000).astype(np.uint16))
    return folder


def ingesting(store, files, **how):
    command = [sys.executable, "-c", INGEST, str(store), str(files)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def ingested(store, files):
    """A new store at ``store`` with the files in it, and the id of the ingest."""
    create_store(str(store))
    out, err = (process := ingesting(store, files)).communicate()
    assert process.returncode == 0, err
    return Store(str(store)), out.split()[-1]


def content(folder):
    """Every file below a folder, and its bytes. The store's own settings name no ingest and are left out."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def found(store):
    return [damage for damage in [*damages(store), *volume_damages(store)] if damage]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three ingested scans: a store that tests copy and then damage."""
    os.environ["HILUM_IDENTITY_KEY"] = KEY
    folder = tmp_path_factory.mktemp("small")
    ingested(folder / "store", scans(folder / "scans", num=3, size=32))
    del os.environ["HILUM_IDENTITY_KEY"]
    return folder / "store"


def test_two_hundred_flipped_bits_anywhere_in_a_store_are_found_and_the_file_is_named(small, tmp_path):
    store = Store(str(shutil.copytree(small, tmp_path / "store")))
    files = sorted(p for place in ("volumes", "runs") for p in Path(store.url, place).rglob("*") if p.is_file())
    sizes = np.array([p.stat().st_size for p in files])
    chance = random.Random(3)
    # Half of them wherever bytes are, which is in voxels; half in any file, which is in metadata.
    hit = [*chance.choices(files, weights=sizes.tolist(), k=100), *chance.choices(files, k=100)]
    for file in hit:
        good = file.read_bytes()
        place = chance.randrange(8 * len(good))
        bad = bytearray(good)
        bad[place // 8] ^= 1 << (place % 8)
        file.write_bytes(bad)
        (damage,) = found(store)
        assert str(file).startswith(f"{store.url}/{damage.place}")
        assert any(file.name in reason for reason in damage.reasons) or "not a whole volume" in damage.reasons[0]
        file.write_bytes(good)
    assert found(store) == []


def test_every_lost_file_of_a_store_is_found_and_named(small, tmp_path):
    store = Store(str(shutil.copytree(small, tmp_path / "store")))
    for file in sorted(p for p in Path(store.url, "volumes").rglob("*") if p.is_file()):
        good = file.read_bytes()
        file.unlink()
        (damage,) = found(store)
        name = str(file).removeprefix(f"{store.url}/{damage.place}/")
        assert any(name in reason for reason in damage.reasons) or "not a whole volume" in damage.reasons[0]
        file.write_bytes(good)
    assert found(store) == []


def test_a_lost_volume_is_found_and_the_same_ingest_brings_it_back(small, tmp_path):
    store = Store(str(shutil.copytree(small, tmp_path / "store")))
    before = content(store.url)
    lost = sorted(Path(store.url, "volumes").iterdir())[1]
    shutil.rmtree(lost)
    (damage,) = found(store)
    assert damage.place == f"volumes/{lost.name}"
    assert damage.reasons == ("missing",)
    ingested(store.url, small.parent / "scans")
    assert content(store.url) == before


def assert_old_or_new(store, whole):
    """Every volume and every run is as in the whole store, or not there at all."""
    for folder in [
        *Path(store).glob("volumes/*.zarr"),
        *(p.parent for p in Path(store).glob("runs/*/*/manifest.json")),
    ]:
        name = folder.relative_to(store).as_posix()
        mine = {f"{name}/{k}": v for k, v in content(folder).items() if not k.startswith("parts/")}
        assert mine == {k: v for k, v in whole.items() if k.startswith(f"{name}/")}, name


def test_twenty_kills_at_any_moment_leave_the_old_or_the_new_and_the_rerun_ends_byte_for_byte_the_same(tmp_path):
    files = scans(tmp_path / "scans", num=80)
    whole = content(ingested(tmp_path / "calm", files)[0].url)
    chance = random.Random(11)
    num_kills, attempt = 0, 0
    while num_kills < 20:
        store = tmp_path / f"store-{attempt}"
        create_store(str(store))
        while num_kills < 20 and killed(store, files, chance):
            num_kills += 1
            assert_old_or_new(store, whole)
        # It came to its end, by itself or now that nobody kills it.
        ingested(store, files)
        assert content(store) == whole
        attempt += 1


def killed(store, files, chance):
    """Whether an ingest was killed within moments of its beginning; False when it was faster."""
    process = ingesting(store, files)
    assert process.stdout.readline() == "begun\n"
    time.sleep(chance.uniform(0.0, 0.5))
    process.kill()
    process.communicate()
    return process.returncode < 0


def with_own_mounts(script, *arguments):
    """Run a shell script that may mount file systems which nobody else sees, and which go with it."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *as_root, "--mount", "sh", "-eu", "-c", script, "sh", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


FULL = """
mount -t tmpfs -o size=2m tmpfs "$1"
cp -a "$2"/. "$1"
set +e; "$3" -c "$4" "$1" "$5"; echo "code $?"; set -e
cp -a "$1"/. "$6"
mount -o remount,size=64m "$1"
"$3" -c "$4" "$1" "$5" > /dev/null
cp -a "$1"/. "$7"
"""


def test_on_a_full_disk_an_ingest_says_so_leaves_what_was_there_and_goes_on_once_there_is_room(small, tmp_path):
    more = scans(tmp_path / "scans", num=12, seed=1)
    mounted, full, roomy, calm = (tmp_path / name for name in ("mounted", "full", "roomy", "calm"))
    for folder in (mounted, full, roomy):
        folder.mkdir()
    done = with_own_mounts(FULL, mounted, small, sys.executable, INGEST, more, full, roomy)
    assert done.returncode == 0, done.stderr
    assert "code 2" in done.stdout
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert found(Store(str(full))) == []
    assert content(small).items() <= content(full).items()
    assert not list(full.rglob("*.partial"))
    shutil.copytree(small, calm)
    ingested(calm, more)
    assert content(roomy) == content(calm)


READ_ONLY = """
mount -t tmpfs -o size=64m tmpfs "$1"
cp -a "$2"/. "$1"
mount -o remount,ro "$1"
set +e
"$3" -c "$4" "$1" "$5"; echo "code $?"
"$3" -c "$4" "$1" "$2/../scans"; echo "code $?"
"$3" -m hilum doctor --store "$1"; echo "code $?"
"""


def test_on_a_read_only_disk_an_ingest_says_so_and_what_is_there_is_read(small, tmp_path):
    more = scans(tmp_path / "scans", num=2, seed=1)
    (tmp_path / "mounted").mkdir()
    done = with_own_mounts(READ_ONLY, tmp_path / "mounted", small, sys.executable, INGEST, more)
    assert [line for line in done.stdout.splitlines() if line.startswith("code ")] == ["code 2", "code 0", "code 0"]
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_limit_on_how_large_files_may_be_is_told_like_a_full_disk(tmp_path):
    import resource

    create_store(str(tmp_path / "store"))
    files = scans(tmp_path / "scans", num=1)
    limit = (40_000, 40_000)
    process = ingesting(tmp_path / "store", files, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    _, err = process.communicate()
    assert process.returncode == 2
    assert "File too large" in err
    assert not list((tmp_path / "store" / "volumes").iterdir())


def test_two_ingests_of_the_same_files_at_once_end_as_one(tmp_path):
    files = scans(tmp_path / "scans", num=24)
    whole = content(ingested(tmp_path / "calm", files)[0].url)
    for attempt in range(3):
        store = tmp_path / f"store-{attempt}"
        create_store(str(store))
        both = [ingesting(store, files) for _ in range(2)]
        said = [process.communicate() for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert said[0][0] == said[1][0]
        assert content(store) == whole


def test_two_ingests_of_other_files_at_once_lose_nothing(tmp_path):
    """Half of the files are the same in both, and so are their volumes."""
    one = scans(tmp_path / "one", num=12)
    other = scans(tmp_path / "other", num=16)
    create_store(str(tmp_path / "store"))
    both = [ingesting(tmp_path / "store", files) for files in (one, other)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    store = Store(str(tmp_path / "store"))
    assert found(store) == []
    volumes = [volumes_of(store, out.split()[-1]) for out, _ in said]
    assert [len(v) for v in volumes] == [12, 16]
    assert len(volumes[0].keys() & volumes[1].keys()) >= 1
    for volume in (v for of_one in volumes for v in of_one.values()):
        open_volume(store, volume).read_CZYX(Patch(volume.volume_id, (0, 0, 0), volume.grid.shape_zyx))
