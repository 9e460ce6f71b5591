"""A stored scan's anomaly map, by a checkpoint that was pretrained to restore scans.

Nothing is written: the map, the scan and their grid are given back. Shape letters: C = channels, Z, Y, X = space.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.errors import NotFoundError, RecipeError, unknown_name
from hilum.core.geometry import Grid, Patch, Zyx
from hilum.core.imaging import Volume
from hilum.nn.anomaly import anomaly_map, restored
from hilum.nn.normalise import normalise
from hilum.nn.predictor import load_weights
from hilum.steps.pretraining_card import pretext_of_card
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.store.volumes import open_volume, volumes_of

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Anomalies:
    """A scan between 0 and 1, what the network makes of it and how far they are apart, all (C, Z, Y, X) on one grid."""

    image: Floats
    restored: Floats
    difference: Floats
    grid: Grid


def anomalies_of(store: Store, checkpoint_id: str, *, ingest_id: str, volume_id: str) -> Anomalies:
    """The whole volume's map; of a stack each item on its own."""
    tensors, card = checkpoints.load(store, checkpoint_id)
    volume = _volume(store, ingest_id, volume_id)
    _check(card, volume, checkpoint_id)
    pretext, network = pretext_of_card(card)
    load_weights(network, tensors)
    reader = open_volume(store, volume)

    def read(patch: Patch) -> Floats:
        return normalise(reader.read_CZYX(patch), volume.low, volume.high)

    z, y, x = volume.item_shape_zyx
    items = [Patch(volume_id, (number * z, 0, 0), (z, y, x)) for number in range(volume.num_items)]
    whole = np.concatenate([read(item) for item in items], axis=1)
    window = _zyx(card["patch_shape_zyx"])
    made = [
        restored(item, window, pretext=pretext, network=network, spatial_dims=card["spatial_dims"], read=read)
        for item in items
    ]
    restored_CZYX = np.concatenate(made, axis=1)
    return Anomalies(whole, restored_CZYX, anomaly_map(whole, restored_CZYX), volume.grid)


def _volume(store: Store, ingest_id: str, volume_id: str) -> Volume:
    volumes = volumes_of(store, ingest_id)
    if volume_id not in volumes:
        raise NotFoundError(unknown_name("volume of this ingest", volume_id, volumes))
    return volumes[volume_id]


def _check(card: dict[str, Any], volume: Volume, checkpoint_id: str) -> None:
    if "pretext" not in card:
        raise RecipeError(
            f"Checkpoint {checkpoint_id} was not pretrained here: nobody says that it restores scans. Give one that "
            "`hilum pretrain` printed."
        )
    if card["in_channels"] != volume.num_channels:
        raise RecipeError(
            f"Checkpoint {checkpoint_id} reads images of {card['in_channels']} channels; volume {volume.volume_id} has "
            f"{volume.num_channels}."
        )


def _zyx(sizes: list[int]) -> Zyx:
    z, y, x = sizes
    return z, y, x
