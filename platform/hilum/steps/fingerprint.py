"""fingerprint: what the images of an ingest are like, in a page of numbers that a plan can be made from.

inputs: ``ingest``. results: `Fingerprint`. Patients of the test side are not looked at.
Label maps are counted whole, a slab at a time; grey levels are sampled in blocks, as many from
every volume, so that a large scan says no more than a small one.

Shape letters: C = channels, Z, Y, X = space, Q = quantiles.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.asking import IGNORE
from hilum.core.errors import DataError, HilumError
from hilum.core.fingerprint import Fingerprint, FingerprintRecipe, GreyLevels, Spread
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import Volume
from hilum.core.learning import sides
from hilum.core.ports import Counts, Executor
from hilum.core.resources import Resources
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_manifest
from hilum.store.volumes import VolumeReader, open_volume, volumes_of

STEP_VERSION = 1
GREY_PERCENTS = (0.5, 50.0, 99.5)
_NUM_QUANTILES = 201
_BLOCK_ZYX = (16, 64, 64)
_SLAB_VOXELS = 8_000_000


def run(
    recipe: FingerprintRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Look at every volume once, and put what was found together."""
    this = Run(store, "fingerprint", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    volumes = _looked_at(store, inputs["ingest"], recipe)
    class_names = list(read_manifest(store.run("ingest", inputs["ingest"])).results["class_names"])
    work = partial(look_at, store=store, recipe=recipe, num_classes=len(class_names))
    found = executor.map_shards(
        work, volumes, label="fingerprint", resources=resources, num_workers=resources.num_ingest_workers
    )
    # Workers answer in any order; a median of grey levels must not depend on it.
    rows = sorted(found, key=lambda row: str(row["volume_id"]))
    together = fingerprint_of(volumes, rows, class_names)
    return this.commit(**together.model_dump(mode="json"))


def read_fingerprint(manifest: Manifest) -> Fingerprint:
    """The fingerprint that a finished run holds."""
    return Fingerprint.model_validate(manifest.results)


def look_at(volume: Volume, *, store: Store, recipe: FingerprintRecipe, num_classes: int) -> Counts:
    """One volume: voxels of each class, and quantiles of its grey levels, of all and of its foreground."""
    row: Counts = {"volume_id": volume.volume_id, "voxels": [0] * num_classes, "all": [], "foreground": []}
    rng = np.random.default_rng([recipe.seed, *volume.volume_id.encode()])
    try:
        reader = open_volume(store, volume)
        corners, counts = _foreground_corners(reader, recipe.num_blocks, num_classes, rng)
        row["voxels"] = counts
        row["all"] = _quantiles([reader.read_CZYX(p) for p in _random_blocks(volume, recipe.num_blocks, rng)])
        row["foreground"] = _quantiles([_foreground(reader, block) for block in _blocks_at(volume, corners)])
    except (HilumError, OSError, ValueError) as error:
        row["unreadable"] = str(error)
    return row


def fingerprint_of(
    volumes: Sequence[Volume], rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> Fingerprint:
    """All volumes together. Where scans lie differently in their arrays, sizes are in the patient's Z, Y, X."""
    axes = {volume.grid.anatomical_axes() for volume in volumes if volume.grid.shape_zyx[0] > 1}
    turned = len(axes) > 1
    by_id = {row["volume_id"]: row for row in rows}
    modalities = sorted({volume.modality for volume in volumes})
    voxels = [sum(row["voxels"][k] for row in rows) for k in range(len(class_names))]
    return Fingerprint(
        num_volumes=len(volumes),
        num_items=sum(volume.num_items for volume in volumes),
        num_unreadable=sum("unreadable" in row for row in rows),
        num_patients=len({volume.study.patient_id for volume in volumes}),
        num_labelled=sum(volume.has_label_map for volume in volumes),
        num_classified=sum(c >= 0 for volume in volumes for c in volume.classes),
        has_stacks=any(volume.num_items > 1 for volume in volumes),
        spacing_known=not any({"spacing_unknown", "position_unknown"} & {*volume.flags} for volume in volumes),
        orientation_known=not any({"no_orientation", "position_unknown"} & {*volume.flags} for volume in volumes),
        num_orientations=len(axes),
        num_channels=sorted({volume.num_channels for volume in volumes}),
        spacing_mm_zyx=Spread.of([_laid(volume, volume.grid.spacing_mm_zyx, turned=turned) for volume in volumes]),
        item_shape_zyx=Spread.of([_laid(volume, volume.item_shape_zyx, turned=turned) for volume in volumes]),
        extent_mm_zyx=Spread.of([_laid(volume, _extent_mm(volume), turned=turned) for volume in volumes]),
        modalities={name: sum(volume.modality == name for volume in volumes) for name in modalities},
        grey_levels={
            name: _grey_levels([by_id[v.volume_id] for v in volumes if v.modality == name]) for name in modalities
        },
        class_names=list(class_names),
        class_voxels=voxels,
        class_volumes=[sum(row["voxels"][k] > 0 for row in rows) for k in range(len(class_names))],
        class_items=[sum(volume.classes.count(k) for volume in volumes) for k in range(len(class_names))],
    )


def _looked_at(store: Store, ingest_id: str, recipe: FingerprintRecipe) -> list[Volume]:
    volumes = volumes_of(store, ingest_id)
    side = sides(volumes.values(), recipe.split)
    found = [volumes[name] for name in sorted(volumes) if side[volumes[name].study.patient_id] != "test"]
    if not found:
        raise DataError(f"Ingest {ingest_id} holds no volume to plan for. Ingest some images first (`hilum ingest`).")
    return found


def _foreground_corners(
    reader: VolumeReader, num: int, num_classes: int, rng: np.random.Generator
) -> tuple[list[Zyx], list[int]]:
    """A few foreground voxels, and the voxels of each class; the label map goes by in slabs."""
    counts = np.zeros(num_classes, np.int64)
    chosen: list[tuple[float, Zyx]] = []
    if not reader.volume.has_label_map:
        return [], counts.tolist()
    z_size, y_size, x_size = reader.volume.grid.shape_zyx
    step = max(1, _SLAB_VOXELS // (y_size * x_size))
    for z in range(0, z_size, step):
        slab = Patch(reader.volume.volume_id, (z, 0, 0), (min(step, z_size - z), y_size, x_size))
        labels_ZYX = reader.read_label_map_ZYX(slab)
        counts += np.bincount(labels_ZYX[labels_ZYX < num_classes].ravel(), minlength=num_classes)
        inside = np.flatnonzero((labels_ZYX > 0) & (labels_ZYX != IGNORE))
        # Those with the smallest of random numbers: as if drawn from the whole volume at once.
        drawn = np.sort(rng.random(inside.size))[:num]
        for number, place in zip(drawn, rng.choice(inside, drawn.size, replace=False), strict=True):
            dz, y, x = (int(i) for i in np.unravel_index(place, labels_ZYX.shape))
            chosen.append((float(number), (z + dz, y, x)))
        chosen = sorted(chosen)[:num]
    return [corner for _, corner in chosen], counts.tolist()


def _random_blocks(volume: Volume, num: int, rng: np.random.Generator) -> list[Patch]:
    return _blocks_at(volume, [tuple(int(rng.integers(n)) for n in volume.grid.shape_zyx) for _ in range(num)])  # type: ignore[misc]


def _blocks_at(volume: Volume, centres: Sequence[Zyx]) -> list[Patch]:
    """A block around each voxel, moved until it lies inside; one where several are the same."""
    blocks = set()
    for centre in centres:
        shape = [min(b, n) for b, n in zip(_BLOCK_ZYX, volume.grid.shape_zyx, strict=True)]
        start = [min(max(0, c - s // 2), n - s) for c, s, n in zip(centre, shape, volume.grid.shape_zyx, strict=True)]
        blocks.add(Patch(volume.volume_id, (start[0], start[1], start[2]), (shape[0], shape[1], shape[2])))
    return sorted(blocks, key=lambda block: block.start_zyx)


def _foreground(reader: VolumeReader, block: Patch) -> npt.NDArray[Any]:
    labels_ZYX = reader.read_label_map_ZYX(block)
    return reader.read_CZYX(block)[:, (labels_ZYX > 0) & (labels_ZYX != IGNORE)]


def _quantiles(samples: Sequence[npt.NDArray[Any]]) -> list[float]:
    values = np.concatenate([sample.ravel() for sample in samples]) if samples else np.zeros(0)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return []
    return [float(v) for v in np.quantile(finite.astype(np.float64), np.linspace(0, 1, _NUM_QUANTILES))]


def _grey_levels(rows: Sequence[Mapping[str, Any]]) -> GreyLevels:
    """Every volume counts alike: its quantiles stand for its voxels."""
    return GreyLevels(all=_percentiles(rows, "all"), foreground=_percentiles(rows, "foreground"))


def _percentiles(rows: Sequence[Mapping[str, Any]], of: str) -> tuple[float, float, float] | None:
    pooled_Q = [value for row in rows for value in row[of]]
    if not pooled_Q:
        return None
    low, middle, high = (float(v) for v in np.percentile(pooled_Q, GREY_PERCENTS))
    return low, middle, high


def _extent_mm(volume: Volume) -> list[float]:
    return [n * mm for n, mm in zip(volume.item_shape_zyx, volume.grid.spacing_mm_zyx, strict=True)]


def _laid(volume: Volume, numbers: Sequence[float], *, turned: bool) -> Sequence[float]:
    """Numbers along Z, Y, X of the array; of the patient, where scans are to be turned alike."""
    if not turned:
        return numbers
    x, y, z = (axis for axis, _ in volume.grid.anatomical_axes())
    return numbers[z], numbers[y], numbers[x]
