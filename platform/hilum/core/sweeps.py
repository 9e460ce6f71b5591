"""What a sweep tries: ranges for a recipe's numbers, and how trials are drawn and cut short. Pure."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from hilum.core.recipes import CampaignRecipe, EvaluateRecipe, FinetuneRecipe, Recipe

_DIGITS = 4
_ATTEMPTS = 200


class RangeRecipe(Recipe):
    """Where one value is drawn from: exactly one of these."""

    choice: tuple[Any, ...] | None = None
    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    int_uniform: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> "RangeRecipe":
        said = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(said) != 1:
            raise ValueError("give exactly one of: choice, uniform, log_uniform, int_uniform")
        values = getattr(self, said[0])
        if said[0] == "choice":
            if not values:
                raise ValueError("a choice needs at least one value")
        elif not (all(map(math.isfinite, values)) and values[0] < values[1]):
            raise ValueError(f"the low end must be below the high end; given {values[0]:g} and {values[1]:g}")
        elif said[0] == "log_uniform" and values[0] <= 0:
            raise ValueError("the low end of log_uniform must be above 0")
        return self

    def draw(self, rng: np.random.Generator) -> Any:
        """One value. Numbers have four digits: what is tried can be typed again."""
        if self.choice is not None:
            return self.choice[int(rng.integers(len(self.choice)))]
        if self.int_uniform is not None:
            return int(rng.integers(self.int_uniform[0], self.int_uniform[1] + 1))
        if self.uniform is not None:
            return float(f"{rng.uniform(*self.uniform):.{_DIGITS}g}")
        assert self.log_uniform is not None
        low, high = map(math.log, self.log_uniform)
        return float(f"{math.exp(rng.uniform(low, high)):.{_DIGITS}g}")


class TuneRecipe(Recipe):
    """A sweep over a campaign's ``finetune``, each trial a training that is scored on the validation side.

    ASHA (https://arxiv.org/abs/1810.05934): a trial is scored after ``grace_steps``, then after
    ``reduction_factor`` times as many, and so on; at each of these rungs only the best
    1 / ``reduction_factor`` of those that came so far go on. ``num_steps`` is a whole training,
    the campaign's if not given. ``metric`` is one where more is better; 'auto' as in ``promote``.
    """

    campaign: CampaignRecipe
    sweep: dict[str, RangeRecipe] = Field(min_length=1)
    num_trials: int = Field(default=8, ge=1, le=10_000)
    num_steps: int | None = Field(default=None, ge=1)
    grace_steps: int | None = Field(default=None, ge=1)
    reduction_factor: int = Field(default=3, ge=2)
    metric: str = "auto"
    seed: int = Field(default=0, ge=0)

    @field_validator("sweep")
    @classmethod
    def _only_training_is_swept(cls, sweep: dict[str, RangeRecipe]) -> dict[str, RangeRecipe]:
        for path in sweep:
            if not path.startswith("finetune.") or path in ("finetune.num_steps", "finetune.from"):
                raise ValueError(
                    f"'{path}' cannot be swept: give parts of the training, such as finetune.learning_rate or "
                    "finetune.architecture.depth. Steps are the sweep's own num_steps; all trials begin alike, from "
                    "scratch or from the campaign's checkpoint"
                )
        return sweep

    @model_validator(mode="after")
    def _there_is_something_to_score_at_the_first_rung(self) -> "TuneRecipe":
        if self.grace_steps is not None and not self.whole / 100 <= self.grace_steps <= self.whole:
            raise ValueError(
                f"grace_steps {self.grace_steps} must lie between a hundredth of a training's steps and all "
                f"{self.whole} of them"
            )
        return self

    @property
    def whole(self) -> int:
        """Steps of a whole training."""
        return self.num_steps or self.campaign.finetune.num_steps_over(1)

    @property
    def grace(self) -> int:
        """Steps before the first rung."""
        return self.grace_steps or max(1, -(-self.whole // self.reduction_factor**2))


class TrialRecipe(Recipe):
    """One trial: a training, where it pauses to be scored, and how. Its name is that of its content."""

    finetune: FinetuneRecipe
    evaluate: EvaluateRecipe
    metric: str
    rungs: tuple[int, ...]


def rungs_of(recipe: TuneRecipe) -> tuple[int, ...]:
    """The steps at which trials are scored: the grace, times the factor, …, and the end."""
    rungs, step = [], recipe.grace
    while step < recipe.whole:
        rungs.append(step)
        step *= recipe.reduction_factor
    return (*rungs, recipe.whole)


def drawn(recipe: TuneRecipe) -> list[dict[str, Any]]:
    """The settings of each trial (dotted path to value), no two alike; fewer where there are not so many.

    Trial n is the same whatever ``num_trials`` is, so that a sweep can be made longer.
    """
    found: list[dict[str, Any]] = []
    for attempt in range(_ATTEMPTS * recipe.num_trials):
        rng = np.random.default_rng([recipe.seed, attempt])
        settings = {path: recipe.sweep[path].draw(rng) for path in sorted(recipe.sweep)}
        if settings not in found:
            found.append(settings)
        if len(found) == recipe.num_trials:
            break
    return found


def laid_over(content: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the nested changes that a recipe file would hold."""
    changes: dict[str, Any] = dict(content)
    for path, value in settings.items():
        *folders, last = path.split(".")
        inner = changes
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = value
    return changes
