"""A whole campaign on several nodes, of which some are lost on the way; and what came of it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.ray.driven import RECIPE, TASKS

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.testing.campaigns import check_invariants, determined_files
from hilum.testing.invariants import Left, nothing_half_written, same_choices
from hilum.testing.phantoms import Phantom, phantom_store

NAME = "liver"
ROOT = Path(__file__).resolve().parents[2]
_HELD_SECONDS, _DONE_SECONDS = 400, 400
_BACK_SECONDS, _TASK_SECONDS = 60, 60
_TASK = "ray::Map(_pass_on)"
"""What Ray calls the process of a Ray Data task that waits for a shard."""


class NotStruckError(AssertionError):
    """A node was to be lost while something ran on it, and nothing did."""


@dataclass(frozen=True)
class Undisturbed:
    """A campaign that was run in one process, in peace."""

    store: Store
    ingest_id: str
    files: dict

    @classmethod
    def in_folder(cls, folder):
        _, ingest_id = phantom_store(str(folder / "origin"), Phantom("classify", num_frames=16))
        store = Store(shutil.copytree(folder / "origin", folder / "undisturbed").as_posix())
        campaign = Campaign.create(store, NAME, RECIPE)
        campaign.run(executor=InlineExecutor(), annotator=Oracle(store, ingest_id))
        return cls(store, ingest_id, determined_files(store))

    def copy(self, folder):
        """A store with the same images, in which nothing was asked."""
        origin = Path(self.store.url).with_name("origin")
        return Store(shutil.copytree(origin, folder).as_posix())


@dataclass
class Lost:
    """What was lost where, and what came out."""

    what: str
    held: list = field(default_factory=list)
    num_processes_killed: int = 0
    num_moves_before: int = 0
    moves: list = field(default_factory=list)
    seconds_to_go_on: float = 0.0
    free_after_seconds: float = 0.0
    seconds: float = 0.0


class Driver:
    """A campaign's driver on the head of some nodes."""

    def __init__(self, nodes, store, ingest_id, shared, *places):
        words = [sys.executable, "-W", "ignore", "-m", "tests.ray.driven"]
        words += [nodes.address, store.url, ingest_id, str(shared), *places]
        self._shared, self._said = shared, shared / "said"
        with self._said.open("w") as said:
            self.process = nodes.on_head(*words, stdout=said, stderr=said, cwd=ROOT)

    def held_at(self, place):
        """Wait until somebody holds still there; which node, and which process."""
        file = self._shared / f"held-{place}"
        until = time.monotonic() + _HELD_SECONDS
        while not (file.exists() and file.stat().st_size):
            if self.process.poll() is not None or time.monotonic() > until:
                ended = f"the driver ended with {self.process.poll()}; {self._said.read_text()[-3000:]}"
                raise NotStruckError(f"nobody came to '{place}': {ended}")
            time.sleep(0.02)
        return json.loads(file.read_text())

    def stuck(self):
        """Where it stands still: the stacks of all its threads, after all that it said."""
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        return self._said.read_text()[-8000:]

    def let_go(self, place):
        (self._shared / f"released-{place}").touch()

    def result(self):
        """What it says at its end."""
        try:
            code = self.process.wait(_DONE_SECONDS)
        except subprocess.TimeoutExpired:
            stuck = self.stuck()
            self.process.kill()
            raise AssertionError(f"it does not come to its end: {stuck}") from None
        assert code == 0, self._said.read_text()[-3000:]
        return json.loads((self._shared / "result.json").read_text())


def lose_workers(nodes, calm, folder, places, *, how="kill"):
    """Run a campaign, and lose the node of whoever holds still at each of ``places``, in turn."""
    folder.mkdir()
    store = calm.copy(folder / "store")
    lost = Lost(f"{'cable of a' if how == 'cut' else 'a'} worker node at {', '.join(places)}")
    began = time.monotonic()
    driver = Driver(nodes, store, calm.ingest_id, folder, *places)
    cut = []
    for place in places:
        held = driver.held_at(place)
        lost.num_moves_before = max(lost.num_moves_before, len(_events(store)))
        node = _node_at_work(nodes, place, held)
        lost.held.append({"place": place, "lost": node.number, **held})
        struck = time.monotonic()
        if how == "cut":
            _cut(nodes, node)
            cut.append(node)
            nodes.workers.remove(node)
        else:
            lost.num_processes_killed += nodes.lose(node)
        driver.let_go(place) if place in ("select", TASKS) else None
        nodes.add_worker()
        _until_it_moves(nodes, store, driver)
        lost.seconds_to_go_on = round(max(lost.seconds_to_go_on, time.monotonic() - struck), 1)
    _judge(lost, driver.result(), store, calm, began)
    assert len(lost.moves) == len(calm_moves(calm)), "a move was made twice, or not at all"
    for node in cut:
        nodes.workers.append(node)
        nodes.lose(node)
    return lost


