"""Whom calibrate looks at: a seeded sample of the pool's patches, and one of the validation patients' items.

Shape letters: N = patches.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hilum.core.candidates import candidate_starts, patch_shape_in
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import Volume
from hilum.core.recipes import CalibrateRecipe, PoolRecipe
from hilum.steps.evaluate import fitted, held_out, window_shape
from hilum.steps.pool import pool_side
from hilum.store.layout import Store

Side = Literal["pool", "validation"]
Places = tuple[npt.NDArray[np.int32], Zyx]
"""Where patches of one shape begin, (N, 3) in Z, Y, X, and that shape."""
Grouped = tuple[tuple[Volume, tuple[Patch, ...]], ...]
"""Volumes, each with patches of it."""

# What one shard holds at most. Fixed, so that shards do not change with the machine.
_PATCHES_PER_SHARD = 512
_VOXELS_PER_SHARD = 32_000_000
# Each side draws from numbers of its own.
_STREAM: Mapping[Side, int] = {"pool": 0, "validation": 1}


@dataclass(frozen=True)
class Shard:
    """Patches that are looked at together; of a segmenter's validation side they are whole items."""

    number: int
    side: Side
    patches: Grouped

    @property
    def num_patches(self) -> int:
        return sum(len(patches) for _, patches in self.patches)


def shards_of(
    store: Store, ingest_id: str, pool: PoolRecipe, *, card: Mapping[str, Any], recipe: CalibrateRecipe
) -> list[Shard]:
    """All that is looked at, the pool first; the same whatever the machine."""
    segments = card["question"] == "segment"

    def windows(volume: Volume) -> Places:
        """The pool's patches, no larger than the windows in which the checkpoint answers."""
        cut = fitted(volume, pool)
        if segments and pool.slices is None:
            cut = fitted(volume, cut.model_copy(update={"patch_shape_zyx": window_shape(volume, pool, card)}))
        return candidate_starts(volume, cut), patch_shape_in(volume, cut)

    def known(volume: Volume) -> Places:
        starts, shape = windows(volume)
        return starts[np.array(volume.classes)[starts[:, 0] // volume.item_shape_zyx[0]] >= 0], shape

    validation = [volume for volume, side in held_out(store, ingest_id, pool) if side == "validation"]
    # Items without a truth tell what is unlike, but not how sure to be: they are looked at where nobody has one.
    with_truth = [v for v in validation if (v.has_label_map if segments else any(c >= 0 for c in v.classes))]
    of_validation = _items if segments else (known if with_truth else windows)
    chosen = [
        *_cut("pool", _drawn(pool_side(store, ingest_id, pool), windows, recipe, "pool")),
        *_cut("validation", _drawn(with_truth or validation, of_validation, recipe, "validation")),
    ]
    return [Shard(number, side, patches) for number, (side, patches) in enumerate(chosen)]


def _items(volume: Volume) -> Places:
    starts = np.zeros((volume.num_items, 3), np.int32)
    starts[:, 0] = np.arange(volume.num_items) * volume.item_shape_zyx[0]
    return starts, volume.item_shape_zyx


def _drawn(
    volumes: Sequence[Volume], places_of: Callable[[Volume], Places], recipe: CalibrateRecipe, side: Side
) -> Iterator[tuple[Volume, Patch]]:
    """``recipe.num_items`` patches drawn evenly from all of these volumes, or all there are, in order."""
    counts = [len(places_of(volume)[0]) for volume in volumes]
    rng = np.random.default_rng([recipe.seed, _STREAM[side]])
    drawn = np.sort(rng.choice(sum(counts), min(recipe.num_items, sum(counts)), replace=False))
    ends = np.cumsum(counts)
    for volume, first, after in zip(volumes, ends - counts, ends, strict=True):
        inside = drawn[np.searchsorted(drawn, first) : np.searchsorted(drawn, after)] - first
        if len(inside):
            starts, shape = places_of(volume)
            for z, y, x in starts[inside].tolist():
                yield volume, Patch(volume.volume_id, (z, y, x), shape)


def _cut(side: Side, drawn: Iterable[tuple[Volume, Patch]]) -> Iterator[tuple[Side, Grouped]]:
    """Consecutive patches, in shards of bounded size."""
    held: list[tuple[Volume, Patch]] = []
    voxels = 0
    for volume, patch in drawn:
        voxels += math.prod(patch.shape_zyx)
        if held and (len(held) == _PATCHES_PER_SHARD or voxels > _VOXELS_PER_SHARD):
            yield side, _grouped(held)
            held, voxels = [], math.prod(patch.shape_zyx)
        held.append((volume, patch))
    if held:
        yield side, _grouped(held)


def _grouped(held: Sequence[tuple[Volume, Patch]]) -> Grouped:
    by_volume = groupby(held, key=lambda one: one[0].volume_id)
    groups = [list(group) for _, group in by_volume]
    return tuple((group[0][0], tuple(patch for _, patch in group)) for group in groups)
