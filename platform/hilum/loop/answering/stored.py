"""An image that lies in the store already, prepared as its ingest prepared it, named instead of sent."""

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from hilum.core.errors import DataError, NotFoundError
from hilum.core.imaging import Volume
from hilum.core.recipes import PrepareRecipe
from hilum.core.sources import ReadImage
from hilum.loop.answering.versions import Version
from hilum.store.layout import Store, exists
from hilum.store.manifest import MANIFEST
from hilum.store.volumes import open_volume, volume_exists, volumes_of

ID_PATTERN = r"^[0-9a-f]{12}$"
_ID = re.compile(r"[0-9a-f]{12}")
_AS_IT_IS = PrepareRecipe()


@dataclass(frozen=True)
class StoredVolume:
    """A volume, and the ingest that knows of it."""

    volume_id: str
    ingest_id: str


def stored_volume(said: Any) -> StoredVolume:
    """What JSON names: ``{"volume": id, "ingest": id}``; DataError for anything else, before any path is made of it."""
    match said:
        case {"volume": str(volume), "ingest": str(ingest), **rest} if not rest:
            if _ID.fullmatch(volume) and _ID.fullmatch(ingest):
                return StoredVolume(volume, ingest)
    raise DataError('A stored volume is named as {"volume": id, "ingest": id}, each id twelve hex digits.')


def read_stored(store: Store, named: StoredVolume, *, most_voxels: int, max_bytes: int) -> ReadImage:
    """The volume, with the grey levels that become 0 and 1 as its ingest found them.

    NotFoundError where that ingest has no such volume, DataError for one that is larger than bodies may be.
    """
    volume = _volume(store, named)
    num_voxels = volume.num_channels * math.prod(volume.grid.shape_zyx)
    if num_voxels > most_voxels:
        raise DataError(f"The volume has {num_voxels:,} voxels; at most {most_voxels:,} are answered.")
    reader = open_volume(store, volume)
    num_bytes = num_voxels * reader.read_block_CZYX((0, 0, 0), (1, 1, 1)).dtype.itemsize
    if num_bytes > max_bytes:
        raise DataError(f"The volume has {num_bytes:,} bytes; at most {max_bytes:,} are read.")
    return ReadImage(
        reader.read_block_CZYX((0, 0, 0), volume.grid.shape_zyx),
        volume.grid,
        volume.item_shape_zyx,
        modality=volume.modality,
        flags=volume.flags,
        window=(volume.low, volume.high),
    )


def unprepared(version: Version) -> Version:
    """The version, for an image that is prepared already."""
    return replace(version, prepare=_AS_IT_IS)


def _volume(store: Store, named: StoredVolume) -> Volume:
    missing = NotFoundError(f"Ingest {named.ingest_id} has no volume {named.volume_id}.")
    if not exists(f"{store.run('ingest', named.ingest_id)}/{MANIFEST}"):
        raise missing
    found = volumes_of(store, named.ingest_id).get(named.volume_id)
    if found is None or not volume_exists(store, named.volume_id):
        raise missing
    return found
