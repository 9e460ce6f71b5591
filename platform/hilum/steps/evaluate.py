"""evaluate: how good a checkpoint is on patients nobody is ever asked about.

inputs: ``checkpoint``, ``ingest``, ``pool`` (whose recipe says who is held out).
files: ``metrics.parquet``, ``patient_metrics.parquet``. results: ``{"validation": {metric: value}, "test": {…}}``; a
metric without a value (a class absent from the truth) is null.

Shape letters: N = items, C = channels in and classes out, K = classes, F = features (`hilum.nn.outlines`),
Z, Y, X = space.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from hilum.core.candidates import as_image, candidate_patches, from_image, patch_shape_in
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import SIDES, Side, Volume
from hilum.core.learning import sides
from hilum.core.ports import Counts, Executor
from hilum.core.recipes import Choice, EvaluateRecipe, PoolRecipe
from hilum.core.resources import Resources
from hilum.nn.infer import Floats, sliding_window
from hilum.nn.metrics import Measured, classify_metrics, confusion, patient_recalls, segment_metrics
from hilum.nn.normalise import normalise
from hilum.nn.outline_metrics import outline_metrics, patient_metrics
from hilum.nn.outlines import OutlineRules, outline_counts
from hilum.steps.predictor import load_predictor
from hilum.store import checkpoints
from hilum.store.layout import Store, exists, remove
from hilum.store.manifest import Manifest, Run, read_json, read_manifest, write_json
from hilum.store.tables import METRICS, PATIENT_METRICS, write_rows
from hilum.store.volumes import VolumeReader, open_volume, volumes_of

STEP_VERSION = 2
METRICS_FILE = "metrics.parquet"
PATIENTS_FILE = "patient_metrics.parquet"
HELD_OUT: tuple[Side, ...] = ("validation", "test")

# What one shard holds at most. Fixed, so that shards do not change with the machine.
_ITEMS_PER_SHARD = 1024
_VOXELS_PER_SHARD = 32_000_000
# What goes through a network in one call: 3D windows are big.
_VOXELS_TOGETHER = 1_000_000


class Answering(Protocol):
    """What can be evaluated: a `Predictor`, or an exported model that answers as one does."""

    card: dict[str, Any]

    @property
    def num_classes(self) -> int: ...

    def predict(self, images_NCZYX: Floats, *, members: Choice, seed: int) -> Floats:
        """Probabilities (M, N, C) or (M, N, C, Z, Y, X)."""
        ...


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
    looked_at = [one for one in held_out(store, inputs["ingest"], pool) if one[1] in recipe.sides]
    shards = shards_of(looked_at, question=card["question"])
    work = partial(
        evaluate_shard,
        store=store,
        checkpoint_id=inputs["checkpoint"],
        pool=pool,
        recipe=recipe,
        parts_url=this.path("parts"),
        resources=resources,
    )
    rows = rows_of_shards(work, shards, executor=executor, resources=resources)
    by_side = {side: [row for row in rows if row["side"] == side] for side in HELD_OUT}
    measured = {side: measure(of_side, card, recipe) for side, of_side in by_side.items()}
    write_rows(this.path(METRICS_FILE), METRICS, _table_rows(measured))
    write_rows(this.path(PATIENTS_FILE), PATIENT_METRICS, _patient_rows(by_side, card, recipe))
    summaries = {side: _summary(of_side) for side, of_side in measured.items()}
    manifest = this.commit(files=[METRICS_FILE, PATIENTS_FILE], **summaries)
    remove(this.path("parts"))
    return manifest


def rows_of_shards(
    work: Callable[[Shard], Counts], shards: Sequence[Shard], *, executor: Executor, resources: Resources
) -> list[dict[str, Any]]:
    """The rows of all shards, by item."""
    rows: list[dict[str, Any]] = []
    for part in executor.map_shards(
        work, shards, label="evaluate", resources=resources, num_workers=resources.num_score_workers
    ):
        rows.extend(part["rows"])
    # Workers answer in any order; an interval must not depend on it.
    return sorted(rows, key=lambda row: row["item"])


def rules_of(recipe: EvaluateRecipe) -> OutlineRules:
    """What counts as near and as found."""
    return OutlineRules(
        recipe.surface_tolerance_mm, recipe.lesion_bands_mm, recipe.lesion_overlap, recipe.lesion_neighbours
    )


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
    recipe: EvaluateRecipe,
    parts_url: str,
    resources: Resources,
    depth: int | None = None,
) -> Counts:
    """One row an item: its class and probabilities, or the counts of its outlines. A finished shard is read back.

    With ``depth`` it is the checkpoint pruned to it that answers.
    """
    part_url = f"{parts_url}/part-{shard.number:05d}.json"
    if exists(part_url):
        done: Counts = read_json(part_url)
        return done
    predictor = load_predictor(store, checkpoint_id, precision=resources.precision, depth=depth)
    rows = rows_of_shard(predictor, shard, store=store, pool=pool, batch_size=resources.score_batch_size, recipe=recipe)
    part = {"rows": rows}
    write_json(part_url, part)
    return part


def rows_of_shard(
    predictor: Answering, shard: Shard, *, store: Store, pool: PoolRecipe, batch_size: int, recipe: EvaluateRecipe
) -> list[dict[str, Any]]:
    """What ``predictor`` answers of every item of a shard, beside the truth."""
    rows: list[dict[str, Any]] = []
    for volume, side in shard.volumes:
        reader = open_volume(store, volume)
        if predictor.card["question"] == "segment":
            found = _segmented(predictor, reader, pool, batch_size, recipe)
        else:
            found = _classified(predictor, reader, pool, batch_size, recipe)
        names = {"side": side, "patient_id": volume.study.patient_id}
        rows += [{**row, **names, "item": [volume.volume_id, place]} for place, row in enumerate(found)]
    return rows


def measure(rows: Sequence[Mapping[str, Any]], card: Mapping[str, Any], recipe: EvaluateRecipe) -> list[Measured]:
    """The metrics of one side; none where nobody is on it."""
    if not rows:
        return []
    names, patients = list(card["class_names"]), [row["patient_id"] for row in rows]

    def options() -> dict[str, Any]:
        # Made anew each time: all metrics see the same resamples.
        rng = np.random.default_rng([recipe.seed, SIDES.index(rows[0]["side"])])
        return {"num_resamples": recipe.num_resamples, "confidence": recipe.confidence, "rng": rng}

    if card["question"] == "segment":
        over_all_voxels = segment_metrics(np.array([row["confusion"] for row in rows]), names, patients, **options())
        outlines_NKF = np.array([row["outlines"] for row in rows])
        return over_all_voxels + outline_metrics(outlines_NKF, names, patients, rules=rules_of(recipe), **options())
    probs_NK = np.array([row["probs"] for row in rows])
    return classify_metrics(probs_NK, np.array([row["truth"] for row in rows]), names, patients, **options())


def patches_of(volume: Volume, pool: PoolRecipe) -> list[Patch]:
    """What the pool would hold of this volume, its patches cut to the size of an item that is smaller."""
    return list(candidate_patches(volume, fitted(volume, pool)))


def fitted(volume: Volume, pool: PoolRecipe) -> PoolRecipe:
    """``pool`` with its patches cut to the size of an item that is smaller."""
    if pool.slices is not None:
        return pool
    shape = _patch_shape(volume, pool)
    return pool.model_copy(update={"patch_shape_zyx": shape, "stride_zyx": _smaller(pool.stride_zyx or shape, shape)})


def window_shape(volume: Volume, pool: PoolRecipe, card: Mapping[str, Any]) -> Zyx:
    """The windows in which a segmenter answers this volume's items."""
    return _smaller(_patch_shape(volume, pool), _trained_shape(card) or volume.item_shape_zyx)


