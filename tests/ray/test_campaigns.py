"""A whole campaign on Ray asks and is told what it is in one process, with one worker or two."""

import shutil
from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.adapters.ray_data import RayExecutor
from hilum.core.ports import Executor
from hilum.core.resources import Resources
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.store.layout import Store
from hilum.store.selections import read_selection
from hilum.testing.campaigns import check_invariants, tiny_recipe
from hilum.testing.phantoms import Phantom, phantom_store

RECIPE = tiny_recipe("classify")


def asked(store: Store) -> list[list[str]]:
    """The candidates of every round, in rank order."""
    rounds = [read_selection(store, runs_of(events)["select"]) for events in history(store, "liver")]
    return [[chosen.candidate.candidate_id for chosen in selection] for selection in rounds]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("phantom")
    return folder, phantom_store(str(folder), Phantom("classify", 2))[1]


def run(origin: tuple[Path, str], folder: Path, executor: Executor, resources: Resources) -> Store:
    shutil.copytree(origin[0], folder)
    store = Store(str(folder))
    campaign = Campaign.create(store, "liver", RECIPE)
    campaign.run(executor=executor, annotator=Oracle(store, origin[1]), resources=resources)
    check_invariants(store, "liver", RECIPE)
    return store


def test_one_worker_and_two_select_what_one_process_does(
    ray_cluster: object, origin: tuple[Path, str], tmp_path: Path
) -> None:
    here = asked(run(origin, tmp_path / "here", InlineExecutor(), Resources()))
    for num_workers in (1, 2):
        resources = Resources(num_score_workers=num_workers, score_batch_size=5 * num_workers)
        store = run(origin, tmp_path / f"ray-{num_workers}", RayExecutor(), resources)
        assert asked(store) == here
        assert Campaign.open(store, "liver").finished
