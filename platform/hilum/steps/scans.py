"""Whole scans made small, and numbered crops of them: what Semantic Genesis looks at before and while it learns.

Shape letters: C = channels, Z, Y, X = space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from hilum.core.geometry import Patch, Zyx
from hilum.core.imaging import Volume
from hilum.nn.normalise import normalise
from hilum.store.layout import Store
from hilum.store.tables import DISCOVERED, read_table
from hilum.store.volumes import VolumeReader, open_volume

Floats = npt.NDArray[np.float32]

_NUM_OPEN = 256


@dataclass(frozen=True)
class Scan:
    """One item of a volume."""

    volume: Volume
    item: int

    @property
    def box(self) -> Patch:
        """All of it."""
        depth, height, width = self.volume.item_shape_zyx
        return Patch(self.volume.volume_id, (self.item * depth, 0, 0), (depth, height, width))


class WholeScans:
    """Scans resized as a whole. Each is read once and kept, as float16: a training sees all of them many times."""

    def __init__(self, store: Store, scans: Sequence[Scan], shape_zyx: Zyx) -> None:
        self._store, self._scans, self._shape = store, scans, shape_zyx
        self._kept: dict[int, npt.NDArray[np.float16]] = {}

    def __len__(self) -> int:
        return len(self._scans)

    def draw(self, rng: np.random.Generator) -> Floats:
        return self.scan(int(rng.integers(len(self._scans))))

    def scan(self, number: int) -> Floats:
        """(C, Z, Y, X), between 0 and 1; every voxel the mean of those it stands for."""
        if number not in self._kept:
            scan = self._scans[number]
            image = _read(open_volume(self._store, scan.volume), scan.box)
            self._kept[number] = resized(image, self._shape, averaging=True).astype(np.float16)
        return self._kept[number].astype(np.float32)


class DiscoveredCrops:
    """The crops of a discovery by their numbers, each resized to a patch."""

    def __init__(self, store: Store, volumes: Mapping[str, Volume], rows: Sequence[Patch], shape_zyx: Zyx) -> None:
        self._volumes, self._rows, self._shape = volumes, rows, shape_zyx
        self._open = lru_cache(_NUM_OPEN)(lambda volume_id: open_volume(store, volumes[volume_id]))

    def crop(self, number: int) -> Floats:
        patch = self._rows[number]
        return resized(_read(self._open(patch.volume_id), patch), self._shape)


def scans_of(volumes: Sequence[Volume]) -> list[Scan]:
    """Every item of every volume."""
    return [Scan(volume, item) for volume in volumes for item in range(volume.num_items)]


def discovered_patches(url: str) -> list[Patch]:
    """Where the crops of a discovery lie, in the order of their numbers."""
    rows = read_table(url, DISCOVERED).to_pylist()
    return [Patch(row["volume_id"], tuple(row["start_zyx"]), tuple(row["shape_zyx"])) for row in rows]


def resized(image_CZYX: Floats, shape_zyx: Zyx, *, averaging: bool = False) -> Floats:
    """Linear interpolation, or the mean of all voxels that a voxel stands for."""
    if image_CZYX.shape[1:] == shape_zyx:
        return image_CZYX
    how = {"mode": "area"} if averaging else {"mode": "trilinear", "align_corners": False}
    made: Floats = interpolate(torch.from_numpy(image_CZYX)[None], shape_zyx, **how)[0].numpy()  # type: ignore[arg-type]
    return made


def _read(reader: VolumeReader, patch: Patch) -> Floats:
    return normalise(reader.read_CZYX(patch), reader.volume.low, reader.volume.high)
