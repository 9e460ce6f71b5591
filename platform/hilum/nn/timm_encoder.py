"""An encoder of timm with weights from a file, pooled as timm pools it; 2D only. Nothing is fetched."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hilum.core.errors import RecipeError
from hilum.nn.imported_encoder import COLOUR, Network, Sight
from hilum.nn.predictor import Precision
from hilum.nn.pretrained import import_timm

_SHOWN = 3
_COUNTS_BATCHES = "num_batches_tracked"


def timm_model(name: str, *, in_channels: int) -> nn.Module:
    """timm's model without its classifier, with weights that mean nothing yet."""
    timm = import_timm(f"The encoder '{name}'")
    if not timm.is_model(name):
        raise RecipeError(f"timm has no model '{name}'. timm.list_models() lists them.")
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_channels)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        raise RecipeError(f"timm cannot make '{name}' of {in_channels} channel(s) into an encoder: {error}.") from None
    return model.eval()


def timm_sight(model: nn.Module, *, in_channels: int) -> Sight:
    """The size and intensities that timm notes for the model's own weights; those of colours for colours only."""
    noted: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    size = tuple(int(n) for n in noted["input_size"][1:])
    if in_channels != COLOUR:
        return Sight(2, in_channels, size)
    return Sight(2, in_channels, size, tuple(map(float, noted["mean"])), tuple(map(float, noted["std"])))


def take_weights(model: nn.Module, tensors: Mapping[str, npt.NDArray[Any]]) -> tuple[str, ...]:
    """Put a file's weights into the model; returns the names that it has no place for, those of its classifier.

    RecipeError when one of the model's own is missing or has another shape.
    """
    # Counters of batches are of no use to an encoder, and not every file has them.
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(_COUNTS_BATCHES)}
    missing = [name for name in own if name not in tensors]
    if missing:
        raise RecipeError(
            f"The file lacks {len(missing)} of the model's {len(own)} tensors: {', '.join(missing[:_SHOWN])}. "
            "Name the model that it was saved from, and save its state_dict under timm's own names."
        )
    for name, tensor in own.items():
        if tensors[name].shape != tuple(tensor.shape):
            raise RecipeError(
                f"{name} is {list(tensors[name].shape)} in the file and {list(tensor.shape)} in the model. "
                "Say with --channels how many channels it reads, or name the model that it was saved from."
            )
    model.load_state_dict({name: torch.from_numpy(np.array(tensors[name])) for name in own}, strict=False)
    return tuple(sorted(name for name in tensors if name not in own and not name.endswith(_COUNTS_BATCHES)))


def network_of(model: nn.Module, *, device: torch.device, precision: Precision = "float32") -> Network:
    """The model as a function."""
    model = model.to(device)

    def features(images_NCS: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            answer: Tensor = model(images_NCS)
        return answer

    return features
