"""Tensors of one network taken over into another: by name and shape, a layer whole or not at all.

A segmenter takes encoder and decoder, a classifier the encoder; a U-Net's decoder has other names than that of a
UNet++ and stays behind. The heads, whose answers are those of another question, always stay as they were drawn.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hilum.core.errors import RecipeError
from hilum.nn.heads import Network

Tensors = Mapping[str, npt.NDArray[Any]]

_HEADS = ("body.head.", "body.heads.", "linear.", "head.", "loss_predictor.")
_PART_LENGTH = 2


@dataclass(frozen=True)
class Transfer:
    """Names of the network's tensors that were ``loaded`` and that are ``fresh``, and of the others' ``unused``.

    ``misshapen`` are the layers that both have, in other shapes.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    misshapen: tuple[str, ...] = ()

    @property
    def parts(self) -> dict[str, str]:
        """Of each part of the network how many of its tensors were loaded: 'body.encoder' -> '24 of 24'."""
        loaded, total = _counted(self.loaded), _counted([*self.loaded, *self.fresh])
        return {part: f"{loaded[part]} of {num}" for part, num in total.items()}


def take_over(network: Network, tensors: Tensors) -> Transfer:
    """Load what fits into ``network``; RecipeError, with the reason, when that is no convolution at all."""
    own = network.state_dict()
    layers = {_layer(name) for name in own}
    named_alike = [layer for layer in layers if any(_layer(name) == layer for name in tensors)]
    fitting = {layer for layer in named_alike if _fits(layer, own, tensors) and not _is_head(layer)}
    loaded = {name: tensors[name] for name in own if _layer(name) in fitting and name in tensors}
    if not any(array.ndim > 1 for array in loaded.values()):
        raise RecipeError(_nothing_in_common(own, tensors))
    for name, array in loaded.items():
        # Into the tensor that is there: an optimizer may hold it already.
        own[name].copy_(torch.from_numpy(np.array(array)))
    fresh = tuple(name for name in own if name not in loaded)
    unused = tuple(sorted(name for name in tensors if name not in loaded))
    misshapen = sorted(layer for layer in named_alike if layer not in fitting and not _is_head(layer))
    return Transfer(tuple(loaded), fresh, unused, tuple(misshapen))


def _fits(layer: str, own: Mapping[str, torch.Tensor], tensors: Tensors) -> bool:
    """Whether both have the same tensors of a layer: a kernel without its bias is half a convolution."""
    # A batch norm's count of batches has no axes, and others' weights often come without it.
    here = {name: tuple(tensor.shape) for name, tensor in own.items() if _layer(name) == layer and tensor.ndim}
    there = {name: array.shape for name, array in tensors.items() if _layer(name) == layer and array.ndim}
    return here == there


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _is_head(layer: str) -> bool:
    return f"{layer}.".startswith(_HEADS)


def _counted(names: Iterable[str]) -> Counter[str]:
    return Counter(".".join(name.split(".")[:_PART_LENGTH]) for name in names)


def _nothing_in_common(own: Mapping[str, torch.Tensor], tensors: Tensors) -> str:
    """Why nothing fits: no name is the same, or one that is and has another shape."""
    mine = [name for name, tensor in own.items() if tensor.ndim > 1 and not _is_head(_layer(name))]
    for name in mine:
        if name in tensors:
            return (
                f"nothing in it fits this network: its {name} is {_times(tensors[name].shape)}, the network's is "
                f"{_times(own[name].shape)} (channels out, channels in, voxels)"
            )
    theirs = next(iter(tensors), "nothing")
    return f"no tensor in it has the name of one of this network's: it holds {theirs}, the network {mine[0]}"


def _times(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
