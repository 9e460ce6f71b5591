"""simulate: the same campaigns as with people, answered by an oracle; strategies × seeds beside random.

Every branch is a campaign of its own, named ``<name>--<strategy>--<seed>``. Branches know
nothing of each other, so they may run side by side, and one that was killed goes on where it
was when the simulation is started again. Random always runs. The score of a model trained on
everything comes from branches ``<name>--full--<seed>``: campaigns that ask about the whole pool
in one round.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from hilum.core.errors import HilumError, NotFoundError
from hilum.core.ports import Annotator, Counts, Executor
from hilum.core.recipes import Choice, SimulateRecipe
from hilum.core.resources import Resources
from hilum.loop.branches import FULL, Branch, branches_of, check_strategies
from hilum.loop.campaign import Campaign
from hilum.loop.comparison import Comparison, chance_level, compare
from hilum.loop.curves import Curve
from hilum.loop.definition import only_ingest, read_definition
from hilum.loop.events import history
from hilum.loop.starts import check_starts
from hilum.loop.status import CampaignStatus, summarise
from hilum.steps import pool
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_manifest

STEP = "simulate"
STEP_VERSION = 1


@dataclass(frozen=True)
class Workbench:
    """How a branch gets its own hands, wherever it runs: two functions that can be sent to another process.

    ``make_annotator`` is given the store, the ingest and the recipe's annotator.
    """

    make_executor: Callable[[], Executor]
    make_annotator: Callable[[Store, str, Choice], Annotator]


@dataclass(frozen=True)
class BranchProgress:
    """How far one branch has come. ``value`` is the newest held-out score, if a round was evaluated."""

    strategy: str
    seed: int
    campaign: str
    started: bool
    finished: bool
    round_number: int
    stage: str
    num_labels: int
    num_in_total: int
    value: float | None


@dataclass(frozen=True)
class Simulation:
    """What a finished simulation found: a curve for every branch, and scores on the full data."""

    name: str
    metric: str
    side: str
    curves: tuple[Curve, ...]
    full_data: tuple[float, ...]
    num_full_labels: int
    chance: float | None
    campaigns: Mapping[tuple[str, int], str]

    @property
    def comparison(self) -> Comparison:
        return compare(
            self.curves,
            metric=self.metric,
            full_data=self.full_data,
            num_full_labels=self.num_full_labels,
            chance=self.chance,
        )


def simulate(
    store: Store,
    name: str,
    recipe: SimulateRecipe,
    *,
    executor: Executor,
    workbench: Workbench,
    ingest_id: str | None = None,
    resources: Resources | None = None,
    on_branch: Callable[[BranchProgress], None] | None = None,
) -> Manifest:
    """Run every branch that is not finished yet and return the simulation's manifest.

    Started again after any interruption it goes on; with the same recipe it is done already.
    Branches go out through ``executor``, ``resources.num_parallel_branches`` at a time.
    """
    resources = resources or Resources()
    check_strategies(name, recipe)
    ingest_id = ingest_id or only_ingest(store)
    this = Run(store, STEP, STEP_VERSION, recipe, {"ingest": ingest_id, "name": name})
    before = this.finished()
    if before is not None:
        return before
    branches = planned(store, name, recipe, ingest_id=ingest_id, executor=executor, resources=resources)
    for branch in {branch.strategy: branch for branch in branches}.values():
        check_starts(store, branch.recipe, ingest_id)
    work = partial(run_branch, store=store, ingest_id=ingest_id, workbench=workbench, resources=resources)
    waiting = [branch for branch in branches if not branch_progress(store, branch).finished]
    for counts in executor.map_shards(
        work, waiting, label="branches", resources=resources, num_workers=resources.num_parallel_branches
    ):
        done = next(branch for branch in branches if branch.campaign == counts["campaign"])
        if on_branch is not None:
            on_branch(branch_progress(store, done))
    num_classes = len(read_manifest(store.run("ingest", ingest_id)).results["class_names"])
    return this.commit(**_results(store, name, branches, num_classes=num_classes))


def planned(
    store: Store,
    name: str,
    recipe: SimulateRecipe,
    *,
    ingest_id: str,
    executor: Executor,
    resources: Resources,
) -> list[Branch]:
    """The simulation's branches, random first. Builds the pool, to know how many candidates 'everything' is."""
    manifest = pool.run(
        recipe.campaign.pool, {"ingest": ingest_id}, store=store, executor=executor, resources=resources
    )
    return branches_of(name, recipe, num_candidates=int(manifest.results["num_candidates"]))


def run_branch(branch: Branch, *, store: Store, ingest_id: str, workbench: Workbench, resources: Resources) -> Counts:
    """Run one branch to its end, from wherever it is."""
    campaign = Campaign.create(store, branch.campaign, branch.recipe, ingest_id=ingest_id)
    annotator = workbench.make_annotator(store, ingest_id, branch.recipe.annotator)
    campaign.run(executor=workbench.make_executor(), annotator=annotator, resources=resources)
    return {"campaign": branch.campaign, "strategy": branch.strategy, "seed": branch.seed}


