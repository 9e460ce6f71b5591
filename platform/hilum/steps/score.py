"""score: one look of the model at every candidate of the pool.

inputs: ``pool``, ``checkpoint`` ('none' before there is a model: then only an embedding is
made, of the pixels, or by the recipe's ``encoder``, which is an input then). files:
``part-<shard>.parquet`` and ``quarantine.parquet``, the candidates that could not be scored
with the reason. A shard whose part is there is done.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import pyarrow.compute as pc

from hilum.core.errors import DataError, RecipeError
from hilum.core.ports import Executor
from hilum.core.recipes import ScoreRecipe
from hilum.core.registry import scorers
from hilum.core.resources import Resources
from hilum.select.reduce import reduction
from hilum.steps.pool import read_pool
from hilum.steps.predictor import load_encoder
from hilum.steps.score_shard import ScorePlan, score_shard, unscored_of
from hilum.store import checkpoints
from hilum.store.labels import NONE
from hilum.store.layout import Store, names_in
from hilum.store.manifest import Manifest, Run, read_manifest
from hilum.store.tables import QUARANTINE, write_rows
from hilum.store.volumes import volumes_of

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
    if recipe.keep_members and inputs["checkpoint"] != NONE:
        check_keeps_members(recipe, checkpoints.read_card(store, inputs["checkpoint"])["question"])
    pool = read_manifest(store.run("pool", inputs["pool"]))
    if recipe.encoder is not None and inputs["checkpoint"] == NONE:
        check_encoder(recipe.encoder, store, pool)
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


def inputs_of(recipe: ScoreRecipe, *, pool: str, checkpoint: str) -> dict[str, str]:
    """What a score run works on: the recipe's encoder too, where there is no model that embeds."""
    embeds = recipe.encoder is not None and checkpoint == NONE
    return {"pool": pool, "checkpoint": checkpoint} | ({"encoder": str(recipe.encoder)} if embeds else {})


def check_encoder(checkpoint_id: str, store: Store, pool: Manifest) -> None:
    """NotFoundError or RecipeError unless ``score.encoder`` is there and can read the pool's candidates."""
    encoder = load_encoder(store, checkpoint_id)
    volumes = volumes_of(store, pool.inputs["ingest"])
    rows = read_pool(store, pool.run_id)
    channels = sorted({volumes[volume_id].num_channels for volume_id in pc.unique(rows["volume_id"]).to_pylist()})
    depths = pc.unique(pc.list_element(rows["shape_zyx"], 0)).to_pylist()
    dims = sorted({2 if depth == 1 else 3 for depth in depths})
    if channels != [encoder.card["in_channels"]] or dims != [encoder.spatial_dims]:
        raise RecipeError(
            f"score.encoder {checkpoint_id} reads {encoder.spatial_dims}D images of {encoder.card['in_channels']} "
            f"channel(s); these candidates are {_listed(dims)}D of {_listed(channels)}. Name another checkpoint, or "
            "leave score.encoder out: then pixels are compared."
        )


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def _check(recipe: ScoreRecipe) -> None:
    """Refuse what could only fail on the workers."""
    reduction(recipe.reduce)
    kinds = [scorer.kind for scorer in recipe.scorers]
    for scorer in recipe.scorers:
        scorers.bind(scorer)
        if kinds.count(scorer.kind) > 1:
            raise RecipeError(f"Scorer '{scorer.kind}' is named twice; a score run holds one value of each scorer.")


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
