"""select: whom to ask next, in order, each with the arm that chose it and why.

inputs: ``score``, ``pool``, ``labels`` ('none' before the first answers). file:
``selection.parquet``, each row with the labelled candidate nearest to it and, where the recipe
prices questions, the seconds it is expected to take. Nothing that is labelled, and nothing that
overlaps it, is asked again, but for the share of ``relabel``: these come last, with who has answered.
With ``distributed`` also ``core-set-<shard>.parquet`` and ``labelled.parquet``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from hilum.core.errors import RecipeError
from hilum.core.ports import Executor
from hilum.core.recipes import ArmRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.select import builtin  # noqa: F401 (registers our samplers)
from hilum.select.arms import Pick, arm_names, pick_by_arms
from hilum.select.constraints import Caps
from hilum.select.costs import Rates, within
from hilum.select.labelled import nearest_labelled
from hilum.steps.constraints import caps_of, reads_volumes
from hilum.steps.core_sets import goes_by_core_sets, make_core_sets
from hilum.steps.costs import rates_of
from hilum.steps.opened import Opened, opened_rows, priced
from hilum.steps.relabel import asked_again, beside, in_time, row_of_chosen
from hilum.steps.score_parts import Parts, parts_of
from hilum.store.labels import NONE, read_answers, read_declined, read_everybodys_answers
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_manifest
from hilum.store.selections import SELECTION_FILE
from hilum.store.tables import SELECTION, write_rows
from hilum.store.volumes import volumes_of

STEP_VERSION = 6


def run(
    recipe: SelectRecipe,
    inputs: Mapping[str, str],
    *,
    store: Store,
    executor: Executor,
    resources: Resources,
) -> Manifest:
    """Choose ``recipe.num`` candidates, or all that are left and that the caps allow when they are fewer."""
    this = Run(store, "select", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    scores = _scores_of(store, inputs)
    answers = [] if inputs["labels"] == NONE else read_answers(store, inputs["labels"])
    class_names = class_names_of(store, inputs["pool"])
    volumes = volumes_of(store, _ingest_of(store, inputs["pool"])) if reads_volumes(recipe) else {}
    again = asked_again(
        recipe,
        inputs,
        checkpoint_id=scores.inputs["checkpoint"],
        class_names=class_names,
        store=store,
        executor=executor,
        resources=resources,
    )
    rates = _rates(recipe, inputs["labels"], store)
    recipe = beside(recipe, again := in_time(recipe, again, rates, answers))
    arms = _arms_of(recipe, scores)
    core_sets = None
    if goes_by_core_sets(recipe, arms):
        core_sets = make_core_sets(this, recipe, arms, inputs, store=store, executor=executor, resources=resources)
    parts: Parts = core_sets.parts if core_sets else partial(parts_of, store, scores)
    declined = read_declined(store, inputs["labels"])
    opened = opened_rows(
        store, scores, parts, answers, len(class_names), declined=declined, recipe=recipe, volumes=volumes
    )
    opened = priced(opened, rates, answers)
    caps = caps_of(recipe, opened.rows, opened.scored.predicted_class, volumes)
    wanted = pick_by_arms(
        opened.scored,
        arms,
        recipe.num,
        seed=recipe.seed,
        boxes=opened.boxes,
        caps=caps,
        class_names=class_names,
    )
    picks = _within_seconds(wanted, opened, arms, recipe.max_seconds)
    rows = [*_rows(opened, picks), *(row_of_chosen(chosen, len(picks) + n) for n, chosen in enumerate(again))]
    write_rows(this.path(SELECTION_FILE), SELECTION, rows)
    num_open = core_sets.num_open if core_sets else opened.rows.num_rows
    fewer = _too_long(wanted, picks, recipe.max_seconds) or _fewer(opened, picks, caps, recipe, num_open)
    return this.commit(
        files=[SELECTION_FILE, *(core_sets.files if core_sets else ())],
        num_selected=len(rows),
        num_left=num_open - len(picks),
        arms=dict(Counter(row["arm"] for row in rows)),
        **fewer,
        **_costs(rates, rows),
    )


def _scores_of(store: Store, inputs: Mapping[str, str]) -> Manifest:
    """The score run; RecipeError unless it is of the pool that is selected from."""
    scores = read_manifest(store.run("score", inputs["score"]))
    if scores.inputs["pool"] != inputs["pool"]:
        raise RecipeError(
            f"Score run {scores.run_id} is of pool {scores.inputs['pool']}, not of {inputs['pool']}; "
            "score the pool you select from."
        )
    return scores


def _arms_of(recipe: SelectRecipe, scores: Manifest) -> tuple[ArmRecipe, ...]:
    """Before there is a model, its cold start alone."""
    cold = scores.inputs["checkpoint"] == NONE
    return (ArmRecipe(share=1.0, sampler=recipe.cold_start),) if cold else recipe.arms


def class_names_of(store: Store, pool_id: str) -> list[str]:
    """The names of the classes of the ingest behind a pool."""
    ingest = read_manifest(store.run("ingest", _ingest_of(store, pool_id)))
    return list(ingest.results.get("class_names", []))


def _ingest_of(store: Store, pool_id: str) -> str:
    return read_manifest(store.run("pool", pool_id)).inputs["ingest"]


def _within_seconds(
    picks: list[Pick], opened: Opened, arms: Sequence[ArmRecipe], max_seconds: float | None
) -> list[Pick]:
    if max_seconds is None or opened.seconds is None:
        return picks
    shares = dict(zip(arm_names(arms), (arm.share for arm in arms), strict=True))
    seconds = [float(opened.seconds[pick.row]) for pick in picks]
    return [picks[place] for place in within(seconds, [pick.arm for pick in picks], shares, max_seconds)]


def _too_long(wanted: Sequence[Pick], picks: Sequence[Pick], max_seconds: float | None) -> dict[str, Any]:
    num = len(wanted) - len(picks)
    why = f"{len(wanted)} were wanted and {len(picks)} fit into {max_seconds} predicted seconds"
    return {"num_held_back": num, "why_fewer": why} if num else {}


def _costs(rates: Rates | None, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rates that seconds were predicted with, and the predicted seconds of the whole selection."""
    if rates is None:
        return {}
    return {"cost": asdict(rates), "predicted_seconds": float(sum(row["predicted_seconds"] for row in rows))}


