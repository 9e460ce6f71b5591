"""score: one look of the model at every candidate of the pool.

inputs: ``pool``, ``checkpoint`` ('none' before there is a model: then only an embedding is
made, of the pixels, or by the recipe's ``encoder``, which is an input then), and ``foreground``,
a checkpoint or an atlas, where the recipe names what knows it. files:
``part-<shard>.parquet`` and ``quarantine.parquet``, the candidates that could not be scored
with the reason. A shard whose part is there is done.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow.compute as pc

from hilum.core.errors import DataError, RecipeError
from hilum.core.ports import Executor
from hilum.core.recipes import ScoreRecipe
from hilum.core.registry import PredictedLossParams, scorers
from hilum.core.resources import Resources
from hilum.select.reduce import reduction
from hilum.steps.pool import read_pool
from hilum.steps.score_names import check_named, inputs_of
from hilum.steps.score_shard import ScorePlan, score_shard, unscored_of
from hilum.store import checkpoints
from hilum.store.columns import matrix
from hilum.store.labels import NONE
from hilum.store.layout import Store, names_in
from hilum.store.manifest import Manifest, Run, read_manifest
from hilum.store.tables import QUARANTINE, write_rows
from hilum.store.volumes import volumes_of

__all__ = ["QUARANTINE_FILE", "STEP_VERSION", "check_keeps_members", "inputs_of", "reading_losses", "run"]

STEP_VERSION = 1
QUARANTINE_FILE = "quarantine.parquet"


def run(
    recipe: ScoreRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Score every candidate, shard by shard, and name those that could not be."""
    this = Run(store, "score", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    _check(recipe)
    if inputs["checkpoint"] != NONE:
        card = checkpoints.read_card(store, inputs["checkpoint"])
        check_keeps_members(recipe, card["question"])
        _check_predicts_losses(recipe, card, inputs["checkpoint"])
    pool = read_manifest(store.run("pool", inputs["pool"]))
    _check_named(recipe, store, pool, embeds=inputs["checkpoint"] == NONE)
    plan = ScorePlan(
        store=store,
        recipe=recipe,
        resources=resources,
        pool_id=pool.run_id,
        ingest_id=pool.inputs["ingest"],
        checkpoint_id=inputs["checkpoint"],
        candidates_per_shard=int(pool.recipe["candidates_per_shard"]),
        run_url=this.url,
    )
    num_candidates = int(pool.results["num_candidates"])
    num_shards = -(-num_candidates // plan.candidates_per_shard)
    there = names_in(this.url)
    missing = [number for number in range(num_shards) if plan.part_name(number) not in there]
    for _ in executor.map_shards(
        partial(score_shard, plan=plan),
        missing,
        label="score",
        resources=resources,
        num_workers=resources.num_score_workers,
    ):
        pass  # a part is its own record; the counts are for whoever watches the executor
    return _publish(this, plan, num_shards, num_candidates)


def _check_named(recipe: ScoreRecipe, store: Store, pool: Manifest, *, embeds: bool) -> None:
    if recipe.foreground is None and (recipe.encoder is None or not embeds):
        return  # a table of a million is not read for nothing
    volumes = volumes_of(store, pool.inputs["ingest"])
    rows = read_pool(store, pool.run_id)
    shapes_N3 = np.unique(matrix(rows["shape_zyx"]), axis=0).tolist()
    named = [volumes[volume_id] for volume_id in sorted(pc.unique(rows["volume_id"]).to_pylist())]
    check_named(recipe, store, volumes=named, shapes_zyx={(z, y, x) for z, y, x in shapes_N3}, embeds=embeds)


def _check(recipe: ScoreRecipe) -> None:
    """Refuse what could only fail on the workers."""
    reduction(recipe.reduce)
    kinds = [scorer.kind for scorer in recipe.scorers]
    for scorer in recipe.scorers:
        scorers.bind(scorer)
        if kinds.count(scorer.kind) > 1:
            raise RecipeError(f"Scorer '{scorer.kind}' is named twice; a score run holds one value of each scorer.")


def reading_losses(recipe: ScoreRecipe) -> list[str]:
    """The scorers that read the loss which a checkpoint predicts."""
    kinds = [scorer.kind for scorer in recipe.scorers]
    return [kind for kind in kinds if issubclass(scorers.params_of(kind), PredictedLossParams)]


def _check_predicts_losses(recipe: ScoreRecipe, card: Mapping[str, Any], checkpoint_id: str) -> None:
    for kind in reading_losses(recipe):
        if "learning_loss" not in card:
            raise RecipeError(
                f"Scorer '{kind}' reads the loss that a checkpoint predicts, and checkpoint {checkpoint_id} predicts "
                "none: it was trained without finetune.learning_loss, or pruned. Train one with learning_loss: {}, or "
                "ask by another scorer."
            )


def check_keeps_members(recipe: ScoreRecipe, question: str) -> None:
    """RecipeError where the members' probabilities of a candidate would say nothing of their joint answer."""
    if recipe.keep_members and question == "segment":
        raise RecipeError(
            "score.keep_members is for one class a candidate. Members of a segmentation differ voxel by voxel, and "
            "their means over a patch hide it; ask by {kind: mutual_information} with power_top_k instead."
        )


def _publish(this: Run, plan: ScorePlan, num_shards: int, num_candidates: int) -> Manifest:
    unscored: dict[str, str] = {}
    for number in range(num_shards):
        unscored.update(unscored_of(plan.part_url(number)))
    if len(unscored) == num_candidates:
        first = min(unscored)
        raise DataError(f"None of the {num_candidates:,} candidates could be scored. {first}: {unscored[first]}")
    rows = [{"source": candidate_id, "reason": unscored[candidate_id]} for candidate_id in sorted(unscored)]
    write_rows(this.path(QUARANTINE_FILE), QUARANTINE, rows)
    return this.commit(
        files=[*(plan.part_name(number) for number in range(num_shards)), QUARANTINE_FILE],
        num_candidates=num_candidates,
        num_scored=num_candidates - len(unscored),
        num_quarantined=len(unscored),
        scores=plan.score_names,
    )
