"""evaluate: how good a checkpoint is on patients nobody is ever asked about.

inputs: ``checkpoint``, ``ingest``, ``pool`` (whose recipe says who is held out).
files: ``metrics.parquet``. results: ``{"validation": {metric: value}, "test": {…}}``; a
metric without a value (a class absent from the truth) is null.

Shape letters: N = items, C = channels in and classes out, K = classes, Z, Y, X = space.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hilum.core.candidates import as_image, candidate_patches, from_image, patch_shape_in
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import SIDES, Side, Volume
from hilum.core.learning import sides
from hilum.core.ports import Counts, Executor
from hilum.core.recipes import EvaluateRecipe, PoolRecipe
from hilum.core.resources import Resources
from hilum.nn.infer import Floats, sliding_window
from hilum.nn.metrics import Measured, classify_metrics, confusion, segment_metrics
from hilum.nn.normalise import normalise
from hilum.nn.predictor import Predictor
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.store.layout import Store, exists, filesystem
from hilum.store.manifest import Manifest, Run, read_json, read_manifest, write_json
from hilum.store.tables import METRICS, write_rows
from hilum.store.volumes import VolumeReader, open_volume, volumes_of

STEP_VERSION = 1
METRICS_FILE = "metrics.parquet"
HELD_OUT: tuple[Side, ...] = ("validation", "test")

# What one shard holds at most. Fixed, so that shards do not change with the machine.
_ITEMS_PER_SHARD = 1024
_VOXELS_PER_SHARD = 32_000_000
# What goes through a network in one call: 3D windows are big.
_VOXELS_TOGETHER = 1_000_000


@dataclass(frozen=True)
class Shard:
    """Volumes that are evaluated together, with the side each is on."""

    number: int
    volumes: tuple[tuple[Volume, Side], ...]


def run(
    recipe: EvaluateRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Answer every held-out item, compare with the truth, and say how sure the numbers are."""
    this = Run(store, "evaluate", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    card = checkpoints.read_card(store, inputs["checkpoint"])
    pool = PoolRecipe.model_validate(read_manifest(store.run("pool", inputs["pool"])).recipe)
    work = partial(
        evaluate_shard,
        store=store,
        checkpoint_id=inputs["checkpoint"],
        pool=pool,
        overlap=recipe.overlap,
        parts_url=this.path("parts"),
        resources=resources,
    )
    looked_at = [one for one in held_out(store, inputs["ingest"], pool) if one[1] in recipe.sides]
    shards = shards_of(looked_at, question=card["question"])
    rows: list[dict[str, Any]] = []
    for part in executor.map_shards(
        work, shards, label="evaluate", resources=resources, num_workers=resources.num_score_workers
    ):
        rows.extend(part["rows"])
    # Workers answer in any order; an interval must not depend on it.
    rows.sort(key=lambda row: row["item"])
    measured = {side: measure([r for r in rows if r["side"] == side], card, recipe) for side in HELD_OUT}
    write_rows(this.path(METRICS_FILE), METRICS, _table_rows(measured))
    manifest = this.commit(files=[METRICS_FILE], **{side: _summary(of_side) for side, of_side in measured.items()})
    _remove(this.path("parts"))
    return manifest


def held_out(store: Store, ingest_id: str, pool: PoolRecipe) -> list[tuple[Volume, Side]]:
    """Volumes of the validation and test sides, by id."""
    volumes = volumes_of(store, ingest_id)
    side_of = sides(volumes.values(), pool.split)
    placed = [(volumes[volume_id], side_of[volumes[volume_id].study.patient_id]) for volume_id in sorted(volumes)]
    return [(volume, side) for volume, side in placed if side in HELD_OUT]


def shards_of(volumes: Iterable[tuple[Volume, Side]], *, question: str) -> list[Shard]:
    """Consecutive volumes that have a truth, in shards of bounded size."""
    shards: list[list[tuple[Volume, Side]]] = []
    items, voxels = 0, 0
    for volume, side in volumes:
        if not (volume.has_label_map if question == "segment" else any(c >= 0 for c in volume.classes)):
            continue
        items += volume.num_items
        voxels += math.prod(volume.grid.shape_zyx)
        if not shards or items > _ITEMS_PER_SHARD or voxels > _VOXELS_PER_SHARD:
            shards.append([])
            items, voxels = volume.num_items, math.prod(volume.grid.shape_zyx)
        shards[-1].append((volume, side))
    return [Shard(number, tuple(held)) for number, held in enumerate(shards)]


def evaluate_shard(
    shard: Shard,
    *,
    store: Store,
    checkpoint_id: str,
    pool: PoolRecipe,
    overlap: float,
    parts_url: str,
    resources: Resources,
) -> Counts:
    """One row an item: its class and probabilities, or its confusion counts. A finished shard is read back."""
    part_url = f"{parts_url}/part-{shard.number:05d}.json"
    if exists(part_url):
        done: Counts = read_json(part_url)
        return done
    predictor = load_predictor(store, checkpoint_id, precision=resources.precision)
    rows: list[dict[str, Any]] = []
    for volume, side in shard.volumes:
        reader = open_volume(store, volume)
        if predictor.card["question"] == "segment":
            found = _segmented(predictor, reader, pool, resources.score_batch_size, overlap)
        else:
            found = _classified(predictor, reader, pool, resources.score_batch_size)
        names = {"side": side, "patient_id": volume.study.patient_id}
        rows += [{**row, **names, "item": [volume.volume_id, place]} for place, row in enumerate(found)]
    part = {"rows": rows}
    write_json(part_url, part)
    return part


def measure(rows: Sequence[Mapping[str, Any]], card: Mapping[str, Any], recipe: EvaluateRecipe) -> list[Measured]:
    """The metrics of one side; none where nobody is on it."""
    if not rows:
        return []
    names, patients = list(card["class_names"]), [row["patient_id"] for row in rows]
    rng = np.random.default_rng([recipe.seed, SIDES.index(rows[0]["side"])])
    options: dict[str, Any] = {"num_resamples": recipe.num_resamples, "confidence": recipe.confidence, "rng": rng}
    if card["question"] == "segment":
        return segment_metrics(np.array([row["confusion"] for row in rows]), names, patients, **options)
    probs_NK = np.array([row["probs"] for row in rows])
    return classify_metrics(probs_NK, np.array([row["truth"] for row in rows]), names, patients, **options)


def patches_of(volume: Volume, pool: PoolRecipe) -> list[Patch]:
    """What the pool would hold of this volume, its patches cut to the size of an item that is smaller."""
    if pool.slices is not None:
        return list(candidate_patches(volume, pool))
    shape = _window_shape(volume, pool)
    stride = _smaller(pool.stride_zyx or shape, shape)
    fitting = pool.model_copy(update={"patch_shape_zyx": shape, "stride_zyx": stride})
    return list(candidate_patches(volume, fitting))


def _classified(predictor: Predictor, reader: VolumeReader, pool: PoolRecipe, batch_size: int) -> list[dict[str, Any]]:
    volume = reader.volume
    known = [p for p in patches_of(volume, pool) if volume.classes[volume.item_index(p)] >= 0]
    rows: list[dict[str, Any]] = []
    for at in range(0, len(known), batch_size):
        batch = known[at : at + batch_size]
        images = [as_image(normalise(image, volume.low, volume.high)) for image in reader.read_many_CZYX(batch)]
        probs_NK = predictor.predict(np.stack(images))[0]
        rows += [
            {"truth": volume.classes[volume.item_index(patch)], "probs": [float(p) for p in probs_K]}
            for patch, probs_K in zip(batch, probs_NK, strict=True)
        ]
    return rows


def _segmented(
    predictor: Predictor, reader: VolumeReader, pool: PoolRecipe, batch_size: int, overlap: float
) -> list[dict[str, Any]]:
    volume = reader.volume
    depth = volume.item_shape_zyx[0]

    def read(window: Patch) -> Floats:
        return normalise(reader.read_CZYX(window), volume.low, volume.high)

    def predict(images_NCZYX: Floats) -> Floats:
        _, _, *shape = images_NCZYX.shape
        probs_NCZYX: Floats = predictor.predict(as_image(images_NCZYX))[0]
        return from_image(probs_NCZYX, (shape[0], shape[1], shape[2]))

    rows = []
    for item in range(volume.num_items):
        region = Patch(volume.volume_id, (item * depth, 0, 0), volume.item_shape_zyx)
        window = _window_shape(volume, pool)
        together = max(1, min(batch_size, _VOXELS_TOGETHER // math.prod(window)))
        probs_CZYX = sliding_window(region, window, read=read, predict=predict, overlap=overlap, batch_size=together)
        counts = confusion(reader.read_label_map_ZYX(region), probs_CZYX.argmax(axis=0), predictor.num_classes)
        rows.append({"confusion": counts.tolist()})
    return rows


def _window_shape(volume: Volume, pool: PoolRecipe) -> Zyx:
    return _smaller(patch_shape_in(volume, pool), volume.item_shape_zyx)


def _smaller(one: Zyx, other: Zyx) -> Zyx:
    z, y, x = (min(a, b) for a, b in zip(one, other, strict=True))
    return z, y, x


def _summary(measured: Sequence[Measured]) -> dict[str, float | None]:
    """Metrics of all classes together, and how many items they are of."""
    if not measured:
        return {}
    values = {m.metric: m.value if math.isfinite(m.value) else None for m in measured if not m.class_name}
    return {**values, "num_items": measured[0].num_items}


def _table_rows(measured: Mapping[Side, Sequence[Measured]]) -> list[dict[str, Any]]:
    return [{"side": side, **vars(one)} for side, of_side in measured.items() for one in of_side]


def _remove(url: str) -> None:
    fs, path = filesystem(url)
    if fs.exists(path):
        fs.rm(path, recursive=True)
