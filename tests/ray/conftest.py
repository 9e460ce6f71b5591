"""One Ray of two CPUs for all tests that use one in this process."""

import logging
import os

import pytest


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
