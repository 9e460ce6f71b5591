"""How weights that were trained elsewhere become a checkpoint."""

import re
from typing import Literal

from pydantic import Field, field_validator

from hilum.core.recipes.base import Choice, Recipe


class ImportRecipe(Recipe):
    r"""Which network the weights are for, what their tensors are called in it, and what they may be used for.

    ``names`` are pairs of a regular expression and what a name that it matches as a whole becomes (``\\\\1`` is its
    first group); the first that matches counts. A tensor that none matches is not used.
    """

    architecture: Choice
    spatial_dims: Literal[2, 3] = 3
    in_channels: int = Field(default=1, ge=1)
    names: tuple[tuple[str, str], ...] = Field(min_length=1)
    licence: str = Field(min_length=1)

    @field_validator("licence")
    @classmethod
    def _says_something(cls, licence: str) -> str:
        if not licence.strip():
            raise ValueError("say under which licence the weights were published")
        return licence.strip()

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
