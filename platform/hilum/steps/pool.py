"""pool: the patches that may be asked about.

inputs: ``ingest``. files: ``pool.parquet``, sorted by candidate id, and
``quarantine.parquet``. Only patients on the pool side of the split are in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hilum.core.asking import Candidate
from hilum.core.candidates import candidate_patches
from hilum.core.errors import HilumError, RecipeError
from hilum.core.geometry import Patch
from hilum.core.imaging import Volume
from hilum.core.learning import sides
from hilum.core.ports import Counts, Executor
from hilum.core.recipes import PoolRecipe
from hilum.core.resources import Resources
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_manifest
from hilum.store.tables import POOL, QUARANTINE, read_table, write_rows
from hilum.store.volumes import open_volume, volumes_of

STEP_VERSION = 1
POOL_FILE = "pool.parquet"
QUARANTINE_FILE = "quarantine.parquet"

VolumePatches = tuple[Volume, tuple[Patch, ...]]


def run(
    recipe: PoolRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Tile the items of every pool-side volume, and leave out patches that are mostly background."""
    this = Run(store, "pool", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    tiled = [(volume, candidate_patches(volume, recipe)) for volume in pool_side(store, inputs["ingest"], recipe)]
    num_tiled = sum(len(patches) for _, patches in tiled)
    unreadable: list[dict[str, str]] = []
    if recipe.min_occupancy > 0:
        tiled, unreadable = _occupied(tiled, recipe, store=store, executor=executor, resources=resources)
    rows = sorted((_row(volume, p) for volume, patches in tiled for p in patches), key=lambda row: row["candidate_id"])
    if not rows:
        raise RecipeError(
            f"There is nobody to ask about: of {num_tiled:,} patches none has {recipe.min_occupancy:.0%} of its "
            "voxels above the background. Lower pool.min_occupancy."
        )
    write_rows(this.path(POOL_FILE), POOL, rows)
    write_rows(this.path(QUARANTINE_FILE), QUARANTINE, unreadable)
    num_patients = len({row["patient_id"] for row in rows})
    return this.commit(files=[POOL_FILE, QUARANTINE_FILE], num_candidates=len(rows), num_patients=num_patients)


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
    return read_pool(store, pool_id).sort_by([("volume_id", "ascending"), ("candidate_id", "ascending")])


def find_candidate(store: Store, pool_id: str, candidate_id: str) -> Candidate | None:
    """One candidate of a finished pool; None if it has no such candidate."""
    table = read_pool(store, pool_id)
    row = table.filter(pc.equal(table["candidate_id"], candidate_id))
    return Candidate(patches_of(row)[0], row["patient_id"][0].as_py()) if row.num_rows else None


def patches_of(table: pa.Table) -> list[Patch]:
    """The patch of every row."""
    rows = table.select(["volume_id", "start_zyx", "shape_zyx"]).to_pylist()
    return [Patch(row["volume_id"], tuple(row["start_zyx"]), tuple(row["shape_zyx"])) for row in rows]


def occupied_shard(shard: Sequence[VolumePatches], *, store: Store, min_occupancy: float) -> Counts:
    """For each volume of a shard, which of its patches hold enough voxels above the background; or why unreadable."""
    kept: dict[str, list[int]] = {}
    unreadable: dict[str, str] = {}
    for volume, patches in shard:
        try:
            reader = open_volume(store, volume)
            shares = [float((reader.read_CZYX(p) > volume.background_level).any(axis=0).mean()) for p in patches]
        except (HilumError, OSError, ValueError) as error:
            unreadable[volume.volume_id] = str(error)
            continue
        kept[volume.volume_id] = [int(i) for i in np.flatnonzero(np.array(shares) >= min_occupancy)]
    return {"kept": kept, "unreadable": unreadable}


def _occupied(
    tiled: Sequence[VolumePatches], recipe: PoolRecipe, *, store: Store, executor: Executor, resources: Resources
) -> tuple[list[VolumePatches], list[dict[str, str]]]:
    work = partial(occupied_shard, store=store, min_occupancy=recipe.min_occupancy)
    kept: dict[str, list[int]] = {}
    unreadable: dict[str, str] = {}
    for part in executor.map_shards(
        work,
        list(_shards(tiled, recipe.candidates_per_shard)),
        label="pool",
        resources=resources,
        num_workers=resources.num_score_workers,
    ):
        kept.update(part["kept"])
        unreadable.update(part["unreadable"])
    left = [(v, tuple(patches[i] for i in kept[v.volume_id])) for v, patches in tiled if v.volume_id in kept]
    return left, [{"source": volume_id, "reason": unreadable[volume_id]} for volume_id in sorted(unreadable)]


def _shards(tiled: Sequence[VolumePatches], num_per_shard: int) -> Iterator[list[VolumePatches]]:
    """Whole volumes, until there are ``num_per_shard`` patches."""
    shard: list[VolumePatches] = []
    for one in tiled:
        shard.append(one)
        if sum(len(patches) for _, patches in shard) >= num_per_shard:
            yield shard
            shard = []
    if shard:
        yield shard


def _row(volume: Volume, patch: Patch) -> dict[str, Any]:
    return {
        "candidate_id": patch.candidate_id,
        "volume_id": patch.volume_id,
        "start_zyx": list(patch.start_zyx),
        "shape_zyx": list(patch.shape_zyx),
        "patient_id": volume.study.patient_id,
    }
