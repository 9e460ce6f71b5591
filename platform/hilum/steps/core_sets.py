"""Core-sets of a score run: what workers leave of a pool that one process could not compare.

files of the select run: ``labelled.parquet``, the scores of all that is labelled, and
``core-set-<shard>.parquet``, the scores of each shard's core-set with their weights. A shard is a
fixed number of parts of the score run; one whose file is there is done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hilum.core.asking import Annotation
from hilum.core.imaging import Volume
from hilum.core.ports import Counts, Executor
from hilum.core.recipes import ArmRecipe, SelectRecipe, has_core_sets
from hilum.core.registry import samplers
from hilum.core.resources import Resources
from hilum.select import builtin  # noqa: F401 (registers our samplers)
from hilum.select.core_sets import core_set, num_nearest
from hilum.select.scored import Ints, ScoredPool
from hilum.steps.constraints import excluded
from hilum.steps.open_rows import are_declined, boxes_of, pool_rows_of, unanswered
from hilum.steps.pool import pool_by_volume
from hilum.store.columns import matrix, strings
from hilum.store.labels import NONE, read_answers, read_declined
from hilum.store.layout import Store, names_in
from hilum.store.manifest import Manifest, Run, read_manifest
from hilum.store.score_parts import part_names
from hilum.store.tables import CORE_SET, read_table, scores_schema, write_table
from hilum.store.volumes import volumes_of

LABELLED_FILE = "labelled.parquet"
_NUM_OPEN = b"hilum_num_open"


@dataclass(frozen=True)
class CoreSets:
    """The core-sets of all shards and what is labelled, by candidate id, with how many candidates are open in all."""

    table: pa.Table
    num_open: int
    files: tuple[str, ...]

    def parts(self, columns: list[str] | None) -> list[pa.Table]:
        """Its rows as the one part of a score run."""
        return [self.table if columns is None else self.table.select(columns)]


@dataclass(frozen=True)
class _Plan:
    """What a worker must know beside its shard's number."""

    store: Store
    recipe: SelectRecipe
    arms: tuple[ArmRecipe, ...]
    run_url: str
    score_id: str
    pool_id: str
    label_set_id: str
    candidates_per_part: int
    parts_per_shard: int
    num_parts: int

    def name(self, shard: int) -> str:
        return f"core-set-{shard:05d}.parquet"

    def read_parts(self, numbers: Sequence[int]) -> pa.Table:
        """Those parts of the score run, sorted by candidate id."""
        scores = _scores(self.store, self.score_id)
        url, names = self.store.run("score", self.score_id), part_names(scores)
        schema = scores_schema(scores.results["scores"])
        tables = [read_table(f"{url}/{names[number]}", schema) for number in numbers]
        return pa.concat_tables(table.replace_schema_metadata(None) for table in tables).sort_by("candidate_id")


def goes_by_core_sets(recipe: SelectRecipe, arms: Sequence[ArmRecipe]) -> bool:
    """Whether the recipe wants core-sets, and this round's arms can be picked from them."""
    return recipe.distributed is not None and all(has_core_sets(arm.sampler) for arm in arms)


