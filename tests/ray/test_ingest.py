"""Ingest on a real Ray: the same bytes as in one process, bad files set aside, a dead worker's files done again."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from ray import cloudpickle

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.ray_data import RayExecutor
from hilum.adapters.reading import read_item
from hilum.core.errors import DataError
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.layout import Store
from hilum.store.manifest import verify

# Workers cannot import this file: its functions travel whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(autouse=True)
def one_key(monkeypatch):
    """Stores with one key give one patient one name, and so can be compared byte by byte."""
    monkeypatch.setenv("HILUM_IDENTITY_KEY", "7e" * 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    lines = ["image,class,patient"]
    for number in range(30):
        Image.fromarray(rng.integers(0, 255, (24, 24)).astype(np.uint8)).save(folder / f"{number:02d}.png")
        lines.append(f"{number:02d}.png,{'odd' if number % 2 else 'even'},patient {number // 3}")
    (folder / "07.png").write_bytes(b"no image")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


def ingested(folder, store, executor, *, num_workers=2, read=read_item, **changes):
    return ingest.run(
        IngestRecipe.model_validate({"patch_shape_zyx": (1, 24, 24), **changes}),
        find_source(str(folder)),
        store=store,
        executor=executor,
        resources=Resources(num_ingest_workers=num_workers),
        read=read,
    )


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_one_process_one_worker_and_two_leave_the_same_bytes(tmp_path, folder):
    executors = {"inline": (InlineExecutor(), 1), "one": (RayExecutor(), 1), "two": (RayExecutor(), 2)}
    for name, (executor, num_workers) in executors.items():
        manifest = ingested(folder, Store(str(tmp_path / name)), executor, num_workers=num_workers)
        assert manifest.results["num_volumes"] == 29
        assert manifest.results["num_quarantined"] == 1
        assert verify(str(tmp_path / name / "runs" / "ingest" / manifest.run_id), manifest) == []
    left = content(tmp_path / "inline")
    assert left == content(tmp_path / "one") == content(tmp_path / "two")
    assert not any("partial" in name or "parts" in name for name in left)


PREPARE = {
    "orientation": "LPS",
    "crop_to_body": {"margin_mm": 1, "above": 100},
    "spacing_mm_zyx": [1.5, 0.8, 2],
    "interpolation": "bspline",
    "window": {"percentiles": [2, 98]},
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(1)
    for number in range(20):
        image = rng.integers(0, 60, (12, 14, 16)).astype(np.int16)
        image[3:9, 4:11, 2:12] += 400
        nib.save(nib.Nifti1Image(image, np.diag([1.0, -1.2, 2.0, 1.0])), folder / f"{number:02d}.nii.gz")
    return folder


def test_prepared_scans_are_the_same_bytes_from_one_process_one_worker_and_two(tmp_path, scans):
    executors = {"inline": (InlineExecutor(), 1), "one": (RayExecutor(), 1), "two": (RayExecutor(), 2)}
    for name, (executor, num_workers) in executors.items():
        store = Store(str(tmp_path / name))
        manifest = ingested(scans, store, executor, num_workers=num_workers, prepare=PREPARE, num_coarser_levels=1)
        assert manifest.results["num_volumes"] == 20
    assert content(tmp_path / "inline") == content(tmp_path / "one") == content(tmp_path / "two")


def test_a_worker_killed_over_a_prepared_scan_costs_no_byte(tmp_path, scans):
    ingested(scans, Store(str(tmp_path / "calm")), InlineExecutor(), prepare=PREPARE)
    deadly = partial(die_the_first_time, flag=str(tmp_path / "died"), last_words="17.nii.gz")
    ingested(scans, Store(str(tmp_path / "killed")), RayExecutor(), read=deadly, prepare=PREPARE)
    assert (tmp_path / "died").exists()
    assert content(tmp_path / "calm") == content(tmp_path / "killed")


def die_the_first_time(root, item, *, flag, last_words="20.png", **limits):
    """A reader that takes its whole process with it, once: what a lost machine looks like."""
    if item.image == last_words and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return read_item(root, item, **limits)


def test_a_worker_that_is_killed_costs_no_file_and_no_byte(tmp_path, folder):
    ingested(folder, Store(str(tmp_path / "calm")), InlineExecutor())
    deadly = partial(die_the_first_time, flag=str(tmp_path / "died"))
    ingested(folder, Store(str(tmp_path / "killed")), RayExecutor(), read=deadly)
    assert (tmp_path / "died").exists()
    assert content(tmp_path / "calm") == content(tmp_path / "killed")


def test_the_reason_why_nothing_could_be_used_comes_back_from_the_workers(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "Jane_Doe.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="None of the 1 files") as caught:
        ingested(tmp_path / "in", Store(str(tmp_path / "store")), RayExecutor())
    assert "Jane" not in str(caught.value)
