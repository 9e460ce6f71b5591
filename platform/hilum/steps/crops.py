"""Crops of unlabelled scans, read from the store as they are drawn.

Shape letters: C = channels, Z, Y, X = space.
"""

import threading
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import Side, Volume
from hilum.core.learning import sides
from hilum.core.recipes import PretrainRecipe
from hilum.nn.normalise import normalise
from hilum.store.layout import Store
from hilum.store.volumes import VolumeReader, open_volume

Floats = npt.NDArray[np.float32]


class StoredCrops:
    """Random crops of volumes: a volume, then one of its items, then a place, all alike."""

    def __init__(self, store: Store, volumes: Sequence[Volume], recipe: PretrainRecipe) -> None:
        self._store, self._volumes, self._recipe = store, volumes, recipe
        self._readers: dict[str, VolumeReader] = {}
        self._lock = threading.Lock()

    def draw(self, rng: np.random.Generator) -> Floats:
        """One crop (C, Z, Y, X) of ``patch_shape_zyx``, between 0 and 1; a scan that is smaller repeats its border."""
        volume = self._volumes[int(rng.integers(len(self._volumes)))]
        patch = self._place(volume, rng)
        image = normalise(self._reader(volume).read_CZYX(patch), volume.low, volume.high)
        missing = [(0, want - have) for want, have in zip(self._recipe.patch_shape_zyx, patch.shape_zyx, strict=True)]
        return np.pad(image, [(0, 0), *missing], mode="edge") if any(m for _, m in missing) else image

    def _place(self, volume: Volume, rng: np.random.Generator) -> Patch:
        shape, wanted = volume.item_shape_zyx, self._recipe.patch_shape_zyx
        item = int(rng.integers(volume.num_items))
        z, y, x = (int(rng.integers(max(0, have - want) + 1)) for have, want in zip(shape, wanted, strict=True))
        dz, dy, dx = (min(have, want) for have, want in zip(shape, wanted, strict=True))
        return Patch(volume.volume_id, (item * shape[0] + z, y, x), (dz, dy, dx))

    def _reader(self, volume: Volume) -> VolumeReader:
        with self._lock:
            if volume.volume_id not in self._readers:
                self._readers[volume.volume_id] = open_volume(self._store, volume)
            return self._readers[volume.volume_id]


def crops_of(store: Store, volumes: Mapping[str, Volume], recipe: PretrainRecipe, side: Side) -> StoredCrops | None:
    """Crops of one side's patients; None when nobody is on it."""
    side_of = sides(volumes.values(), recipe.split)
    chosen = [volumes[name] for name in sorted(volumes) if side_of[volumes[name].study.patient_id] == side]
    return StoredCrops(store, chosen, recipe) if chosen else None


def num_channels_of(volumes: Mapping[str, Volume]) -> int:
    """How many channels all volumes have; DataError when they differ."""
    found = {volume.num_channels for volume in volumes.values()}
    if len(found) != 1:
        raise DataError(f"Scans of {sorted(found)} channels cannot be learnt from together; ingest them apart.")
    return found.pop()


def spatial_dims_of(patch_shape_zyx: Zyx) -> int:
    return 2 if patch_shape_zyx[0] == 1 else 3
