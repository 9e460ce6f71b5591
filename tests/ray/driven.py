"""A driver of a whole campaign on a cluster, which holds still where a node is to be lost: run by `losing.py`.

    driven.py ADDRESS STORE INGEST FOLDER HOLD …

A HOLD is ``score``, ``evaluate`` (in a shard, on a worker node), ``finetune-0``, ``finetune-1`` (in a training step of
that rank) or ``select`` (in this process, between scoring and selecting). Whoever comes to one first writes down where
it is, and waits to be lost; all others, and whoever does it again, go on. At ``tasks`` all who score hold still until
they are let go, and with them the Ray Data tasks that wait for them. At the end FOLDER has a result.json.
"""

import faulthandler
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ray
import torch
from tests.ray.nodes import MARK

from hilum.adapters.oracle import Oracle
from hilum.adapters.ray_data import RayExecutor, connect
from hilum.adapters.ray_workers import let_workers_go
from hilum.core.resources import Resources
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.interruptions import Countdown, InterruptedLedger, InterruptedTrainContext

HELD_SECONDS = 200
RESOURCES = Resources(num_score_workers=2, num_train_workers=2, cpus_per_worker=1, max_failures=3)
RECIPE = tiny_recipe("classify", num_per_round=6)
RECIPE = RECIPE.model_copy(
    update={"finetune": RECIPE.finetune.model_copy(update={"num_steps": 6, "num_chunks": 2, "checkpoint_every": 2})}
)
AT_STEP = 3
TASKS = "tasks"


@dataclass(frozen=True)
class Hold:
    """One place. ``folder`` is on a disk that all nodes share."""

    folder: str
    place: str

    def here(self):
        """Wait, if nobody waits or waited here before, until this process is killed or let go."""
        if self._is_first():
            self.until_let_go()

    def with_others(self):
        """Wait, with all who come here, until let go."""
        self._is_first()
        self.until_let_go()

    def _is_first(self):
        file = Path(self.folder, f"held-{self.place}")
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return False
        os.write(descriptor, json.dumps({"node": os.environ[MARK], "pid": os.getpid()}).encode())
        os.close(descriptor)
        return True

    def until_let_go(self):
        until = time.monotonic() + HELD_SECONDS
        while not Path(self.folder, f"released-{self.place}").exists() and time.monotonic() < until:
            time.sleep(0.02)


class Holding(RayExecutor):
    """Ray, on which shards and training steps hold still."""

    def __init__(self, folder, places):
        self._folder, self._places = folder, places

    def map_shards(self, work, shards, *, label, **how):
        if label in self._places:
            work = partial(_held_shard, work=work, hold=Hold(self._folder, label))
        elif label == "score" and TASKS in self._places:
            work = partial(_held_shards, work=work, hold=Hold(self._folder, TASKS))
        return super().map_shards(work, shards, label=label, **how)

    def train(self, work, **how):
        ranks = [int(place[-1]) for place in self._places if place.startswith("finetune-")]
        if ranks:
            work = partial(_held_training, work=work, folder=self._folder, ranks=ranks)
        return super().train(work, **how)


def _held_shard(shard, *, work, hold):
    if not os.environ[MARK].endswith("-1"):
        hold.here()
    return work(shard)


def _held_shards(shard, *, work, hold):
    hold.with_others()
    return work(shard)


def _held_training(context, *, work, folder, ranks):
    if context.rank not in ranks:
        return work(context)
    return work(HeldContext(context, Hold(folder, f"finetune-{context.rank}")))


class HeldContext(InterruptedTrainContext):
    """Holds still before the gradient of a step; everything else is the context's own."""

    def __init__(self, inner, hold):
        super().__init__(inner, Countdown(lambda: None))
        self.hold, self.num_sums = hold, 0

    def sum_in_order(self, chunks):
        self.num_sums += 1
        if self.num_sums == AT_STEP:
            self.hold.here()
        return self.inner.sum_in_order(chunks)

    def __getattr__(self, name):
        return getattr(self.__dict__["inner"], name)


class Points(Countdown):
    """Where this process itself holds still."""

    def __init__(self, folder, places):
        super().__init__(lambda: None)
        self._folder, self._places = folder, places

    def point(self, where):
        super().point(where)
        if where == "after the move to scored" and "select" in self._places:
            Hold(self._folder, "select").here()


def main(address, url, ingest_id, folder, places):
    torch.set_num_threads(1)
    connect(address)
    store = Store(url)
    ledger = InterruptedLedger(open_ledger(store), Points(folder, places))
    campaign = Campaign.create(store, "liver", RECIPE, ledger=ledger)
    begun_at = [campaign.round_number, str(campaign.stage)]
    events = []
    campaign.run(
        executor=Holding(folder, places),
        annotator=Oracle(store, ingest_id),
        resources=RESOURCES,
        on_event=lambda event: events.append([event.round_number, str(event.stage)]),
    )
    let_workers_go()
    return {"begun_at": begun_at, "moves": events, **_cpus()}


def _cpus():
    """How many CPUs the cluster has, and after how long all of them were free."""
    began = time.monotonic()
    while True:
        whole, free = ray.cluster_resources().get("CPU"), ray.available_resources().get("CPU")
        if whole == free or time.monotonic() - began > 60:
            return {"cpus": whole, "free_cpus": free, "free_after_seconds": round(time.monotonic() - began, 1)}
        time.sleep(0.2)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    where, store_url, ingest, shared, *held = sys.argv[1:]
    Path(shared, "result.json").write_text(json.dumps(main(where, store_url, ingest, shared, held)))
