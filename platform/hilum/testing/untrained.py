"""A checkpoint that has learnt nothing: enough to score a pool with, and made in a moment."""

from hilum.core.recipes import Choice
from hilum.nn.predictor import network_of_card, weights_of
from hilum.store import checkpoints
from hilum.store.layout import Store
from hilum.testing.phantoms import Phantom

_SMALL = Choice(kind="unet", depth=2, features=(4, 8, 8))


def untrained_checkpoint(store: Store, phantom: Phantom, *, seed: int = 0, architecture: Choice = _SMALL) -> str:
    """The id of a network with random weights that answers the phantom's question: a small U-Net unless said."""
    card = {
        "question": phantom.question,
        "architecture": architecture.model_dump(mode="json"),
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
