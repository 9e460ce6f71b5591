"""Shards on a real Ray: warm workers, workers that die, and the same answers whoever gives them."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from ray import cloudpickle

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.ray_data import RayExecutor, connect
from hilum.adapters.ray_workers import NAMESPACE, let_workers_go, warm_workers
from hilum.core.errors import DataError, HilumError
from hilum.core.recipes import ArmRecipe, Choice, PoolRecipe, ScoreRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.steps import pool, score, select
from hilum.store.manifest import sha256
from hilum.testing.phantoms import Phantom, phantom_store
from hilum.testing.untrained import untrained_checkpoint

# Workers cannot import this file: its functions travel whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.usefixtures("ray_cluster")
FRAMES = Phantom("classify", num_frames=20, size=16)
SCORERS = (Choice(kind="margin"), Choice(kind="entropy"), Choice(kind="aift"))
ARMS = (
    ArmRecipe(share=0.6, sampler=Choice(kind="class_stratified")),
    ArmRecipe(share=0.4, sampler=Choice(kind="k_centre")),
)


def who(shard, seconds=0.0):
    time.sleep(seconds)
    return {"shard": shard, "pid": os.getpid()}


def refuse(shard):
    raise DataError(f"Shard {shard} is not what it says.")


def raise_what_cannot_travel(shard):
    class LocalError(Exception):
        def __init__(self, one, other):
            super().__init__(f"{one} and {other}")

    raise LocalError("this", "that")


def die_once(shard, flag):
    if shard == 3 and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"shard": shard}


def die(shard):
    os._exit(1)


def spread(work=who, num=8, num_workers=2, **resources):
    how = {"label": "test", "resources": Resources(**resources), "num_workers": num_workers}
    return list(RayExecutor().map_shards(work, list(range(num)), **how))


def pids_of_two_workers():
    pids = {row["pid"] for row in spread(partial(who, seconds=0.2), num=6)}
    assert len(pids) == 2
    return pids


def test_every_shard_is_done_once():
    assert sorted(row["shard"] for row in spread()) == list(range(8))


def test_no_shards_are_no_results():
    assert spread(num=0) == []


def test_a_second_call_finds_the_workers_of_the_first():
    first = pids_of_two_workers()
    assert pids_of_two_workers() == first
    assert {row["pid"] for row in spread(num_workers=1)} < first


def test_results_come_as_they_are_ready():
    how = {"label": "test", "resources": Resources(), "num_workers": 2}
    results = RayExecutor().map_shards(partial(who, seconds=0.3), list(range(10)), **how)
    began = time.monotonic()
    next(results)
    first = time.monotonic() - began
    list(results)
    assert first < 0.8 * (time.monotonic() - began)


def test_a_mistake_comes_back_as_it_was_made():
    with pytest.raises(DataError, match="Shard 0 is not what it says."):
        spread(refuse, num=1)


def test_an_error_that_cannot_travel_still_says_what_it_was():
    with pytest.raises(HilumError, match="LocalError: this and that"):
        spread(raise_what_cannot_travel, num=1)


def test_a_worker_that_dies_costs_no_shard(tmp_path):
    rows = spread(partial(die_once, flag=str(tmp_path / "died")))
    assert (tmp_path / "died").exists()
    assert sorted(row["shard"] for row in rows) == list(range(8))


def test_a_shard_that_kills_every_worker_is_given_up_with_a_sentence():
    with pytest.raises(HilumError, match="test: a worker process died 2 times on one shard"):
        spread(die, num=1, max_failures=1)
    assert len(spread(num=4)) == 4


def test_branches_that_hold_every_cpu_share_the_workers(ray_cluster):
    def branch(number):
        return {row["pid"] for row in spread(partial(who, seconds=0.2), num=4)}

    mine = pids_of_two_workers()
    whole = ray_cluster.remote(num_cpus=1)(branch)
    theirs = ray_cluster.get([whole.remote(number) for number in range(2)], timeout=200)
    assert set.union(*theirs) == mine


def test_more_workers_than_cpus_are_no_deadlock():
    rows = spread(partial(who, seconds=0.3), num=8, num_workers=4)
    assert sorted(row["shard"] for row in rows) == list(range(8))


def test_workers_nobody_needs_leave_by_themselves(ray_cluster):
    # Another size of worker, so that these are not the ones other tests use.
    resources = Resources(cpus_per_worker=1.5)
    warm_workers(1, resources, idle_seconds=1.0)
    names = [a["name"] for a in ray_cluster.util.list_named_actors(all_namespaces=True) if a["namespace"] == NAMESPACE]
    mine = next(name for name in names if "1.5cpu" in name)
    until = time.monotonic() + 60
    while {"name": mine, "namespace": NAMESPACE} in ray_cluster.util.list_named_actors(all_namespaces=True):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert len(spread(num=2, cpus_per_worker=1.5)) == 2


def test_workers_are_let_go_when_the_driver_leaves(ray_cluster):
    pids = pids_of_two_workers()
    let_workers_go()
    until = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert pids_of_two_workers().isdisjoint(pids)


def test_connecting_twice_is_connecting_once(ray_cluster):
    before = ray_cluster.get_runtime_context().get_node_id()
    connect("192.0.2.1:6379")  # nobody there, and nobody asked: this process is connected
    assert ray_cluster.get_runtime_context().get_node_id() == before


class Campaign:
    """A fresh store with a pool of sixty frames in shards of six, and a checkpoint."""

    def __init__(self, folder):
        self.store, ingest_id = phantom_store(str(folder), FRAMES)
        self.checkpoint = untrained_checkpoint(self.store, FRAMES)
        recipe = PoolRecipe(candidates_per_shard=6, min_occupancy=0.1)
        self.pool = pool.run(recipe, {"ingest": ingest_id}, **self.how(InlineExecutor(), 1)).run_id

    def how(self, executor, num_workers):
        resources = Resources(num_score_workers=num_workers, score_batch_size=4)
        return {"store": self.store, "executor": executor, "resources": resources}

    def run(self, executor, num_workers=2):
        """The bytes of every part and of the selection."""
        how = self.how(executor, num_workers)
        inputs = {"pool": self.pool, "checkpoint": self.checkpoint}
        scored = score.run(ScoreRecipe(scorers=SCORERS, members=Choice(kind="mirrors")), inputs, **how)
        inputs = {"score": scored.run_id, "pool": self.pool, "labels": "none"}
        return scored.files, select.run(SelectRecipe(arms=ARMS, num=12), inputs, **how).files

    def parts(self):
        folder = Path(self.store.url, "runs", "score")
        return {part.name: sha256(str(part)) for part in folder.rglob("part-*.parquet")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What one process with one thread answers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    files = Campaign(tmp_path_factory.mktemp("inline")).run(InlineExecutor(), 1)
    torch.set_num_threads(threads)
    return files


@pytest.mark.parametrize("num_workers", [1, 2])
def test_any_number_of_workers_answers_and_selects_what_this_process_does(tmp_path, undisturbed, num_workers):
    assert Campaign(tmp_path).run(RayExecutor(), num_workers) == undisturbed


class Assassin(RayExecutor):
    """Kills a worker process when the first result is in."""

    killed = None

    def map_shards(self, work, shards, **how):
        pids = sorted(pids_of_two_workers())
        for counts in super().map_shards(work, shards, **how):
            if self.killed is None:
                self.killed = pids[0]
                os.kill(self.killed, signal.SIGKILL)
            yield counts


def test_a_worker_killed_while_scoring_changes_no_byte(tmp_path, undisturbed):
    assassin = Assassin()
    campaign = Campaign(tmp_path)
    assert campaign.run(assassin) == undisturbed
    assert not psutil.pid_exists(assassin.killed)
    assert len(campaign.parts()) == 10


class Vanishing(RayExecutor):
    """The driver goes away after three results."""

    def map_shards(self, work, shards, **how):
        for number, counts in enumerate(super().map_shards(work, shards, **how)):
            if number == 3:
                raise KeyboardInterrupt
            yield counts


def test_a_driver_that_went_away_finds_its_finished_shards(tmp_path, undisturbed):
    campaign = Campaign(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        campaign.run(Vanishing())
    done = campaign.parts()
    assert 3 <= len(done) <= 10
    assert campaign.run(RayExecutor()) == undisturbed
    assert done.items() <= campaign.parts().items()


def test_a_pool_is_the_same_from_ray(tmp_path):
    files = []
    for name, executor in (("ray", RayExecutor()), ("inline", InlineExecutor())):
        store, ingest_id = phantom_store(str(tmp_path / name), FRAMES)
        recipe = PoolRecipe(candidates_per_shard=20, min_occupancy=0.5)
        manifest = pool.run(recipe, {"ingest": ingest_id}, store=store, executor=executor, resources=Resources())
        files.append(manifest.files)
    assert files[0] == files[1]


def test_no_cluster_at_an_address_is_a_sentence_at_once():
    program = (
        "from hilum.adapters.ray_data import connect\n"
        "from hilum.core.errors import RequestError\n"
        "try:\n    connect('127.0.0.1:1')\n"
        "except RequestError as error:\n    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.startswith("No Ray cluster answers at '127.0.0.1:1': ")
    assert "Traceback" not in told.stderr