def make_core_sets(
    this: Run,
    recipe: SelectRecipe,
    arms: Sequence[ArmRecipe],
    inputs: Mapping[str, str],
    *,
    store: Store,
    executor: Executor,
    resources: Resources,
) -> CoreSets:
    """Have the workers choose every core-set that is not there yet, and read them all."""
    assert recipe.distributed is not None, "asked for core-sets"
    plan = _Plan(
        store=store,
        recipe=recipe,
        arms=tuple(arms),
        run_url=this.url,
        score_id=inputs["score"],
        pool_id=inputs["pool"],
        label_set_id=inputs["labels"],
        candidates_per_part=int(read_manifest(store.run("pool", inputs["pool"])).recipe["candidates_per_shard"]),
        parts_per_shard=recipe.distributed.parts_per_shard,
        num_parts=len(part_names(_scores(store, inputs["score"]))),
    )
    there = names_in(this.url)
    if LABELLED_FILE not in there:
        write_table(this.path(LABELLED_FILE), _marked(_labelled(plan), weight=0, num_open=0))
    names = [plan.name(shard) for shard in range(-(-plan.num_parts // plan.parts_per_shard))]
    for _ in executor.map_shards(
        partial(choose_core_set, plan=plan),
        [shard for shard, name in enumerate(names) if name not in there],
        label="core-sets",
        resources=resources,
        num_workers=resources.num_score_workers,
    ):
        pass  # a core-set is its own record
    files = (LABELLED_FILE, *names)
    tables = [read_table(this.path(name), CORE_SET) for name in files]
    num_open = sum(int(table.schema.metadata[_NUM_OPEN]) for table in tables)
    whole = pa.concat_tables(table.replace_schema_metadata(None) for table in tables)
    return CoreSets(whole.sort_by("candidate_id").combine_chunks(), num_open, files)


def choose_core_set(shard: int, *, plan: _Plan) -> Counts:
    """Choose one shard's core-set of its open candidates and write it, whole or not at all."""
    first = shard * plan.parts_per_shard
    numbers = range(first, min(first + plan.parts_per_shard, plan.num_parts))
    table = plan.read_parts(numbers)
    table = table.filter(_is_open(plan, table, numbers)).combine_chunks()
    scored = _scored(table, read_table(f"{plan.run_url}/{LABELLED_FILE}", CORE_SET))
    bound = [samplers.bind(arm.sampler) for arm in {arm.sampler.kind: arm for arm in plan.arms}.values()]
    # A new round draws anew, as arms do.
    rng = np.random.default_rng([plan.recipe.seed, len(scored.labelled_embedding), shard])
    rows = core_set(scored, bound, plan.recipe.num, rng=rng)
    chosen = _marked(table.take(rows), weight=_weights(plan, scored, rows), num_open=scored.num)
    write_table(f"{plan.run_url}/{plan.name(shard)}", chosen)
    return {"shard": shard, "num_open": scored.num, "num_chosen": len(rows)}


def _weights(plan: _Plan, scored: ScoredPool, rows: Ints) -> Ints | int:
    """How many candidates each row stands for, where a sampler draws by it."""
    if all(arm.sampler.kind != "kmeans_pp" for arm in plan.arms) or not len(rows):
        return 1
    return num_nearest(scored.embedding, scored.embedding[rows])


def _is_open(plan: _Plan, table: pa.Table, numbers: range) -> npt.NDArray[np.bool_]:
    size = plan.candidates_per_part
    rows = pool_by_volume(plan.store, plan.pool_id).slice(numbers.start * size, len(numbers) * size)
    ids = strings(table["candidate_id"])
    rows = pool_rows_of(rows.sort_by("candidate_id"), ids)
    boxes = boxes_of
    if plan.recipe.min_slices_apart is not None:
        volumes = _volumes(plan.store, plan.pool_id)
        boxes = partial(boxes_of, min_slices_apart=plan.recipe.min_slices_apart, volumes=volumes)
    answers = _answers(plan.store, plan.label_set_id)
    closed = are_declined(rows, read_declined(plan.store, plan.label_set_id)) | excluded(plan.recipe.exclude, rows)
    return unanswered(rows, answers, boxes=boxes) & ~closed


def _labelled(plan: _Plan) -> pa.Table:
    """The scores of what is labelled, read from the parts that it is in."""
    ids = pa.array([a.patch.candidate_id for a in _answers(plan.store, plan.label_set_id)], pa.string())
    ids_by_row = pool_by_volume(plan.store, plan.pool_id)["candidate_id"]
    rows = np.flatnonzero(pc.is_in(ids_by_row, value_set=ids).to_numpy())
    # One part even where nothing is labelled: it says which columns there are.
    numbers = np.unique(rows // plan.candidates_per_part).tolist() or [0]
    tables = (plan.read_parts([number]) for number in numbers)
    return pa.concat_tables(table.filter(pc.is_in(table["candidate_id"], value_set=ids)) for table in tables)


def _scored(table: pa.Table, labelled: pa.Table) -> ScoredPool:
    return ScoredPool(
        candidate_ids=strings(table["candidate_id"]),
        embedding=matrix(table["embedding"]),
        labelled_embedding=matrix(labelled["embedding"]),
    )


def _marked(table: pa.Table, *, weight: Ints | int, num_open: int) -> pa.Table:
    """The same rows as a core-set's table."""
    column = pa.array(np.broadcast_to(weight, table.num_rows), pa.int64())
    metadata = {**CORE_SET.metadata, _NUM_OPEN: str(num_open)}
    return table.append_column("weight", column).replace_schema_metadata(metadata)


@lru_cache(maxsize=2)
def _answers(store: Store, label_set_id: str) -> list[Annotation]:
    return [] if label_set_id == NONE else read_answers(store, label_set_id)


@lru_cache(maxsize=2)
def _volumes(store: Store, pool_id: str) -> dict[str, Volume]:
    return volumes_of(store, read_manifest(store.run("pool", pool_id)).inputs["ingest"])


@lru_cache(maxsize=2)
def _scores(store: Store, score_id: str) -> Manifest:
    return read_manifest(store.run("score", score_id))
