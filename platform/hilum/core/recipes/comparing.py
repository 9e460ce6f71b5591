"""Pretrainings side by side: which of them saves labels, and on what."""

from itertools import pairwise
from typing import Any, Self

from pydantic import Field, model_validator

from hilum.core.recipes.base import Recipe, Share
from hilum.core.recipes.campaigns import CampaignRecipe
from hilum.core.recipes.pretraining import PretrainRecipe
from hilum.core.recipes.training import FirstWeights


class TargetRecipe(Recipe):
    """A labelled set that pretrained networks are tried on: its ``folder``, and how a network is trained on it.

    Every network is trained on each share of the pool's labels, drawn at random, the smaller within the larger.
    """

    folder: str
    campaign: CampaignRecipe
    label_shares: tuple[Share, ...] = (0.1, 0.25, 0.5, 1.0)

    @model_validator(mode="after")
    def _shares_ascend_to_all(self) -> Self:
        shares = self.label_shares
        if not shares or not all(low < high for low, high in pairwise((0.0, *shares))) or shares[-1] != 1:
            raise ValueError(f"label_shares must ascend from above 0 to 1, such as [0.1, 0.5, 1]; given {list(shares)}")
        return self


class ComparePretrainingRecipe(Recipe):
    """Every pretext against every start from scratch, on every target, once for each seed.

    ``pretrain`` is common to all; ``pretexts`` are changes to it by name, such as ``genesis: {pretext: {kind:
    genesis}}``. Scans to learn from are those in ``folder``. ``transfer`` is laid over a target's finetune where it
    starts from pretrained weights. Scratch draws its weights by each of ``scratch``'s rules; the first of them is
    what the others are measured against.
    """

    folder: str
    pretrain: PretrainRecipe = PretrainRecipe()
    pretexts: dict[str, dict[str, Any]] = Field(min_length=1)
    scratch: tuple[FirstWeights, ...] = Field(default=("he", "xavier", "uniform"), min_length=1)
    targets: dict[str, TargetRecipe] = Field(min_length=1)
    transfer: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
