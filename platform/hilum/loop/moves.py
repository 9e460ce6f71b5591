"""From each stage to the next: which steps run, on what, and what the event records."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hilum.core.acting import acting
from hilum.core.ports import Annotator, Executor, Ledger
from hilum.core.recipes import CampaignRecipe, Recipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.loop.budget import num_to_ask, seconds_to_ask
from hilum.loop.curves import RANDOM
from hilum.loop.events import round_events, runs_of
from hilum.loop.lease import waited_for
from hilum.loop.stages import Stage
from hilum.loop.stop_set import stop_counts
from hilum.loop.tracing import step_of
from hilum.steps import (
    calibrate,
    collect,
    evaluate,
    finetune,
    pool,
    promote,
    publish,
    score,
    select,
    starting,
    teaching,
)
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_manifest
from hilum.store.selections import read_selection


@dataclass(frozen=True)
class Turn:
    """All that a move may look at: the campaign, the round so far, and the outside world."""

    store: Store
    name: str
    recipe: CampaignRecipe
    round_number: int
    runs: Mapping[str, str]
    num_asked_before: int
    seconds_before: float
    ledger: Ledger
    executor: Executor
    annotator: Annotator
    resources: Resources


@dataclass
class Outcome:
    """What a move did, as its event will tell it."""

    stage: Stage
    runs: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)

    def timed(self, step: str, run: Callable[[], Manifest]) -> Manifest:
        """Run one step, and note its run and its seconds."""
        began = time.perf_counter()
        with step_of(step) as is_done:
            manifest = run()
            is_done(manifest.run_id)
        self.seconds[step] = round(time.perf_counter() - began, 3)
        self.runs[step] = manifest.run_id
        return manifest


def make(stage: Stage, turn: Turn) -> Outcome:
    """Make the move that leads on from ``stage`` (any stage but an end)."""
    return _MOVES[stage](turn)


def _score(turn: Turn) -> Outcome:
    outcome = Outcome(Stage.SCORED)
    pooled = outcome.timed("pool", lambda: _run(turn, pool, turn.recipe.pool, ingest=turn.runs["ingest"]))
    stop = turn.recipe.campaign.stop
    by_predictions = stop is not None and stop.reads_predictions
    # Where all is asked at random nobody reads scores: the pool is listed once, without a model.
    model = turn.runs["champion"] if by_predictions or _reads_scores(turn.recipe.select) else NONE
    inputs = score.inputs_of(turn.recipe.score, pool=pooled.run_id, checkpoint=model)
    outcome.timed("score", lambda: _run(turn, score, turn.recipe.score, **inputs))
    outcome.counts = dict(pooled.results)
    if stop is not None and by_predictions:
        outcome.counts |= stop_counts(
            turn.store, stop, outcome.runs["score"], _scored_before(turn), turn.runs["labels"]
        )
    return outcome


def _scored_before(turn: Turn) -> str:
    if turn.round_number == 0:
        return NONE
    return runs_of(round_events(turn.store, turn.name, turn.round_number - 1))["score"]


def _reads_scores(recipe: SelectRecipe) -> bool:
    asks_cleverly = any(s.kind != RANDOM for s in (recipe.cold_start, *(arm.sampler for arm in recipe.arms)))
    return asks_cleverly or recipe.relabel is not None


def _select(turn: Turn) -> Outcome:
    outcome = Outcome(Stage.SELECTED)
    num_wanted = num_to_ask(turn.recipe.campaign, turn.round_number, turn.num_asked_before)
    # Every round draws anew, and each draw can be repeated.
    seed = turn.recipe.select.seed + turn.round_number
    recipe = turn.recipe.select.model_copy(update={"seed": seed, "num": num_wanted} | _max_seconds(turn))
    if recipe.has_schedules:
        recipe = recipe.of_round(_num_asked_by_models(turn))
    inputs = {noun: turn.runs[noun] for noun in ("score", "pool", "labels")}
    selected = outcome.timed("select", lambda: _run(turn, select, recipe, **inputs))
    num_selected = len(read_selection(turn.store, outcome.runs["select"]))
    outcome.counts = {"num_wanted": num_wanted, "num_selected": num_selected}
    told = ("num_held_back", "why_fewer", "predicted_seconds")
    outcome.counts |= {name: selected.results[name] for name in told if name in selected.results}
    return outcome


def _max_seconds(turn: Turn) -> dict[str, float]:
    limits = (turn.recipe.select.max_seconds, seconds_to_ask(turn.recipe.campaign, turn.seconds_before))
    seconds = [limit for limit in limits if limit is not None]
    return {"max_seconds": min(seconds)} if seconds else {}


def _num_asked_by_models(turn: Turn) -> int:
    """In how many rounds before this one the arms chose: not in those that had no model."""
    before = (runs_of(round_events(turn.store, turn.name, n))["score"] for n in range(turn.round_number))
    return sum(read_manifest(turn.store.run("score", run)).inputs["checkpoint"] != NONE for run in before)


def _publish(turn: Turn) -> Outcome:
    outcome = Outcome(Stage.PUBLISHED)
    recipe = publish.PublishRecipe(question=turn.recipe.question, annotator=turn.recipe.annotator)
    inputs = {"select": turn.runs["select"], "checkpoint": turn.runs["champion"]}
    manifest = outcome.timed(
        "publish",
        lambda: publish.run(recipe, inputs, store=turn.store, annotator=turn.annotator, resources=turn.resources),
    )
    outcome.counts = dict(manifest.results)
    return outcome


def _collect(turn: Turn) -> Outcome:
    outcome = Outcome(Stage.COLLECTED)
    recipe = collect.recipe_of(turn.recipe)
    inputs = {"select": turn.runs["select"], "labels": turn.runs["labels"]}
    manifest = outcome.timed("collect", lambda: collect.run(recipe, inputs, store=turn.store, annotator=turn.annotator))
    outcome.counts = dict(manifest.results)
    return outcome


def _train(turn: Turn) -> Outcome:
    outcome = Outcome(Stage.TRAINED)
    start = _start(turn)
    recipe = turn.recipe.finetune.of_training(is_first=start == NONE)
    labels, ingest = turn.runs["collect"], turn.runs["ingest"]
    inputs = teaching.inputs_of(recipe, labels=labels, start=start, ingest=ingest, store=turn.store)
    manifest = outcome.timed("finetune", lambda: _run(turn, finetune, recipe, **inputs))
    outcome.counts = dict(manifest.results.get("reuse", {}))
    if "transfer" in manifest.results:
        outcome.counts["transfer"] = starting.told(manifest.results["transfer"])
    return outcome


def _start(turn: Turn) -> str:
    """The checkpoint that training starts from: the champion, the last or first round's model, or the recipe's own."""
    chosen = turn.recipe.finetune.start
    if turn.recipe.finetune.checkpoint is not None:
        return turn.recipe.finetune.checkpoint
    if chosen == "champion":
        return turn.runs["champion"]
    if chosen == "scratch" or turn.round_number == 0:
        return NONE
    number = 0 if chosen == "first" else turn.round_number - 1
    return runs_of(round_events(turn.store, turn.name, number))["finetune"]


def _evaluate(turn: Turn) -> Outcome:
    outcome = Outcome(Stage.EVALUATED)
    manifest = outcome.timed("evaluate", lambda: _evaluated(turn, turn.runs["finetune"]))
    outcome.counts = {"metrics": manifest.results}
    return outcome


def _promote(turn: Turn) -> Outcome:
    outcome = Outcome(Stage.REJECTED)
    champion = turn.runs["champion"]
    # Named by content, so this is 'already done' unless the champion came from elsewhere.
    champion_run = NONE if champion == NONE else _evaluated(turn, champion).run_id
    inputs = {"challenger": turn.runs["evaluate"], "champion": champion_run}
    manifest = outcome.timed(
        "promote",
        lambda: promote.run(turn.recipe.promote, inputs, store=turn.store, ledger=turn.ledger, model=turn.name),
    )
    if manifest.results["promoted"]:
        outcome.stage = Stage.PROMOTED
        _calibrate(turn, outcome)
    outcome.counts = dict(manifest.results)
    return outcome


def _calibrate(turn: Turn, outcome: Outcome) -> None:
    """What serving will compare production with, where the recipe wants it for every champion."""
    recipe = turn.recipe.calibrate
    if recipe is not None:
        inputs = _held_out_from(turn, turn.runs["finetune"])
        outcome.timed("calibrate", lambda: _run(turn, calibrate, recipe, **inputs))


_MOVES: Mapping[Stage, Callable[[Turn], Outcome]] = {
    Stage.OPENED: _score,
    Stage.SCORED: _select,
    Stage.SELECTED: _publish,
    Stage.PUBLISHED: _collect,
    Stage.COLLECTED: _train,
    Stage.TRAINED: _evaluate,
    Stage.EVALUATED: _promote,
}


def _evaluated(turn: Turn, checkpoint_id: str) -> Manifest:
    return _run(turn, evaluate, turn.recipe.evaluate, **_held_out_from(turn, checkpoint_id))


def _held_out_from(turn: Turn, checkpoint_id: str) -> dict[str, str]:
    """A checkpoint, and the runs that say who is held out from it."""
    return {"checkpoint": checkpoint_id, "ingest": turn.runs["ingest"], "pool": turn.runs["pool"]}


def _run(turn: Turn, step: Any, recipe: Recipe, **inputs: str) -> Manifest:
    """Run a step, or wait for another campaign of this store that is running the very same one."""
    verb = step.__name__.rsplit(".", 1)[-1]
    this = Run(turn.store, verb, step.STEP_VERSION, recipe, inputs)
    manifest: Manifest | None = this.finished()
    if manifest is None:
        with waited_for(turn.ledger, f"run/{verb}/{this.run_id}"), acting(run=this.run_id):
            manifest = step.run(recipe, inputs, store=turn.store, executor=turn.executor, resources=turn.resources)
    return manifest
