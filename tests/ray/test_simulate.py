"""A simulation whose branches run side by side on Ray finds what one process finds."""

import sys

import pytest
from ray import cloudpickle

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.adapters.ray_data import RayExecutor
from hilum.core.recipes import SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop.campaign import campaigns
from hilum.loop.events import history, runs_of
from hilum.loop.simulate import Workbench, simulate
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

# Workers cannot import this file: its functions travel whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

RECIPE = SimulateRecipe(campaign=tiny_recipe("classify"), strategies={"active": {}}, seeds=(0, 1), full_data=False)
SIDE_BY_SIDE = Resources(num_parallel_branches=2)


def oracle(store, ingest_id, choice):
    return Oracle(store, ingest_id, **choice.params)


def asked(store):
    return {name: [runs_of(events)["collect"] for events in history(store, name)] for name in campaigns(store)}


@pytest.fixture
def stores(tmp_path):
    return [phantom_store(str(tmp_path / name), Phantom("classify", 2))[0] for name in ("ray", "here")]


def test_branches_on_ray_find_what_this_process_finds(ray_cluster, stores):
    on_ray, here = stores
    told = []
    # In a worker a branch does everything itself: the cores are full of branches already.
    workbench = Workbench(InlineExecutor, oracle)
    options = {"workbench": workbench, "resources": SIDE_BY_SIDE}
    parallel = simulate(on_ray, "sim", RECIPE, executor=RayExecutor(), on_branch=told.append, **options)
    alone = simulate(here, "sim", RECIPE, executor=InlineExecutor(), **options)
    assert sorted((b.strategy, b.seed) for b in told) == [(s, k) for s in ("active", "random") for k in (0, 1)]
    assert asked(on_ray) == asked(here)
    assert parallel.run_id == alone.run_id
    for found, wanted in zip(parallel.results["branches"], alone.results["branches"], strict=True):
        assert found["values"] == pytest.approx(wanted["values"], abs=1e-5)
