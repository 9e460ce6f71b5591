"""The trials of a sweep: what each one trains, what came of it, and which is best."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hilum.core.errors import NotFoundError, RecipeError
from hilum.core.ports import Counts
from hilum.core.recipes import CampaignRecipe, Choice
from hilum.core.recipes.starts import SCRATCH
from hilum.core.sweeps import TrialRecipe, TuneRecipe, drawn, laid_over, rungs_of
from hilum.loop.choices import check_choices
from hilum.loop.recipe_files import checked, merged
from hilum.steps import trial
from hilum.store.layout import Store
from hilum.store.manifest import read_json, write_json

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


@dataclass(frozen=True)
class Trial:
    """One trial: its number, what was drawn for it, and the campaign recipe that this makes."""

    number: int
    settings: Mapping[str, Any]
    campaign: CampaignRecipe
    recipe: TrialRecipe


@dataclass(frozen=True)
class TrialNews:
    """How far a trial is. ``end`` is empty while it may go on; ``rungs`` are all it has climbed."""

    trial: Trial
    trial_id: str
    rungs: tuple[Counts, ...]
    end: str
    reason: str

    @property
    def step(self) -> int:
        return int(self.rungs[-1]["step"]) if self.rungs else 0

    @property
    def score(self) -> float | None:
        score: float | None = self.rungs[-1]["score"] if self.rungs else None
        return score


def trials_of(recipe: TuneRecipe) -> list[Trial]:
    """Every trial, checked. RecipeError when one cannot be meant, or there are not so many."""
    found = drawn(recipe)
    if len(found) < recipe.num_trials:
        raise RecipeError(
            f"The sweep has only {len(found)} different settings, and num_trials is {recipe.num_trials}. "
            "Ask for fewer trials, or widen a range."
        )
    return [_trial(recipe, number, settings) for number, settings in enumerate(found)]


def _trial(recipe: TuneRecipe, number: int, settings: Mapping[str, Any]) -> Trial:
    content = recipe.campaign.model_dump(mode="json", by_alias=True)
    told = ", ".join(f"{path} = {_short(value)}" for path, value in settings.items())
    campaign = checked(CampaignRecipe, merged(content, laid_over({}, settings)), f"trial {number} ({told})")
    # From the beginning, and by the whole number of steps: that is what its rungs are parts of.
    start = campaign.finetune.checkpoint or SCRATCH
    finetune = campaign.finetune.model_copy(update={"start": start, "num_steps": recipe.whole, "num_first_steps": None})
    campaign = campaign.model_copy(update={"finetune": finetune})
    check_choices(campaign)
    # Only its value is read: an interval would cost hundreds of resamples a rung.
    scored = campaign.evaluate.model_copy(update={"sides": ("validation",), "num_resamples": 0})
    rungs = TrialRecipe(finetune=finetune, evaluate=scored, metric=recipe.metric, rungs=rungs_of(recipe))
    return Trial(number, settings, campaign, rungs)


def news_of(store: Store, one: Trial, inputs: Mapping[str, str], tune_url: str) -> TrialNews:
    """How far a trial is, from what is written."""
    run = trial.run_of(one.recipe, inputs, store)
    rungs = [rung for step in one.recipe.rungs if (rung := trial.rung_at(run, step)) is not None]
    end, reason = "", ""
    if run.finished() is not None:
        end = FINISHED
    elif (ended := _ended(tune_url, one.number)) is not None:
        end, reason = ended["end"], ended["reason"]
        rungs = [rung for rung in rungs if rung["step"] <= ended["step"]]
    return TrialNews(one, run.run_id, tuple(rungs), end, reason)


def write_end(tune_url: str, number: int, end: str, *, step: int, reason: str = "") -> None:
    """Write down that a sweep goes no further with a trial. What was written first stands."""
    content = {"end": end, "step": step, "reason": reason}
    write_json(_end_url(tune_url, number), content, only_if_absent=True)


def best_of(news: Sequence[TrialNews]) -> TrialNews:
    """The trial that went furthest and scored best there; of equals the first."""
    scored = [one for one in news if one.score is not None]
    if not scored:
        reasons = {one.reason for one in news if one.reason}
        raise RecipeError(f"No trial has a score. {'; '.join(sorted(reasons)) or 'Is anyone on the validation side?'}")
    return max(scored, key=lambda one: (one.step, one.score, -one.trial.number))


def row_of(news: TrialNews) -> dict[str, Any]:
    """A trial as one row of the `trials` table."""
    last = news.rungs[-1] if news.rungs else {}
    return {
        "number": news.trial.number,
        "settings": json.dumps(dict(news.trial.settings), sort_keys=True),
        "end": news.end,
        "step": news.step,
        "score": news.score,
        "metric": last.get("metric"),
        "trial_id": news.trial_id,
        "checkpoint": last.get("checkpoint"),
        "reason": news.reason,
    }


def told(settings: Mapping[str, Any]) -> str:
    """Settings as people read them: without the word they all begin with."""
    return ", ".join(f"{path.removeprefix('finetune.')} {_short(value)}" for path, value in settings.items())


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("kind", value)) if set(value) == {"kind"} else json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value.kind if isinstance(value, Choice) else value)


def _ended(tune_url: str, number: int) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = read_json(_end_url(tune_url, number))
    except NotFoundError:
        return None
    return found


def _end_url(tune_url: str, number: int) -> str:
    return f"{tune_url}/ends/{number:05d}.json"