def num_together(shape_zyx: Zyx, batch_size: int) -> int:
    """How many images of a shape go through a network in one call."""
    return max(1, min(batch_size, _VOXELS_TOGETHER // math.prod(shape_zyx)))


def answer_region(
    reader: VolumeReader,
    region: Patch,
    window: Zyx,
    *,
    answer: Callable[[Floats], Floats],
    overlap: float,
    together: int,
) -> Floats:
    """Probabilities (C, Z, Y, X) of one item, window by window. ``answer`` is asked of windows as networks see them."""
    volume = reader.volume

    def read(window: Patch) -> Floats:
        return normalise(reader.read_CZYX(window), volume.low, volume.high)

    def predict(images_NCZYX: Floats) -> Floats:
        _, _, *shape = images_NCZYX.shape
        return from_image(answer(as_image(images_NCZYX)), (shape[0], shape[1], shape[2]))

    return sliding_window(region, window, read=read, predict=predict, overlap=overlap, batch_size=together)


def region_of(volume: Volume, item: int) -> Patch:
    """All of one item."""
    return Patch(volume.volume_id, (item * volume.item_shape_zyx[0], 0, 0), volume.item_shape_zyx)


def _classified(
    predictor: Answering, reader: VolumeReader, pool: PoolRecipe, batch_size: int, recipe: EvaluateRecipe
) -> list[dict[str, Any]]:
    volume = reader.volume
    known = [p for p in patches_of(volume, pool) if volume.classes[volume.item_index(p)] >= 0]
    rows: list[dict[str, Any]] = []
    for at in range(0, len(known), batch_size):
        batch = known[at : at + batch_size]
        images = [as_image(normalise(image, volume.low, volume.high)) for image in reader.read_many_CZYX(batch)]
        probs_NK = _mean_answer(predictor, np.stack(images), recipe)
        rows += [
            {"truth": volume.classes[volume.item_index(patch)], "probs": [float(p) for p in probs_K]}
            for patch, probs_K in zip(batch, probs_NK, strict=True)
        ]
    return rows


def _segmented(
    predictor: Answering, reader: VolumeReader, pool: PoolRecipe, batch_size: int, recipe: EvaluateRecipe
) -> list[dict[str, Any]]:
    volume = reader.volume
    window = window_shape(volume, pool, predictor.card)
    rows = []
    for item in range(volume.num_items):
        region = region_of(volume, item)
        probs_CZYX = answer_region(
            reader,
            region,
            window,
            answer=lambda images_NCZYX: _mean_answer(predictor, images_NCZYX, recipe),
            overlap=recipe.overlap,
            together=num_together(window, batch_size),
        )
        truth_ZYX, answer_ZYX = reader.read_label_map_ZYX(region), probs_CZYX.argmax(axis=0)
        counts_KK = confusion(truth_ZYX, answer_ZYX, predictor.num_classes)
        spacing = volume.grid.spacing_mm_zyx
        features_KF = outline_counts(truth_ZYX, answer_ZYX, spacing, counts_KK=counts_KK, rules=rules_of(recipe))
        rows.append({"confusion": counts_KK.tolist(), "outlines": features_KF.tolist()})
    return rows


def _mean_answer(predictor: Answering, images_NCZYX: Floats, recipe: EvaluateRecipe) -> Floats:
    probs: Floats = predictor.predict(images_NCZYX, members=recipe.members, seed=recipe.seed).mean(axis=0)
    return probs


def _patch_shape(volume: Volume, pool: PoolRecipe) -> Zyx:
    return _smaller(patch_shape_in(volume, pool), volume.item_shape_zyx)


def _trained_shape(card: Mapping[str, Any]) -> Zyx | None:
    """The shape of the blocks that its recipe cut for training: larger ones may not fit into memory."""
    given = card.get("crop_shape_zyx")
    return None if given is None or card["spatial_dims"] == 2 else (given[0], given[1], given[2])


def _smaller(one: Zyx, other: Zyx) -> Zyx:
    z, y, x = (min(a, b) for a, b in zip(one, other, strict=True))
    return z, y, x


def _summary(measured: Sequence[Measured]) -> dict[str, float | None]:
    """Metrics of all classes together, and how many items they are of."""
    if not measured:
        return {}
    of_all = [m for m in measured if not m.class_name and not m.size_band]
    values = {m.metric: m.value if math.isfinite(m.value) else None for m in of_all}
    return {**values, "num_items": measured[0].num_items}


def _table_rows(measured: Mapping[Side, Sequence[Measured]]) -> list[dict[str, Any]]:
    return [{"side": side, **vars(one)} for side, of_side in measured.items() for one in of_side]


def _patient_rows(
    by_side: Mapping[Side, Sequence[Mapping[str, Any]]], card: Mapping[str, Any], recipe: EvaluateRecipe
) -> Iterator[dict[str, Any]]:
    names = list(card["class_names"])
    for side, rows in by_side.items():
        patients = [row["patient_id"] for row in rows]
        found: Iterable[Mapping[str, Any]] = []
        if rows and card["question"] == "segment":
            outlines_NKF = np.array([row["outlines"] for row in rows])
            found = patient_metrics(outlines_NKF, names, patients, rules=rules_of(recipe))
        elif rows:
            answered_N = np.array([row["probs"] for row in rows]).argmax(axis=1)
            found = patient_recalls(np.array([row["truth"] for row in rows]), answered_N, names, patients)
        for row in found:
            yield {"side": side, **row}
