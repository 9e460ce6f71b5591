"""prune: how deep a nested network need be, told by validation patients; the shallower one as a checkpoint.

inputs: ``checkpoint``, ``ingest``, ``pool`` (whose recipe says who is held out).
files: ``depths.json``, one entry a depth: score with its interval, and costs. results: the depth
that is recommended, the one that was taken and its ``checkpoint``, which has the run's id, or is
the one that was given when nothing is to be cut off. No champion changes.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any

from hilum.core.errors import DataError, RecipeError, unknown_name
from hilum.core.ports import Executor
from hilum.core.recipes import PoolRecipe, PruneRecipe
from hilum.core.resources import Resources
from hilum.nn.costs import measure_costs
from hilum.nn.heads import Network
from hilum.nn.metrics import Measured
from hilum.nn.predictor import load_weights, network_of_card, weights_of
from hilum.nn.pruning import depths_of, prune_network
from hilum.steps.evaluate import evaluate_shard, held_out, measure, rows_of_shards, shards_of
from hilum.steps.promote import AUTO_METRICS
from hilum.store import checkpoints
from hilum.store.layout import Store, remove
from hilum.store.manifest import Manifest, Run, read_json, read_manifest, write_json

STEP_VERSION = 1
DEPTHS = "depths.json"
SIDE = "validation"


def run(
    recipe: PruneRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Measure every depth, choose one, and publish the network at it."""
    this = Run(store, "prune", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    network, card = _loaded(store, inputs["checkpoint"])
    depths = depths_of(network, card)
    _check_depth(recipe, depths)
    scores = {
        depth: _score(recipe, inputs, depth, this, card=card, store=store, executor=executor, resources=resources)
        for depth in depths
    }
    pruned = {depth: prune_network(network, card, depth) for depth in depths}
    costs = measure_costs(list(pruned.values()))
    rows = [
        {"depth": depth, **_interval(scores[depth]), **asdict(cost)} for depth, cost in zip(depths, costs, strict=True)
    ]
    recommended = recommended_depth(rows, recipe.tolerance)
    taken = recipe.depth or recommended
    checkpoint_id = inputs["checkpoint"]
    if taken != depths[-1]:
        checkpoint_id = this.run_id
        checkpoints.save(store, checkpoint_id, weights_of(pruned[taken][0]), _card(pruned[taken][1], recipe, inputs))
    write_json(this.path(DEPTHS), rows)
    manifest = this.commit(
        files=[DEPTHS],
        checkpoint=checkpoint_id,
        metric=scores[taken].metric,
        recommended=recommended,
        depth=taken,
        deepest=depths[-1],
        scores={str(row["depth"]): row["score"] for row in rows},
    )
    remove(this.path("parts"))
    return manifest


def recommended_depth(rows: list[dict[str, Any]], tolerance: float) -> int:
    """The shallowest depth that scores at most ``tolerance`` less than the deepest."""
    least = rows[-1]["score"] - tolerance
    return int(next(row["depth"] for row in rows if row["score"] >= least))


def depth_rows(store: Store, run_id: str) -> list[dict[str, Any]]:
    """What a finished run measured of every depth, shallowest first."""
    rows: list[dict[str, Any]] = read_json(f"{store.run('prune', run_id)}/{DEPTHS}")
    return rows


def _loaded(store: Store, checkpoint_id: str) -> tuple[Network, dict[str, Any]]:
    tensors, card = checkpoints.load(store, checkpoint_id)
    network = network_of_card(card)
    load_weights(network, tensors)
    network.loss_predictor = None  # of the depths only the deepest has it: they are compared without
    return network.eval(), card


def _check_depth(recipe: PruneRecipe, depths: list[int]) -> None:
    # Before anything is evaluated: it may take an hour.
    if recipe.depth is not None and recipe.depth not in depths:
        raise RecipeError(f"Depth {recipe.depth} is not one of this checkpoint's: {', '.join(map(str, depths))}.")


def _score(
    recipe: PruneRecipe,
    inputs: Mapping[str, str],
    depth: int,
    this: Run,
    *,
    card: Mapping[str, Any],
    store: Store,
    executor: Executor,
    resources: Resources,
) -> Measured:
    """The promotion metric of one depth on the validation side, measured as `evaluate` measures it."""
    pool = PoolRecipe.model_validate(read_manifest(store.run("pool", inputs["pool"])).recipe)
    volumes = [(volume, side) for volume, side in held_out(store, inputs["ingest"], pool) if side == SIDE]
    work = partial(
        evaluate_shard,
        store=store,
        checkpoint_id=inputs["checkpoint"],
        pool=pool,
        recipe=recipe.evaluate,
        parts_url=this.path(f"parts/depth-{depth}"),
        resources=resources,
        depth=depth,
    )
    shards = shards_of(volumes, question=card["question"])
    rows = rows_of_shards(work, shards, executor=executor, resources=resources)
    return metric_of(measure(rows, card, recipe.evaluate), recipe.metric, ingest_id=inputs["ingest"])


def metric_of(measured: list[Measured], name: str, *, ingest_id: str) -> Measured:
    """The metric that decides, of all classes together; DataError where validation patients tell none."""
    known = {one.metric: one for one in measured if not one.class_name and not one.size_band}
    if not known:
        raise DataError(
            f"No validation patient of ingest {ingest_id} has a truth to compare with. Depth is chosen by validation "
            "patients: give the split a share for them, or ingest their labels."
        )
    if name == "auto":
        name = next(metric for metric in AUTO_METRICS if metric in known)
    if name not in known:
        raise RecipeError(unknown_name("metric on the validation side", name, known))
    if not math.isfinite(known[name].value):
        raise DataError(f"{name} has no value: no validation patient holds any of the classes. Label some that do.")
    return known[name]


def _interval(measured: Measured) -> dict[str, float | None]:
    """Score and bootstrap interval as JSON can hold them."""
    low, high = (value if math.isfinite(value) else None for value in (measured.low, measured.high))
    return {"score": measured.value, "low": low, "high": high}


def _card(card: Mapping[str, Any], recipe: PruneRecipe, inputs: Mapping[str, str]) -> dict[str, Any]:
    return {
        **card,
        "parent": inputs["checkpoint"],
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "inputs": dict(inputs),
        "hilum_version": version("hilum"),
    }
