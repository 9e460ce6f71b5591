"""pool: the patches that may be asked about.

inputs: ``ingest``. files: ``pool.parquet``, sorted by candidate id, and
``quarantine.parquet``. Only patients on the pool side of the split are in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hilum.core.asking import Candidate
from hilum.core.candidates import candidate_starts, patch_shape_in
from hilum.core.errors import HilumError, RecipeError
from hilum.core.geometry import Patch, Zyx
from hilum.core.ids import candidate_ids
from hilum.core.imaging import Volume
from hilum.core.learning import sides
from hilum.core.ports import Counts, Executor
from hilum.core.recipes import PoolRecipe
from hilum.core.resources import Resources
from hilum.store.columns import numbered
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_manifest
from hilum.store.tables import POOL, QUARANTINE, read_table, write_rows, write_table
from hilum.store.volumes import VolumeReader, open_volume, volumes_of

STEP_VERSION = 1
POOL_FILE = "pool.parquet"
QUARANTINE_FILE = "quarantine.parquet"

Starts = npt.NDArray[np.int32]
Tiled = tuple[Volume, Starts]
"""A volume, and where its candidates begin (N, 3) in Z, Y, X."""


def run(
    recipe: PoolRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Tile the items of every pool-side volume, and leave out patches that are mostly background."""
    this = Run(store, "pool", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    tiled = [(volume, candidate_starts(volume, recipe)) for volume in pool_side(store, inputs["ingest"], recipe)]
    num_tiled = sum(len(starts) for _, starts in tiled)
    unreadable: list[dict[str, str]] = []
    if recipe.min_occupancy > 0:
        tiled, unreadable = _occupied(tiled, recipe, store=store, executor=executor, resources=resources)
    table = _table(tiled, recipe)
    if not table.num_rows:
        raise RecipeError(
            f"There is nobody to ask about: of {num_tiled:,} patches none has {recipe.min_occupancy:.0%} of its "
            "voxels above the background. Lower pool.min_occupancy."
        )
    write_table(this.path(POOL_FILE), table)
    write_rows(this.path(QUARANTINE_FILE), QUARANTINE, unreadable)
    num_patients = len({volume.study.patient_id for volume, starts in tiled if len(starts)})
    return this.commit(files=[POOL_FILE, QUARANTINE_FILE], num_candidates=table.num_rows, num_patients=num_patients)


def pool_side(store: Store, ingest_id: str, recipe: PoolRecipe) -> list[Volume]:
    """The volumes of patients whom the split leaves in the pool, by volume id."""
    volumes = volumes_of(store, ingest_id)
    side = sides(volumes.values(), recipe.split)
    found = [volumes[v] for v in sorted(volumes) if side[volumes[v].study.patient_id] == "pool"]
    if not found:
        raise RecipeError(f"None of the {len(side)} patients is left for the pool; change pool.split.")
    return found


def read_pool(store: Store, pool_id: str) -> pa.Table:
    """The rows of a finished pool, sorted by candidate id."""
    url = store.run("pool", pool_id)
    read_manifest(url)
    return read_table(f"{url}/{POOL_FILE}", POOL)


@lru_cache(maxsize=2)
def pool_by_volume(store: Store, pool_id: str) -> pa.Table:
    """The pool as a score run cuts it: part n is of rows n · candidates_per_shard and on."""
    pool = read_pool(store, pool_id)
    # It is sorted by candidate id, and those of one volume stay in this order.
    return pool.take(pa.array(np.argsort(numbered(pool["volume_id"])[1], kind="stable"))).combine_chunks()


def find_candidate(store: Store, pool_id: str, candidate_id: str) -> Candidate | None:
    """One candidate of a finished pool; None if it has no such candidate."""
    table = read_pool(store, pool_id)
    row = table.filter(pc.equal(table["candidate_id"], candidate_id))
    return Candidate(patches_of(row)[0], row["patient_id"][0].as_py()) if row.num_rows else None


def patches_of(table: pa.Table) -> list[Patch]:
    """The patch of every row."""
    rows = table.select(["volume_id", "start_zyx", "shape_zyx"]).to_pylist()
    return [Patch(row["volume_id"], tuple(row["start_zyx"]), tuple(row["shape_zyx"])) for row in rows]


def occupied_shard(shard: Sequence[Volume], *, store: Store, recipe: PoolRecipe) -> Counts:
    """For each volume of a shard, which of its patches hold enough voxels above the background; or why unreadable."""
    kept: dict[str, npt.NDArray[np.bool_]] = {}
    unreadable: dict[str, str] = {}
    for volume in shard:
        shape, starts = patch_shape_in(volume, recipe), candidate_starts(volume, recipe).tolist()
        try:
            reader = open_volume(store, volume)
            shares = [_share_above_background(reader, start, shape) for start in starts]
        except (HilumError, OSError, ValueError) as error:
            unreadable[volume.volume_id] = str(error)
            continue
        kept[volume.volume_id] = np.array(shares) >= recipe.min_occupancy
    return {"kept": kept, "unreadable": unreadable}


def _share_above_background(reader: VolumeReader, start_zyx: Sequence[int], shape_zyx: Zyx) -> float:
    image_CZYX = reader.read_block_CZYX(start_zyx, shape_zyx)
    return float((image_CZYX > reader.volume.background_level).any(axis=0).mean())


def _occupied(
    tiled: Sequence[Tiled], recipe: PoolRecipe, *, store: Store, executor: Executor, resources: Resources
) -> tuple[list[Tiled], list[dict[str, str]]]:
    kept: dict[str, npt.NDArray[np.bool_]] = {}
    unreadable: dict[str, str] = {}
    for part in executor.map_shards(
        partial(occupied_shard, store=store, recipe=recipe),
        list(_shards(tiled, recipe.candidates_per_shard)),
        label="pool",
        resources=resources,
        num_workers=resources.num_score_workers,
    ):
        kept.update(part["kept"])
        unreadable.update(part["unreadable"])
    left = [(v, starts[kept[v.volume_id]]) for v, starts in tiled if v.volume_id in kept]
    return left, [{"source": volume_id, "reason": unreadable[volume_id]} for volume_id in sorted(unreadable)]


def _shards(tiled: Sequence[Tiled], num_per_shard: int) -> Iterator[list[Volume]]:
    """Whole volumes, until there are ``num_per_shard`` patches."""
    shard: list[Volume] = []
    num = 0
    for volume, starts in tiled:
        shard.append(volume)
        num += len(starts)
        if num >= num_per_shard:
            yield shard
            shard, num = [], 0
    if shard:
        yield shard


def _table(tiled: Sequence[Tiled], recipe: PoolRecipe) -> pa.Table:
    """Every candidate, a row each, by candidate id. No object is made of any of them."""
    ids: list[pa.Array] = []
    starts_and_shapes = [np.empty((0, 2, 3), np.int32)]
    for volume, starts in tiled:
        shape = patch_shape_in(volume, recipe)
        ids.append(pa.array(candidate_ids(volume.volume_id, starts.tolist(), shape), pa.string()))
        both = np.stack([starts, np.broadcast_to(np.array(shape, np.int32), starts.shape)], axis=1)
        starts_and_shapes.append(both)
    boxes, nums = np.concatenate(starts_and_shapes), [len(starts) for _, starts in tiled]
    columns = [
        pa.chunked_array(ids, pa.string()),
        _repeated([volume.volume_id for volume, _ in tiled], nums),
        *(pa.FixedSizeListArray.from_arrays(pa.array(boxes[:, i].ravel()), 3) for i in (0, 1)),
        _repeated([volume.study.patient_id for volume, _ in tiled], nums),
    ]
    table = pa.Table.from_arrays(columns, schema=POOL)
    return table.take(pc.sort_indices(table["candidate_id"])).combine_chunks()


def _repeated(names: Sequence[str], nums: Sequence[int]) -> pa.Array:
    return pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(names)), np.array(nums, np.int64))))
