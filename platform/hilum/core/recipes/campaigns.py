"""A whole campaign as one recipe, and many of them side by side."""

from typing import Any

from pydantic import Field

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
    """How many candidates may be asked about, a round and in all."""

    num_first_round: int | None = Field(default=None, ge=1)
    num_per_round: int = Field(default=20, ge=1)
    num_in_total: int = Field(default=200, ge=1)
    stop: StopRecipe | None = None


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
