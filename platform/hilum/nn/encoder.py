"""The encoder of a checkpoint, whatever it was trained for: images in, embeddings out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hilum.core.errors import RecipeError
from hilum.core.recipes import Choice
from hilum.core.registry import architectures
from hilum.nn.heads import EncoderOnly, Network
from hilum.nn.predictor import Precision, Predictor

_ENCODER = "body.encoder."
_COUNTS_BATCHES = "num_batches_tracked"


def encoder_from(
    tensors: Mapping[str, npt.NDArray[Any]], card: Mapping[str, Any], *, precision: Precision = "float32"
) -> Predictor:
    """A predictor that only embeds: the mean over space of the deepest features, (N, D).

    RecipeError when a tensor of the encoder is missing, as in a checkpoint of imported weights that left it out.
    """
    architecture = {**card["architecture"]}
    if architecture.get("pretrained"):
        architecture["pretrained"] = False  # its weights are at hand: none are fetched to be overwritten
    make = architectures.bind(Choice.model_validate(architecture))
    body = make(spatial_dims=card["spatial_dims"], in_channels=card["in_channels"], num_classes=2)
    network = Network(EncoderOnly(body))
    own = network.state_dict()
    given = {name: torch.from_numpy(np.array(tensors[name])) for name in own if name in tensors}
    lacking = [
        name
        for name, tensor in own.items()
        if not name.endswith(_COUNTS_BATCHES) and (name not in given or given[name].shape != tensor.shape)
    ]
    if lacking:
        raise RecipeError(
            f"This checkpoint has no whole encoder: {len(lacking)} of its {len(own)} tensors are missing, first "
            f"{lacking[0]}. Name one that was trained or pretrained, or imported with all of {_ENCODER}*."
        )
    network.load_state_dict(given, strict=False)
    return Predictor(network, card, precision=precision)
