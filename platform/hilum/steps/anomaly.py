"""A stored scan's anomaly map, by a checkpoint that was pretrained to restore scans.

Nothing is written: the map, the scan and their grid are given back. Shape letters: C = channels, Z, Y, X = space.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.errors import NotFoundError, RecipeError, unknown_name
from hilum.core.geometry import Grid, Patch, Zyx
from hilum.core.imaging import Volume
from hilum.core.recipes import PretrainRecipe
from hilum.nn.anomaly import seen_and_restored
from hilum.nn.normalise import normalise
from hilum.nn.predictor import load_weights
from hilum.steps.crop_sizes import crop_size
from hilum.steps.pretraining_card import pretext_of_card
from hilum.steps.scan_looks import look_at
from hilum.steps.scan_voxels import ScanVoxels
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.store.volumes import volumes_of

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Anomalies:
    """A scan as the network sees it, what it makes of it, and how far they are apart, all (C, Z, Y, X) on one grid."""

    image: Floats
    restored: Floats
    difference: Floats
    grid: Grid


def anomalies_of(store: Store, checkpoint_id: str, *, ingest_id: str, volume_id: str) -> Anomalies:
    """The whole volume's map; of a stack each item on its own. Grey levels and voxels are those of the pretraining."""
    tensors, card = checkpoints.load(store, checkpoint_id)
    volume = _volume(store, ingest_id, volume_id)
    _check(card, volume, checkpoint_id)
    pretext, network = pretext_of_card(card)
    load_weights(network, tensors)
    recipe = PretrainRecipe.model_validate(card["recipe"])
    voxels = ScanVoxels(store, {volume_id: volume}, kept_bytes=0)
    look = look_at(volume, voxels, recipe.sampling.model_copy(update={"inside": "anywhere"}))
    window = _window(volume, recipe)
    z, y, x = (seen / own for seen, own in zip(recipe.patch_shape_zyx, window, strict=True))
    made = [
        seen_and_restored(
            Patch(volume_id, (number * volume.item_shape_zyx[0], 0, 0), volume.item_shape_zyx),
            window,
            zoom_zyx=(z, y, x),
            pretext=pretext,
            network=network,
            spatial_dims=card["spatial_dims"],
            read=lambda patch: normalise(voxels.read_CZYX(patch), look.low, look.high),
        )
        for number in range(volume.num_items)
    ]
    seen, restored = (np.concatenate(images, axis=1) for images in zip(*made, strict=True))
    return Anomalies(seen, restored, np.abs(seen - restored), volume.grid)


def _window(volume: Volume, recipe: PretrainRecipe) -> Zyx:
    """As many voxels of the scan as the pretraining's crops took of it, at the scale nearest to 1."""
    scale = min(recipe.sampling.scales, key=lambda one: abs(math.log(one)))
    return crop_size(volume, recipe.sampling, recipe.patch_shape_zyx, scale)


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
