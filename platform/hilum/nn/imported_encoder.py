"""Encoders that others have trained, behind one door: images in, embeddings out.

Whatever kind the network is, images are made what it was trained to see, and what it answers is pooled.
Shape letters: N = images, C = channels, D = embedding, Z, Y, X = space, S = all of space.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hilum.core.errors import DataError, RecipeError
from hilum.core.recipes.importing import ReadsRecipe
from hilum.nn.predictor import Floats

Network = Callable[[Tensor], Tensor]
"""Prepared images (N, C, S) to pooled features (N, D), or to features (N, D, S)."""

COLOUR = 3
_PROBED_2D, _PROBED_3D = 64, 32


@dataclass(frozen=True)
class Sight:
    """What a network sees: images of ``size`` (None: of any), each channel less ``mean`` and over ``std``."""

    spatial_dims: int
    in_channels: int
    size: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def as_told(self, told: ReadsRecipe) -> "Sight":
        """The same, with what a recipe says instead; RecipeError where it cannot be meant."""
        wanted = replace(self, **{name: value for name, value in told.model_dump().items() if value is not None})
        if wanted.size is not None and len(wanted.size) != self.spatial_dims:
            raise RecipeError(
                f"reads.size is {'(Y, X)' if self.spatial_dims == 2 else '(Z, Y, X)'} of this {self.spatial_dims}D "
                f"network; given {list(wanted.size)}."
            )
        for name in ("mean", "std"):
            values = getattr(wanted, name)
            if values is not None and len(values) != self.in_channels:
                raise RecipeError(
                    f"reads.{name} is a number for each of the network's {self.in_channels} channel(s); "
                    f"given {list(values)}."
                )
        return wanted

    def on_card(self) -> dict[str, Any]:
        """As a card holds it."""
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {"spatial_dims": lists.pop("spatial_dims"), "in_channels": lists.pop("in_channels"), "reads": lists}

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> "Sight":
        reads = {name: tuple(value) if value is not None else None for name, value in card["reads"].items()}
        return cls(card["spatial_dims"], card["in_channels"], **reads)

    def of(self, images_NCS: Tensor) -> Tensor:
        """The images as the network sees them: one channel three times where it reads colours."""
        seen = images_NCS
        if seen.shape[1] == 1 and self.in_channels == COLOUR:
            seen = seen.expand(-1, COLOUR, *seen.shape[2:])
        if self.size is not None and tuple(seen.shape[2:]) != self.size:
            # Antialiased, or fine structure would become a pattern; torch has that for images only.
            how: dict[str, Any] = {"mode": "bilinear", "antialias": True} if seen.ndim == 4 else {"mode": "trilinear"}
            seen = functional.interpolate(seen, self.size, align_corners=False, **how)
        for values, change in ((self.mean, torch.sub), (self.std, torch.div)):
            if values is not None:
                seen = change(seen, torch.tensor(values, device=seen.device).reshape(1, -1, *[1] * (seen.ndim - 2)))
        return seen.contiguous()


class ImportedEncoder:
    """A network and what it sees. It embeds as a `Predictor` does, and answers nothing."""

    def __init__(self, network: Network, card: Mapping[str, Any], *, device: torch.device) -> None:
        self.card = dict(card)
        self.sight = Sight.of_card(card)
        self.spatial_dims = self.sight.spatial_dims
        self._network = network
        self._device = device

    def embed(self, images_NCZYX: Floats) -> Floats:
        """(N, D): pooled features of images whose intensities lie between 0 and 1."""
        if images_NCZYX.ndim != 5 or images_NCZYX.shape[1] not in channels_read(self.card):
            raise RecipeError(
                f"This encoder reads images (N, C, Z, Y, X) of {self.sight.in_channels} channels; "
                f"given {images_NCZYX.shape}."
            )
        images = torch.from_numpy(np.ascontiguousarray(images_NCZYX, np.float32)).to(self._device)
        if self.spatial_dims == 2:
            if images.shape[2] != 1:
                raise RecipeError(f"This encoder reads 2D images (Z = 1); given Z = {images.shape[2]}.")
            images = images[:, :, 0]
        with torch.inference_mode():
            embedding: Floats = pooled(self._network(self.sight.of(images)), self.spatial_dims).float().cpu().numpy()
        return embedding


def channels_read(card: Mapping[str, Any]) -> tuple[int, ...]:
    """How many channels an encoder's images may have: an imported one that reads colours takes grey three times."""
    return (1, COLOUR) if "reads" in card and card["in_channels"] == COLOUR else (card["in_channels"],)


def pooled(answer: Tensor, spatial_dims: int) -> Tensor:
    """(N, D) as it is, (N, D, S) averaged over space; RecipeError for anything else."""
    if answer.ndim == 2:
        return answer
    if answer.ndim == 2 + spatial_dims:
        return answer.flatten(2).mean(dim=2)
    raise RecipeError(
        f"The network answers with an array of shape {list(answer.shape)}; an embedding is (N, D), or features "
        f"(N, D, {'Y, X' if spatial_dims == 2 else 'Z, Y, X'}), which are averaged over space. Export its pooled "
        "output, or name that one as the output."
    )


def embedding_size(network: Network, sight: Sight) -> int:
    """How many numbers an image becomes; what is wrong with the network or with ``sight`` is told now."""
    size = sight.size or (_PROBED_2D if sight.spatial_dims == 2 else _PROBED_3D,) * sight.spatial_dims
    images = np.zeros((2, sight.in_channels, *size), np.float32)
    images[1] = np.linspace(0, 1, images[1].size, dtype=np.float32).reshape(images[1].shape)
    try:
        with torch.inference_mode():
            answer = pooled(network(sight.of(torch.from_numpy(images))), sight.spatial_dims).float()
    except RuntimeError as error:
        raise RecipeError(
            f"The network does not take images of {list(images.shape[1:])} (channels, space): "
            f"{str(error).splitlines()[0]} Say what it was trained to see, as reads.size, or how many channels."
        ) from None
    return _checked_size(answer.numpy())


def _checked_size(answer_ND: npt.NDArray[Any]) -> int:
    if len(answer_ND) != 2:
        raise RecipeError(f"The network makes {len(answer_ND)} embedding(s) of 2 images; it must make one of each.")
    if not np.isfinite(answer_ND).all():
        raise DataError("The network's answer is not a finite number; its weights are damaged.")
    if np.array_equal(answer_ND[0], answer_ND[1]):
        raise DataError("The network gives two different images one embedding; it is not the output that is meant.")
    return int(answer_ND.shape[1])
