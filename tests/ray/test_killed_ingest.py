"""`hilum ingest` itself, with its own Ray, killed and typed again: it ends as if nobody had killed it."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.cli.reading import ingest_recipe
from hilum.core.resources import Resources
from hilum.steps import ingest
from hilum.store.opening import create_store

NUM_KILLS = 3


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """One key for all stores, and a Ray of the command's own."""
    monkeypatch.setenv("HILUM_IDENTITY_KEY", "7e" * 32)
    own = {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0", "HILUM_STATE": str(tmp_path / "state")}
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | own


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_a_command_killed_with_its_workers_busy_ends_byte_for_byte_the_same_when_typed_again(environment, tmp_path):
    (tmp_path / "scans").mkdir()
    rng = np.random.default_rng(0)
    for number in range(240):
        voxels = rng.integers(0, 4000, (32, 64, 64)).astype(np.int16)
        np.save(tmp_path / "scans" / f"{number:03d}.npy", voxels)
    source = find_source(str(tmp_path / "scans"))
    calm, _ = create_store(str(tmp_path / "calm"))
    ingest.run(
        ingest_recipe(None), source, store=calm, executor=InlineExecutor(), resources=Resources(), read=read_item
    )
    store, _ = create_store(str(tmp_path / "store"))
    command = [sys.executable, "-m", "hilum", "ingest", source.root, "--store", store.url]
    chance = random.Random(5)
    for kill in range(NUM_KILLS):
        before = len(list(Path(store.url, "volumes").glob("*.zarr")))
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(Path(store.url, "volumes").glob("*.zarr"))) < before + 8:
            time.sleep(0.02)
        time.sleep(chance.uniform(0.0, 0.2))
        process.kill()
        assert process.wait() < 0, f"it was done before kill {kill}"
    last = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    left = content(store.url)
    assert not [name for name in left if name.endswith(".partial")]
    told = [json.loads(left.pop(name))["action"] for name in sorted(left) if name.startswith("audit/")]
    assert told == ["ingest"]  # by the command; the calm one was a call
    assert left == content(calm.url)
