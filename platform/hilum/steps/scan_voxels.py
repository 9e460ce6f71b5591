"""Voxels of scans that are read again and again: from the store, or from memory where all of them have room.

Shape letters: C = channels, Z, Y, X = space.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError
from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import Volume
from hilum.steps.once import Once
from hilum.store.layout import Store
from hilum.store.volumes import VolumeReader, open_volume

Voxels = npt.NDArray[Any]

KEPT_BYTES = 2 << 30
_MOST_BYTES_PER_VOXEL = 4
_SLAB_VOXELS = 1 << 24


class ScanVoxels:
    """Voxels of ``volumes`` in the type they were stored in. Called by several threads at a time.

    Each is kept in memory after its first read if all together certainly take no more than ``kept_bytes``.
    """

    def __init__(self, store: Store, volumes: Mapping[str, Volume], *, kept_bytes: int = KEPT_BYTES) -> None:
        self._store, self._volumes = store, volumes
        num_voxels = sum(v.num_channels * int(np.prod(v.grid.shape_zyx)) for v in volumes.values())
        self.keeps = num_voxels * _MOST_BYTES_PER_VOXEL <= kept_bytes
        self._reader = Once(self._opened)
        self._whole = Once(self._read_whole)

    def read_CZYX(self, patch: Patch) -> Voxels:
        """The patch's voxels, not to be written to. DataError if one of them is not a finite number."""
        if self.keeps:
            return self._whole(patch.volume_id)[(slice(None), *patch.slices)]
        return _finite(self._reader(patch.volume_id).read_CZYX(patch), patch.volume_id)

    def thinned_CZYX(self, volume: Volume, every_zyx: Zyx) -> Voxels:
        """Every n-th voxel along each axis, counted from the start of each item; never much in memory at once."""
        depth = volume.item_shape_zyx[0]
        kept = [z for z in range(volume.grid.shape_zyx[0]) if z % depth % every_zyx[0] == 0]
        parts = []
        for slab in slabs_of(volume):
            inside = [z - slab.start_zyx[0] for z in kept if slab.start_zyx[0] <= z < slab.stop_zyx[0]]
            parts.append(self.read_CZYX(slab)[:, inside, :: every_zyx[1], :: every_zyx[2]])
        return np.concatenate(parts, axis=1)

    def labelled_ZYX(self, volume: Volume) -> npt.NDArray[np.int64]:
        """Where the volume's label map has foreground: one row (Z, Y, X) for every such voxel."""
        reader = self._reader(volume.volume_id)
        found = [np.argwhere(reader.read_label_map_ZYX(slab)) + slab.start_zyx for slab in slabs_of(volume)]
        return np.concatenate(found)

    def _opened(self, volume_id: str) -> VolumeReader:
        return open_volume(self._store, self._volumes[volume_id])

    def _read_whole(self, volume_id: str) -> Voxels:
        shape = self._volumes[volume_id].grid.shape_zyx
        return _finite(self._reader(volume_id).read_CZYX(Patch(volume_id, (0, 0, 0), shape)), volume_id)


def slabs_of(volume: Volume) -> list[Patch]:
    """The volume in slabs of whole slices, each small enough to be held beside others."""
    depth, height, width = volume.grid.shape_zyx
    thick = max(1, _SLAB_VOXELS // (height * width * volume.num_channels))
    return [Patch(volume.volume_id, (z, 0, 0), (min(thick, depth - z), height, width)) for z in range(0, depth, thick)]


def _finite(voxels: Voxels, volume_id: str) -> Voxels:
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise DataError(f"Volume {volume_id} has voxels that are not finite; ingest it again without them.")
    return voxels
