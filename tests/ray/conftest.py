"""One Ray of two CPUs for all tests that use one in this process; and a campaign that was not run yet."""

import logging
import os

import numpy as np
import pytest

import hilum
from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.core.recipes import IngestRecipe
from hilum.core.resources import Resources
from hilum.steps import ingest


@pytest.fixture(scope="session")
def ray_cluster():
    """A running Ray. The tests' workers run at the priority of the tests."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    for name, value in (("RAY_worker_niceness", "0"), ("RAY_USAGE_STATS_ENABLED", "0")):
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=200_000_000,
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def begun(tmp_path):
    """A store with a campaign that an oracle answers, which nobody has run yet."""
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "scans.npz",
        images=rng.integers(0, 255, (24, 16, 16), dtype=np.uint8),
        labels=np.arange(24) % 3,
        patients=np.array([f"patient {number}" for number in range(24)]),
    )
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "extends: smoke\nannotator: {kind: oracle}\npool: {split: {validation: 0.2, test: 0.2}}\n"
        "finetune: {architecture: {kind: unet, depth: 1, features: [4, 8]}, num_steps: 2}\n"
    )
    store = hilum.init(tmp_path / "store")
    ingest.run(
        IngestRecipe(),
        find_source(str(tmp_path / "scans.npz")),
        store=store,
        executor=InlineExecutor(),
        resources=Resources(),
        read=read_item,
    )
    return hilum.Campaign.create(store, "noise", recipe=recipe)
