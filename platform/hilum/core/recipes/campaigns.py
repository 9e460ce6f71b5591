"""A whole campaign as one recipe, and many of them side by side."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

from pydantic import Field, model_validator

from hilum.core.recipes.asking import ScoreRecipe, SelectRecipe
from hilum.core.recipes.base import Choice, Question, Recipe
from hilum.core.recipes.images import IngestRecipe, PoolRecipe
from hilum.core.recipes.judging import EvaluateRecipe, PromoteRecipe
from hilum.core.recipes.training import FinetuneRecipe


class StopRecipe(Recipe):
    """Stop early: after ``num_rounds`` rounds that gained less than ``min_gain`` each."""

    num_rounds: int = Field(default=3, ge=1)
    min_gain: float = Field(default=0.0, ge=0)


class BudgetRecipe(Recipe):
    """How many candidates may be asked about, a round and in all.

    Or ``num_after_rounds``: how many have been asked about in all after the first round, the second, …
    """

    num_first_round: int | None = Field(default=None, ge=1)
    num_per_round: int = Field(default=20, ge=1)
    num_in_total: int = Field(default=200, ge=1)
    num_after_rounds: tuple[int, ...] | None = None
    stop: StopRecipe | None = None

    @model_validator(mode="before")
    @classmethod
    def _the_last_round_spends_the_whole(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("num_after_rounds") and "num_in_total" not in given:
            return {**given, "num_in_total": given["num_after_rounds"][-1]}
        return given

    @model_validator(mode="after")
    def _rounds_ascend(self) -> Self:
        totals = self.num_after_rounds
        if totals is None:
            return self
        if not totals or not all(low < high for low, high in pairwise((0, *totals))):
            raise ValueError(f"num_after_rounds must ascend from above 0, such as [10, 25, 50]; given {list(totals)}")
        if self.num_in_total != totals[-1] or self.num_first_round is not None:
            raise ValueError(
                f"num_after_rounds {list(totals)} says how many are asked about in all: leave num_in_total and "
                "num_first_round out"
            )
        return self


class CampaignRecipe(Recipe):
    """One campaign, read top to bottom as one round.

    ``ingest`` is for ``hilum ingest --recipe``; its voxels are laid out for the pool's patches
    unless it says otherwise.
    """

    question: Question
    ingest: IngestRecipe = IngestRecipe()
    pool: PoolRecipe = PoolRecipe()
    score: ScoreRecipe = ScoreRecipe()
    select: SelectRecipe = SelectRecipe()
    annotator: Choice = Choice(kind="directory")
    finetune: FinetuneRecipe = FinetuneRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()
    promote: PromoteRecipe = PromoteRecipe()
    campaign: BudgetRecipe = BudgetRecipe()


class SimulateRecipe(Recipe):
    """Strategies × seeds over one campaign recipe. 'random' is always among the strategies.

    With ``full_data`` the first ``num_full_data_seeds`` seeds also train on every label of the pool.

    A strategy is a set of changes to the campaign recipe (``score``, ``select``, ``finetune``).
    """

    campaign: CampaignRecipe
    strategies: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    full_data: bool = True
    num_full_data_seeds: int = Field(default=3, ge=1)
    title: str = ""