def watch(
    store: Store, branches: list[Branch], *, done: Callable[[], bool], every_seconds: float = 1.0
) -> Iterator[tuple[BranchProgress, ...]]:
    """How far all branches are, again and again, until ``done()`` or all are finished. Reads events alone."""
    while True:
        last = done()
        now = tuple(branch_progress(store, branch) for branch in branches)
        yield now
        if last or all(branch.finished for branch in now):
            return
        time.sleep(every_seconds)


def branch_progress(store: Store, branch: Branch) -> BranchProgress:
    """How far one branch is, from its events."""
    status = _status(store, branch.campaign)
    num_in_total = branch.recipe.campaign.num_in_total
    if status is None:
        return BranchProgress(
            branch.strategy, branch.seed, branch.campaign, False, False, 0, "waiting", 0, num_in_total, None
        )
    last = status.curve[-1] if status.curve else None
    return BranchProgress(
        strategy=branch.strategy,
        seed=branch.seed,
        campaign=branch.campaign,
        started=True,
        finished=status.finished,
        round_number=status.round_number,
        stage=str(status.stage),
        num_labels=status.num_answered,
        num_in_total=num_in_total,
        value=None if last is None or status.metric is None else _value(last.metrics, status.metric),
    )


def simulation_of(manifest: Manifest) -> Simulation:
    """Read a finished simulation back."""
    results = manifest.results
    curves = tuple(
        Curve(
            b["strategy"],
            b["seed"],
            tuple(b["num_labels"]),
            tuple(map(_number, b["values"])),
            tuple(b.get("seconds", ())),
        )
        for b in results["branches"]
    )
    campaigns = {(b["strategy"], b["seed"]): b["campaign"] for b in results["branches"]}
    return Simulation(
        manifest.inputs["name"],
        results["metric"],
        results["side"],
        curves,
        tuple(map(_number, results["full_data"])),
        results["num_full_labels"],
        results.get("chance"),
        campaigns,
    )


def _status(store: Store, campaign: str) -> CampaignStatus | None:
    try:
        definition = read_definition(store, campaign)
    except NotFoundError:
        return None
    rounds = history(store, campaign)
    return summarise(campaign, definition.recipe, rounds) if rounds else None


def _results(store: Store, name: str, branches: list[Branch], *, num_classes: int) -> dict[str, Any]:
    statuses = [(branch, _finished(store, branch)) for branch in branches]
    metric = next(status.metric for _, status in statuses if status.metric)
    points = [point.metrics for _, status in statuses for point in status.curve]
    side = "test" if all(_on(metrics, "test", metric) is not None for metrics in points) else "validation"
    rows: list[dict[str, Any]] = [
        {
            "campaign": branch.campaign,
            "strategy": branch.strategy,
            "seed": branch.seed,
            "num_labels": [point.num_labels for point in status.curve],
            "values": [_on(point.metrics, side, metric) for point in status.curve],
            **_seconds(status),
            "reuse": [dict(row.reuse) for row in status.history if row.reuse],
        }
        for branch, status in statuses
    ]
    full = [row for row in rows if row["strategy"] == FULL]
    return {
        "name": name,
        "metric": metric,
        "side": side,
        "branches": [row for row in rows if row["strategy"] != FULL],
        "full_data": [row["values"][-1] for row in full],
        "num_full_labels": max((row["num_labels"][-1] for row in full), default=0),
        "chance": chance_level(metric, num_classes),
    }


def _seconds(status: CampaignStatus) -> dict[str, list[float]]:
    """People's seconds until each number of labels; nothing where a round's are not known."""
    seconds = [point.seconds for point in status.curve]
    return {"seconds": seconds} if all(a < b for a, b in zip([0.0, *seconds], seconds, strict=False)) else {}


def _finished(store: Store, branch: Branch) -> CampaignStatus:
    status = _status(store, branch.campaign)
    if status is None or not status.finished or not status.curve:
        raise HilumError(
            f"Branch '{branch.campaign}' ended without a trained round, so it has no curve. "
            "Look at it with `hilum round status`, then start the simulation again."
        )
    return status


def _on(metrics: Mapping[str, Mapping[str, float | None]], side: str, metric: str) -> float | None:
    return metrics.get(side, {}).get(metric)


def _value(metrics: Mapping[str, Mapping[str, float | None]], metric: str) -> float | None:
    tested = _on(metrics, "test", metric)
    return _on(metrics, "validation", metric) if tested is None else tested


def _number(value: float | None) -> float:
    """A metric without a value is null on disk."""
    return math.nan if value is None else float(value)
