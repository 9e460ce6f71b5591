"""Which campaigns a simulation is made of. Pure: a recipe in, branches out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hilum.core.errors import RecipeError, unknown_name
from hilum.core.ids import checked_name
from hilum.core.recipes import ArmRecipe, BudgetRecipe, CampaignRecipe, Choice, SimulateRecipe
from hilum.loop.budget import num_rounds
from hilum.loop.choices import check_choices
from hilum.loop.curves import RANDOM
from hilum.loop.recipe_files import checked, merged

FULL = "full"
STRATEGY_PARTS = ("score", "select", "finetune")
_SEEDS_APART = 1000
"""Rounds add their number to a recipe's seed; branches must stay further apart than any campaign has rounds."""


@dataclass(frozen=True)
class Branch:
    """One campaign of a simulation."""

    campaign: str
    strategy: str
    seed: int
    recipe: CampaignRecipe


def check_strategies(name: str, recipe: SimulateRecipe) -> None:
    """RecipeError, before anything runs, when a strategy cannot be meant."""
    if len(set(recipe.seeds)) < len(recipe.seeds) or not recipe.seeds or min(recipe.seeds) < 0:
        raise RecipeError(f"seeds must be different numbers from 0 upwards, at least one; given {list(recipe.seeds)}.")
    for strategy, changes in recipe.strategies.items():
        _check_name(strategy, changes)
        for part in changes:
            if part not in STRATEGY_PARTS:
                raise RecipeError(f"Strategy '{strategy}': {unknown_name('part of a strategy', part, STRATEGY_PARTS)}")
    for branch in branches_of(name, recipe, num_candidates=1):
        checked_name("Campaign", branch.campaign)
        check_choices(branch.recipe)


def branches_of(name: str, recipe: SimulateRecipe, *, num_candidates: int) -> list[Branch]:
    """Every branch: random first, then the strategies as written, then the full data; seeds innermost."""
    recipes = {RANDOM: random_recipe(recipe.campaign)}
    for strategy, changes in recipe.strategies.items():
        if strategy != RANDOM:
            recipes[strategy] = strategy_recipe(recipe.campaign, strategy, changes)
    if recipe.full_data:
        recipes[FULL] = full_recipe(recipe.campaign, num_candidates)
    return [
        Branch(f"{name}--{strategy}--{seed}", strategy, seed, branch_recipe(of_strategy, seed))
        for strategy, of_strategy in recipes.items()
        for seed in (recipe.seeds[: recipe.num_full_data_seeds] if strategy == FULL else recipe.seeds)
    ]


def strategy_recipe(campaign: CampaignRecipe, strategy: str, changes: Mapping[str, Any]) -> CampaignRecipe:
    """The campaign recipe with a strategy's changes laid over it."""
    content = merged(campaign.model_dump(mode="json", by_alias=True), changes)
    return checked(CampaignRecipe, content, f"strategy '{strategy}'")


def random_recipe(campaign: CampaignRecipe) -> CampaignRecipe:
    """The same campaign asking at random from the first round to the last."""
    random = Choice(kind=RANDOM)
    # Yardsticks ask everybody once.
    asked_once = {"arms": (ArmRecipe(share=1.0, sampler=random),), "cold_start": random, "relabel": None}
    select = campaign.select.model_copy(update=asked_once)
    # One opinion is enough, and no encoder, views or foreground are wanted, where nobody reads the scores.
    unread = {"members": Choice(kind="single"), "encoder": None, "num_views": 0, "foreground": None}
    score = campaign.score.model_copy(update=unread)
    return campaign.model_copy(update={"select": select, "score": score})


def full_recipe(campaign: CampaignRecipe, num_candidates: int) -> CampaignRecipe:
    """A campaign of one round that asks about every candidate that is not excluded, without caps.

    Where trainings go on from others, it trains for as many steps as are behind the last one of
    ``campaign``: the same training, with every label.
    """
    everything = BudgetRecipe(num_first_round=num_candidates, num_per_round=num_candidates, num_in_total=num_candidates)
    finetune = campaign.finetune
    if finetune.goes_on:
        num_steps = finetune.num_steps_over(num_rounds(campaign.campaign))
        finetune = finetune.model_copy(update={"num_steps": num_steps, "num_first_steps": None})
    at_random = random_recipe(campaign)
    select = at_random.select.model_copy(
        update={"max_per_patient": None, "quotas": (), "max_seconds": None, "min_slices_apart": None}
    )
    return at_random.model_copy(update={"campaign": everything, "finetune": finetune, "select": select})


def branch_recipe(recipe: CampaignRecipe, seed: int) -> CampaignRecipe:
    """A strategy's recipe for one seed: an oracle answers, the whole budget is spent, every draw is its own.

    The split is left alone: all branches are measured on the same patients. Nobody serves their models, so none is
    calibrated.
    """
    apart = _SEEDS_APART * seed
    oracle = recipe.annotator if recipe.annotator.kind == "oracle" else Choice(kind="oracle")
    return recipe.model_copy(
        update={
            "annotator": oracle,
            "calibrate": None,
            "campaign": recipe.campaign.model_copy(update={"stop": None}),
            **{
                part: getattr(recipe, part).model_copy(update={"seed": getattr(recipe, part).seed + apart})
                for part in STRATEGY_PARTS
            },
        }
    )


def _check_name(strategy: str, changes: Mapping[str, Any]) -> None:
    checked_name("Strategy", strategy)
    if strategy == FULL:
        raise RecipeError("'full' is the name of training on everything; give the strategy another name.")
    if strategy == RANDOM and changes:
        raise RecipeError("'random' is asking at random and nothing else; give a changed one another name.")
    if "--" in strategy:
        raise RecipeError(f"Strategy name '{strategy}' holds '--', which parts a campaign's name; leave it out.")
