"""A checkpoint that has learnt nothing: enough to score a pool with, and made in a moment."""

from collections.abc import Mapping
from typing import Any

from hilum.nn.predictor import network_of_card, weights_of
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.testing.phantoms import Phantom

_SMALL: Mapping[str, Any] = {"kind": "unet", "depth": 2, "features": [4, 8, 8]}


def untrained_checkpoint(
    store: Store, phantom: Phantom, *, seed: int = 0, architecture: Mapping[str, Any] = _SMALL
) -> str:
    """The id of a network with random weights, a small U-Net unless said, that answers the phantom's question."""
    card = {
        "question": phantom.question,
        "architecture": dict(architecture),
        "spatial_dims": phantom.spatial_dims,
        "in_channels": 1,
        "num_classes": len(phantom.class_names),
        "class_names": list(phantom.class_names),
        "patch_shape_zyx": list(phantom.patch_shape_zyx),
        "recipe": {},
        "inputs": {},
        "licence": "Apache-2.0",
    }
    checkpoint_id = f"{seed:012x}"
    checkpoints.save(store, checkpoint_id, weights_of(network_of_card(card, seed=seed)), card)
    return checkpoint_id
