"""A whole campaign on several Ray nodes, of which one is lost at every stage: ``make evidence WHAT=chaos``.

Each node has an address of its own where this process may make network namespaces (as root). Nodes are killed with
all that runs on them, or their cable is pulled; and the head is lost, with the driver. After each loss the campaign is
compared, byte by byte, with one that nobody disturbed. Then the two hundred schedules of tests/chaos are followed.
Two quiet CPU cores take about half an hour. Everything is made up: no image is fetched. What was seen is kept in
FOLDER/chaos, and not done again by a second call.
"""

import argparse
import datetime
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tests.chaos.test_schedules import NUM_PER_PROCESS, NUM_SCHEDULES, followed
from tests.evidence.commands import PAGES, hardware
from tests.ray.losing import Lost, Undisturbed, lose_the_head, lose_workers
from tests.ray.nodes import Nodes, may_have_namespaces

COMMAND = "make evidence WHAT=chaos"
NUM_WORKERS = 3
PLACES = {
    "score": "at a shard of scoring",
    "tasks": "on which tasks wait for shards of scoring",
    "select": "while it selects",
    "finetune-0": "in a training step, the first worker",
    "finetune-1": "in a training step, the other worker",
    "evaluate": "at a shard of evaluating",
}
CABLES = ("score", "tasks", "finetune-1")
HEADS = ("score", "select", "finetune-0", "evaluate")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path, help="where what was seen is kept, for a second call")
    options.add_argument("--without-schedules", action="store_true", help="lose nodes only")
    given = options.parse_args()
    torch.set_num_threads(1)
    seen = given.folder / "chaos"
    seen.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hilum-chaos-") as folder:
        lost = all_lost(Path(folder), seen)
        schedules = [] if given.without_schedules else all_schedules(Path(folder), seen)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    file = PAGES / "chaos.md"
    file.write_text(page(lost, schedules, date=today), encoding="utf-8")
    print(f"Written to {file}")


def all_lost(folder: Path, seen: Path) -> list[Lost]:
    """Every way of losing a node, each in a campaign of its own."""
    calm, cables = Undisturbed.in_folder(folder), CABLES if may_have_namespaces() else ()
    with ExitStack() as stack:
        nodes = cache(lambda: stack.enter_context(Nodes(NUM_WORKERS)))

        def worker(how: str, place: str) -> dict[str, Any]:
            return asdict(lose_workers(nodes(), calm, folder / f"{how}-{place}", [place], how=how))

        def head(place: str) -> dict[str, Any]:
            return asdict(lose_the_head(nodes(), calm, folder / f"head-{place}", place))

        found = [once(seen / f"kill-{place}.json", worker, "kill", place) for place in PLACES]
        found += [once(seen / f"cut-{place}.json", worker, "cut", place) for place in cables]
        found += [once(seen / f"head-{place}.json", head, place) for place in HEADS]
    return [Lost(**one) for one in found]


def all_schedules(folder: Path, seen: Path) -> list[dict[str, Any]]:
    """What struck in each schedule, and where."""
    found: list[dict[str, Any]] = []
    for first in range(0, NUM_SCHEDULES, NUM_PER_PROCESS):
        name = f"schedules-{first}"
        found += once(seen / f"{name}.json", followed, folder / name, first, first + NUM_PER_PROCESS)
    return found


def once(file: Path, do: Callable[..., Any], *given: Any) -> Any:
    """What it tells, or told when it was done before."""
    if not file.exists():
        began = time.monotonic()
        told = do(*given)
        file.with_suffix(".partial").write_text(json.dumps(told))
        file.with_suffix(".partial").replace(file)
        print(f"{file.stem}: {time.monotonic() - began:.0f} s", flush=True)
    return json.loads(file.read_text())


def page(lost: list[Lost], schedules: list[dict[str, Any]], *, date: str) -> str:
    """The whole page; every figure in it comes from the runs."""
    where = (
        "each with an address and a network namespace of its own, joined by a bridge"
        if may_have_namespaces()
        else "processes that share one address, for this process may not make network namespaces"
    )
    rows = "\n".join(_row(one) for one in lost)
    return f"""# Nodes lost on the way

`{COMMAND}`, {date}, on {hardware()}. The load average of the machine was {os.getloadavg()[2]:.1f} over the last quarter
of an hour. A campaign of two rounds on few and small made-up images (what is shown is what survives, not how fast)
ran on a Ray cluster of a head without CPUs and {NUM_WORKERS} workers with one each, {where}.
Shards are done by two warm workers, trainings by two Ray Train workers. Each row is a campaign of its own, in which
one node was lost while something of the campaign ran on it: the process that was at work wrote down where it was, its
node was looked up by it, and everything on that node was killed (SIGKILL), or its cable pulled. A new node took its
place. With the head went the driver and all workers; it was started again, and the same command submitted.

| lost | processes killed | moves before | went on after | CPUs free again after | whole campaign |
|---|---|---|---|---|---|
{rows}

Every one of these {len(lost)} campaigns made each of its moves once, asked about the same candidates in the same order
as one that nobody disturbed, and left the same bytes: selections, answers, label sets, weights and manifests. *Went on
after* counts from the loss to the campaign's next move. A killed node is missed after about three seconds, one whose
cable is pulled after about half a minute, and a task that waited there for a shard after a minute and a half. After
the head was lost its start is counted in.
{_schedules(schedules)}"""


def _row(one: Lost) -> str:
    killed = str(one.num_processes_killed) if one.num_processes_killed else "none: cable pulled"
    return (
        f"| {_words(one)} | {killed} | {one.num_moves_before} | {one.seconds_to_go_on:.0f} s "
        f"| {one.free_after_seconds:.0f} s | {one.seconds:.0f} s |"
    )


def _words(one: Lost) -> str:
    what, _, place = one.what.partition(" at ")
    return f"{what}, {PLACES.get(place, place)}"


def _schedules(schedules: list[dict[str, Any]]) -> str:
    if not schedules:
        return ""
    struck: Counter[str] = Counter()
    for one in schedules:
        struck.update(one["struck"])
    places = {place.split("\t")[1] for one in schedules for place in one["places"] if not place.startswith("disk")}
    seconds = sum(one["seconds"] for one in schedules)
    rows = "\n".join(f"| {what} | {num:,} |" for what, num in sorted(struck.items(), key=lambda pair: -pair[1]))
    return f"""
## Two hundred random schedules

{len(schedules)} campaigns whose drivers were killed, interrupted, stopped and overtaken, whose store, ledger and
labelling tool failed, and whose webhooks were lost ([what each is](../guide/reliability.md)): {seconds:.0f} s on one
core beside whatever else ran. After each, all eight invariants held.

| struck | times |
|---|---|
{rows}

Drivers were struck at {len(places)} different places.
"""


if __name__ == "__main__":
    main()
