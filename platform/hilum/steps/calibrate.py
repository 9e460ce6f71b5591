"""calibrate: what serving compares production with, looked up once in a checkpoint's own images.

inputs: ``checkpoint``, ``ingest``, ``pool`` (whose recipe says who is held out). files: ``calibration.json`` and
``embeddings.safetensors`` (`hilum.steps.calibrations`). *Validation* patients tell how sure the model may be, and how
far from the pool's patches an image may lie. Test patients are not looked at.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from hilum.core.drift import Histogram
from hilum.core.geometry import Zyx
from hilum.core.ports import Executor
from hilum.core.recipes import CalibrateRecipe, PoolRecipe
from hilum.core.resources import Resources
from hilum.nn.familiar import Familiar, familiar_with
from hilum.nn.temperature import Fit
from hilum.steps.calibrate_sample import Shard, shards_of
from hilum.steps.calibrate_shard import Look, Seen, grey_histogram, look_at_shard, read_part, together
from hilum.steps.calibrations import STEP, Record, Unlike, Usual, write_calibration
from hilum.store import checkpoints
from hilum.store.layout import Store, remove
from hilum.store.manifest import Manifest, Run, read_manifest

STEP_VERSION = 1
_QUANTILES = (0.5, 0.9, 0.95, 0.99)
_NOBODY = "nobody is on the validation side"


def run(
    recipe: CalibrateRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Look at a sample of the pool and of validation patients, and write down what is usual."""
    this = Run(store, STEP, STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    card = checkpoints.read_card(store, inputs["checkpoint"])
    pool = PoolRecipe.model_validate(read_manifest(store.run("pool", inputs["pool"])).recipe)
    shards = shards_of(store, inputs["ingest"], pool, card=card, recipe=recipe)
    look = Look(
        store=store,
        checkpoint_id=inputs["checkpoint"],
        pool=pool,
        recipe=recipe,
        parts_url=this.path("parts"),
        resources=resources,
        num_windows=_windows_an_item(shards, recipe),
    )
    work = partial(look_at_shard, look=look)
    num_workers = resources.num_score_workers
    for _ in executor.map_shards(work, shards, label=STEP, resources=resources, num_workers=num_workers):
        pass
    known, validation = (
        together([read_part(look, shard.number) for shard in shards if shard.side == side])
        for side in ("pool", "validation")
    )
    assert known is not None, "a pool has at least one patch"
    record, familiar = _found(
        known, validation, card, recipe, checkpoint_id=inputs["checkpoint"], window=_window(shards)
    )
    manifest = this.commit(files=write_calibration(this.url, record, familiar), **_told(record))
    remove(look.parts_url)
    return manifest


def _windows_an_item(shards: list[Shard], recipe: CalibrateRecipe) -> int:
    num_items = sum(shard.num_patches for shard in shards if shard.side == "validation")
    return max(1, recipe.num_items // max(1, num_items))


def _window(shards: list[Shard]) -> Zyx | None:
    """The shape of every patch of the pool side, if they are of one."""
    shapes = {p.shape_zyx for shard in shards if shard.side == "pool" for _, patches in shard.patches for p in patches}
    return next(iter(shapes)) if len(shapes) == 1 else None


def _found(
    known: Seen,
    validation: Seen | None,
    card: Mapping[str, Any],
    recipe: CalibrateRecipe,
    *,
    checkpoint_id: str,
    window: Zyx | None,
) -> tuple[Record, Familiar | None]:
    fit = _NOBODY if validation is None else validation.evidence.fit()
    familiar = familiar_with(known.windows.embedding)
    unlike = familiar if isinstance(familiar, str) else _unlike(familiar, known, validation, recipe)
    is_segmenter = card["question"] == "segment"
    record = Record(
        checkpoint_id=checkpoint_id,
        temperature=fit if isinstance(fit, Fit) else None,
        no_temperature=fit if isinstance(fit, str) else None,
        num_items=validation.num_items if validation else 0,
        num_voxels=(validation.num_voxels if validation else 0) if is_segmenter else None,
        window_shape_zyx=window,
        unlike=unlike if isinstance(unlike, Unlike) else None,
        no_unlike=unlike if isinstance(unlike, str) else None,
        usual=_usual(known, validation, card),
    )
    return record, None if isinstance(familiar, str) else familiar


def _unlike(familiar: Familiar, known: Seen, validation: Seen | None, recipe: CalibrateRecipe) -> Unlike | str:
    if validation is None:
        return _NOBODY
    distances_N = familiar.distance(validation.windows.embedding)
    return Unlike(
        threshold=float(np.quantile(distances_N, recipe.familiar_share)),
        quantiles={f"{share:g}": float(np.quantile(distances_N, share)) for share in _QUANTILES},
        num_known=len(known.windows.confidence),
        num_validation=len(distances_N),
    )


def _usual(known: Seen, validation: Seen | None, card: Mapping[str, Any]) -> Usual:
    # Answers to patients it was not trained on: of its own it may be surer than it will ever be again.
    windows = (validation or known).windows
    is_segmenter, num_classes = card["question"] == "segment", int(card["num_classes"])
    counts_K = np.bincount(windows.answer.astype(np.int64), minlength=num_classes)
    return Usual(
        grey_levels=tuple(grey_histogram(counts_G).coarser() for counts_G in known.grey),
        answers_of="pool" if validation is None else "validation",
        num_answers=len(windows.confidence),
        confidence=Histogram.of(windows.confidence),
        foreground_share=Histogram.of(windows.answer) if is_segmenter else None,
        class_counts=None if is_segmenter else tuple(counts_K.tolist()),
    )


def _told(record: Record) -> dict[str, Any]:
    """What the manifest says: a few numbers, and why there are no others."""
    fit, unlike = record.temperature, record.unlike
    return {
        **(asdict(fit) if fit else {"temperature": None, "no_temperature": record.no_temperature}),
        "num_items": record.num_items,
        **({} if record.num_voxels is None else {"num_voxels": record.num_voxels}),
        **({"unlike_from": unlike.threshold} if unlike else {"unlike_from": None, "no_unlike": record.no_unlike}),
        "answers_of": record.usual.answers_of,
        "num_answers": record.usual.num_answers,
    }
