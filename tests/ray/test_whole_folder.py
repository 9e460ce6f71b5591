"""One `hilum ingest` over a hospital's whole folder: what is sound is in, what is not is told, nothing runs over."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zarr
from tests.ray.hospital import LIVER, SPLEEN, fingerprint, write_hospital
from tests.ray.own_ray import watched

from hilum.store.opening import create_store
from hilum.store.tables import QUARANTINE, read_table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MOST_BYTES = 1 << 30
"""For any one process: the bomb among the files would unpack to three times as much."""


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return write_hospital(tmp_path_factory.mktemp("hospital"))


@pytest.fixture(scope="module")
def run(hospital, tmp_path_factory):
    """The command as a user types it, on a Ray of its own, and what it left in the store."""
    folder = tmp_path_factory.mktemp("run")
    store, _ = create_store(str(folder / "store"))
    command = [sys.executable, "-m", "hilum", "ingest", str(hospital.folder), "--store", store.url]
    with watched(command, folder=folder, COLUMNS="80") as seen:
        yield seen, Path(store.url)


@pytest.fixture(scope="module")
def second(run, hospital, tmp_path_factory):
    """The same command once more, and every file of the store before and after it."""
    _, store = run
    before = files_of(store)
    command = [sys.executable, "-m", "hilum", "ingest", str(hospital.folder), "--store", str(store)]
    with watched(command, folder=tmp_path_factory.mktemp("second"), COLUMNS="80") as seen:
        yield seen, before, files_of(store)


def files_of(store):
    """Of every run and volume, what is written when."""
    places = [path for kind in ("runs", "volumes") for path in (store / kind).rglob("*") if path.is_file()]
    return {str(path): path.stat().st_mtime_ns for path in places}


def arrays(store, place):
    """Every array of the store's volumes at ``place``, read by zarr-python alone."""
    for volume in sorted((store / "volumes").glob("*.zarr")):
        group = zarr.open_group(volume, mode="r")
        if place in group:
            yield np.asarray(group[place])


def told(out):
    """The lines between 'Set aside' and the counts, which stand last on the screen."""
    first, *lines = out.splitlines()
    assert first.startswith("Set aside")
    return lines[: next(n for n, line in enumerate(lines) if line.startswith("ingest "))]


def test_it_finishes_and_says_partly(run):
    seen, _ = run
    assert seen.code == 5, seen.err
    assert "Traceback" not in seen.out + seen.err


def test_exactly_the_good_images_are_in_voxel_by_voxel(run, hospital):
    _, store = run
    found = Counter(fingerprint(image) for image in arrays(store, "0"))
    assert found == Counter(hospital.good)


def test_the_label_map_of_a_series_is_what_was_drawn_on_it(run, hospital):
    _, store = run
    assert [fingerprint(labels) for labels in arrays(store, "labels/truth/0")] == hospital.label_maps
    (manifest,) = (store / "runs" / "ingest").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["results"]["class_names"] == ["background", LIVER, SPLEEN]


def test_every_bad_file_is_on_the_screen_with_its_reason_in_one_line(run, hospital):
    seen, _ = run
    lines = dict(line.strip().split(": ", 1) for line in told(seen.out))
    assert sorted(lines) == sorted(hospital.reasons)
    for name, reason in hospital.reasons.items():
        assert reason in lines[name], name


def test_every_bad_file_is_in_quarantine_with_its_reason_and_without_its_name(run, hospital):
    _, store = run
    (table,) = (store / "runs" / "ingest").glob("*/quarantine.parquet")
    rows = read_table(str(table), QUARANTINE).to_pylist()
    assert len(rows) == len(hospital.reasons)
    for name, reason in hospital.reasons.items():
        assert any(reason in row["reason"] for row in rows), name
        assert not any(Path(name).name in str(row) for row in rows)


def test_no_process_of_it_ever_had_a_gibibyte(run):
    seen, _ = run
    assert len(seen.peaks_of("ray::Worker")) >= 2
    assert seen.peaks_bytes[seen.driver] > 0
    too_much = {pid: peak for pid, peak in seen.peaks_bytes.items() if peak >= MOST_BYTES}
    assert {pid: seen.commands[pid] for pid in too_much} == {}


def test_nothing_is_written_where_hostile_names_point(run, hospital):
    outside = hospital.folder.parent / "outside"
    assert [path.name for path in outside.iterdir()] == ["secret.nii"]
    assert not Path("/tmp/hilum-outside.nii").exists()


def test_the_same_command_again_is_already_done_with_the_same_list_and_the_same_code(run, second):
    (first, _), (again, before, after) = run, second
    assert again.code == first.code == 5, again.err
    assert any(line.endswith("already done") for line in again.out.splitlines())
    assert told(again.out) == told(first.out)
    assert after == before


def test_what_to_do_with_what_was_set_aside_is_said_beside_what_comes_next(run):
    seen, _ = run
    lines = seen.out.splitlines()
    assert "Repair or remove what was set aside" in lines[lines.index("Next:") - 1]
