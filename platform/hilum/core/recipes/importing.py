"""How weights and networks that were trained elsewhere become a checkpoint."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from hilum.core.recipes.base import Choice, Recipe


def _licence(text: str) -> str:
    if not text.strip():
        raise ValueError("say under which licence the weights were published")
    return text.strip()


Licence = Annotated[str, Field(min_length=1), AfterValidator(_licence)]


class ReadsRecipe(Recipe):
    """What a network was trained to see: images of one ``size``, less ``mean``, over ``std``.

    ``size`` is (Y, X) or (Z, Y, X) in voxels, None where any will do. ``mean`` and ``std`` are a number a channel, of
    intensities between 0 and 1.
    """

    size: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    mean: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] | None = None
    std: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = None


class EncoderRecipe(Recipe):
    """A network of elsewhere that embeds candidates: ``{kind: onnx}`` or ``{kind: timm, model: resnet18}``.

    An ONNX file that answers several things has the name of the one that is meant as ``output``. What is None is as
    the file says, or timm.
    """

    network: Choice
    spatial_dims: Literal[2, 3] | None = None
    in_channels: int | None = Field(default=None, ge=1)
    reads: ReadsRecipe = ReadsRecipe()
    licence: Licence


class ImportRecipe(Recipe):
    r"""Which network the weights are for, what their tensors are called in it, and what they may be used for.

    ``names`` are pairs of a regular expression and what a name that it matches as a whole becomes (``\\\\1`` is its
    first group); the first that matches counts. A tensor that none matches is not used.
    """

    architecture: Choice
    spatial_dims: Literal[2, 3] = 3
    in_channels: int = Field(default=1, ge=1)
    names: tuple[tuple[str, str], ...] = Field(min_length=1)
    licence: Licence

    @field_validator("names")
    @classmethod
    def _are_expressions(cls, names: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for pattern, becomes in names:
            try:
                # Beside nothing, so that there is a match of no text, whose groups are the expression's own.
                nothing = re.compile(f"(?:{pattern})|").fullmatch("")
                assert nothing is not None, "it matches nothing at least"
                nothing.expand(becomes)
            except (re.error, IndexError) as error:
                raise ValueError(f"'{pattern}: {becomes}' is no regular expression and name: {error}") from None
        return names


class AtlasRecipe(Recipe):
    """Which ``labels`` of an atlas are foreground: all but 0 where none is named."""

    labels: tuple[int, ...] = ()

    @field_validator("labels")
    @classmethod
    def _in_one_order(cls, labels: tuple[int, ...]) -> tuple[int, ...]:
        if any(label < 1 for label in labels):
            raise ValueError("labels of foreground are whole numbers from 1; 0 is the background")
        return tuple(sorted(set(labels)))