def _node_at_work(nodes, place, held):
    """The node to be lost: that of the process which holds still, or of a task that waits for one."""
    if place == "select":
        return nodes.workers[0]
    if place == TASKS:
        return _node_of_a_task(nodes)
    node = nodes.node_at(held["node"])
    if held["pid"] not in node.pids():
        raise NotStruckError(f"process {held['pid']} is not on node {node.number}")
    return node


def _node_of_a_task(nodes):
    until = time.monotonic() + _TASK_SECONDS
    while time.monotonic() < until:
        for node in nodes.workers:
            if node.runs(_TASK):
                return node
        time.sleep(0.1)
    raise NotStruckError(f"no worker node runs '{_TASK}'")


def _cut(nodes, node):
    """Pull the cable of a node that answers, and see that it does not answer any more, and runs on."""
    if not nodes.answers(node):
        raise NotStruckError(f"node {node.number} does not answer before its cable is pulled")
    nodes.cut(node)
    if nodes.answers(node) or not node.pids():
        raise NotStruckError(f"node {node.number} answers without a cable, or is dead")


def lose_the_head(nodes, calm, folder, place):
    """Lose the head, with the driver, the ledger's leases and all workers; start again, and submit the same."""
    folder.mkdir()
    store = calm.copy(folder / "store")
    lost = Lost(f"the head at {place}")
    began = time.monotonic()
    driver = Driver(nodes, store, calm.ingest_id, folder, place)
    held = driver.held_at(place)
    lost.held.append({"place": place, **held})
    lost.num_moves_before = len(_events(store))
    kept = _written(store)
    lost.num_processes_killed = nodes.lose_all()
    driver.process.wait(20)
    struck = time.monotonic()
    nodes.start()
    again = Driver(nodes, store, calm.ingest_id, folder, place)
    _until_it_moves(nodes, store, again)
    lost.seconds_to_go_on = round(time.monotonic() - struck, 1)
    told = again.result()
    _judge(lost, told, store, calm, began)
    assert len(lost.moves) + lost.num_moves_before == len(calm_moves(calm)) + 1, "a move was made twice"
    assert kept.items() <= _written(store).items(), "what was finished was written again"
    return lost


def calm_moves(calm):
    """The moves of the undisturbed campaign: all its events but the first."""
    return _events(calm.store)[1:]


def _judge(lost, told, store, calm, began):
    lost.moves = told["moves"]
    lost.free_after_seconds, lost.seconds = told["free_after_seconds"], round(time.monotonic() - began, 1)
    assert told["cpus"] == told["free_cpus"], told
    assert told["free_after_seconds"] < _BACK_SECONDS
    left = Left(store, NAME, RECIPE)
    check_invariants(store, NAME, RECIPE)
    same_choices(left, Left(calm.store, NAME, RECIPE))
    nothing_half_written(left)
    assert determined_files(store) == calm.files
    if not lost.held:
        raise NotStruckError("no node was lost")


def _events(store):
    return sorted(path.relative_to(store.url).as_posix() for path in Path(store.url).glob("campaigns/*/rounds/*/*/*"))


def _written(store):
    """When each finished file of the runs was written."""
    manifests = Path(store.url, "runs").glob("*/*/manifest.json")
    return {str(path): path.stat().st_mtime_ns for run in manifests for path in run.parent.rglob("*.parquet")}


def _until_it_moves(nodes, store, driver):
    before = len(_events(store))
    until = time.monotonic() + _DONE_SECONDS
    while len(_events(store)) == before and driver.process.poll() is None:
        nodes.mend()
        if time.monotonic() > until:
            raise AssertionError(f"it does not go on; {nodes.told()}\n{driver.stuck()}")
        time.sleep(0.05)