def _rates(recipe: SelectRecipe, label_set_id: str, store: Store) -> Rates | None:
    """How long questions take, by the recipe or by the times that everybody told; None where nobody asks."""
    if recipe.cost is None:
        return None
    everybodys = {} if label_set_id == NONE else read_everybodys_answers(store, label_set_id)
    answers = (answer for told in everybodys.values() for answer in told)
    return rates_of(recipe.cost, sorted(answers, key=lambda a: (a.patch.candidate_id, a.annotation_id)))


def _fewer(opened: Opened, picks: Sequence[Pick], caps: Caps, recipe: SelectRecipe, num_open: int) -> dict[str, Any]:
    """Where fewer were chosen than were wanted and are open: how many were held back, and by what.

    What lies too near is not held back: it may not be asked about in the next round either.
    """
    num, apart = recipe.num, recipe.min_slices_apart
    may_be_asked = np.ones(opened.rows.num_rows, bool)
    for pick in picks:
        may_be_asked[opened.boxes.neighbours(pick.row)] = False
    held_back = int(np.count_nonzero(may_be_asked)) if len(picks) < num else 0
    chosen = f"{num} were wanted and {len(picks)} chosen"
    why = f"{chosen}: {caps.told()}"
    if not held_back and len(picks) < num and opened.rows.num_rows < num_open:
        held_back = num_open - opened.rows.num_rows
        why = (
            f"{chosen}: nobody else in the core-sets of {opened.rows.num_rows} may be asked beside them. Lower "
            f"select.distributed.parts_per_shard for more core-sets of the {num_open} open"
        )
    if held_back:
        return {"num_held_back": held_back, "why_fewer": why}
    near = f"{chosen}: no other candidate lies {apart} slices or more from all that is chosen and answered"
    return {"why_fewer": near} if apart and len(picks) < num else {}


def _rows(opened: Opened, picks: Sequence[Pick]) -> list[dict[str, Any]]:
    picked = np.array([pick.row for pick in picks], np.int64)
    chosen = opened.rows.take(picked).to_pylist()
    nearest, apart = nearest_labelled(opened.scored.embedding[picked], opened.scored.labelled_embedding)
    rows: list[dict[str, Any]] = [
        {**row, "rank": rank, "arm": pick.arm, "score": pick.score, "reason": pick.reason}
        for rank, (row, pick) in enumerate(zip(chosen, picks, strict=True))
    ]
    for row, seconds in zip(rows, [] if opened.seconds is None else opened.seconds[picked], strict=False):
        row |= {"predicted_seconds": float(seconds), "reason": f"{row['reason']}; about {seconds:.0f} s"}
    for row, labelled, distance in zip(rows, nearest, apart, strict=False):
        row |= {"nearest_labelled_id": opened.labelled_ids[labelled], "nearest_labelled_distance": float(distance)}
    return rows
