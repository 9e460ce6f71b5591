"""A whole campaign as one recipe, and many of them side by side."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

from pydantic import Field, model_validator

from hilum.core.recipes.asking import ScoreRecipe, SelectRecipe
from hilum.core.recipes.base import Choice, Question, Recipe
from hilum.core.recipes.images import IngestRecipe, PoolRecipe
from hilum.core.recipes.judging import CalibrateRecipe, EvaluateRecipe, PromoteRecipe
from hilum.core.recipes.training import FinetuneRecipe

_BY_PREDICTIONS = ("min_kappa", "max_change", "max_uncertainty")


class StopRecipe(Recipe):
    """Stop early, by whichever of the named rules says so first; each looks at the last ``num_rounds`` rounds.

    ``min_gain``: none of them gained more (the rule if none is named). The others read what the models of
    the rounds predict of the candidates that are still open, and take the mean: ``min_kappa`` (their
    agreement is at least that; 0.99 is usual), ``max_change`` (of the F measure, from one to the next) and
    ``max_uncertainty`` (of the scorer ``uncertainty``, in its own unit; Zhu et al. 2008,
    https://aclanthology.org/C08-1142).
    """

    num_rounds: int = Field(default=3, ge=1)
    min_gain: float | None = Field(default=0.0, ge=0)
    min_kappa: float | None = Field(default=None, gt=0, le=1)
    max_change: float | None = Field(default=None, ge=0, lt=1)
    max_uncertainty: float | None = Field(default=None, ge=0)
    uncertainty: str = "entropy"

    @property
    def reads_predictions(self) -> bool:
        """Whether a rule needs the pool to be scored by every round's model."""
        return not (self.min_kappa is self.max_change is self.max_uncertainty is None)

    @model_validator(mode="before")
    @classmethod
    def _another_rule_replaces_no_gain(cls, given: Any) -> Any:
        named = isinstance(given, Mapping) and any(given.get(rule) is not None for rule in _BY_PREDICTIONS)
        return {"min_gain": None, **given} if named else given

    @model_validator(mode="after")
    def _there_is_a_rule(self) -> Self:
        if self.min_gain is None and not self.reads_predictions:
            raise ValueError(f"a stop rule is one of min_gain, {', '.join(_BY_PREDICTIONS)}; none is given")
        return self


class BudgetRecipe(Recipe):
    """How many candidates may be asked about, a round and in all.

    Or ``num_after_rounds``: how many have been asked about in all after the first round, the second, …

    ``seconds_per_round`` and ``seconds_in_total`` are people's time, and hold beside the numbers: whichever is
    spent first. A round is planned by predicted seconds (``select.cost``); what was spent is what people told, or
    what was predicted where they told nothing.
    """

    num_first_round: int | None = Field(default=None, ge=1)
    num_per_round: int = Field(default=20, ge=1)
    num_in_total: int = Field(default=200, ge=1)
    num_after_rounds: tuple[int, ...] | None = None
    seconds_per_round: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seconds_in_total: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    stop: StopRecipe | None = None

    @property
    def has_seconds(self) -> bool:
        """Whether people's time is limited too."""
        return not (self.seconds_per_round is self.seconds_in_total is None)

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
    unless it says otherwise. With ``calibrate`` every new champion is calibrated when it is
    promoted; without it ``hilum model calibrate`` does so when somebody asks.
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
    calibrate: CalibrateRecipe | None = None
    campaign: BudgetRecipe = BudgetRecipe()

    @model_validator(mode="after")
    def _seconds_are_predicted(self) -> Self:
        if self.campaign.has_seconds and self.select.cost is None:
            raise ValueError(
                "campaign.seconds_per_round and seconds_in_total need select.cost, which says how long a question "
                "takes, such as {}"
            )
        return self

    @model_validator(mode="after")
    def _a_class_has_no_outline(self) -> Self:
        if self.question == "classify" and self.select.cost and self.select.cost.seconds_per_1000_voxels:
            raise ValueError("select.cost.seconds_per_1000_voxels is for outlines; a class outlines nothing")
        return self

    @model_validator(mode="after")
    def _consensus_suits_the_question(self) -> Self:
        unsuited = {"classify": "staple", "segment": "crowdlab"}[self.question]
        if self.select.relabel is not None and self.select.relabel.consensus == unsuited:
            raise ValueError(
                f"select.relabel.consensus '{unsuited}' is not for question '{self.question}': crowdlab is for "
                "classes, staple for outlines, majority for both"
            )
        return self


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
