"""What each strategy used again of the rounds before, from the accounts of its trainings."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from hilum.core.recipes import FinetuneRecipe
from hilum.loop.report.content import ReuseRow

Account = Mapping[str, Any]
"""One training's account: the fields of `hilum.steps.teaching.Reuse`."""

STARTS = {"scratch": "scratch", "champion": "champion", "previous": "last model", "first": "first model"}
TAUGHT = {"all": "all", "new": "new", "new_and_misclassified": "new, misclassified"}


def reuse_row(strategy: str, recipe: FinetuneRecipe, branches: Sequence[Sequence[Account]]) -> ReuseRow | None:
    """The row of a strategy; ``branches`` holds the accounts of each seed's rounds. None where no round went on."""
    later = [account for branch in branches for account in branch[1:]]
    if not later:
        return None
    return ReuseRow(
        strategy,
        STARTS.get(recipe.start, f"checkpoint {recipe.start}"),
        TAUGHT[recipe.data],
        num_taught=fmean(sum(a["num_new"] + a["num_reused"] for a in branch[1:]) for branch in branches),
        num_misclassified=_mean(later, "num_misclassified"),
        label_reuse=_mean(later, "label_reuse"),
        data_reuse=_mean(later, "data_reuse"),
        model_reuse=any(account["model_reuse"] for account in later),
        num_steps=fmean(sum(a["num_steps"] for a in branch) for branch in branches),
    )


def is_worth_showing(rows: Sequence[ReuseRow]) -> bool:
    """Where every round is trained from scratch on all labels there is nothing to compare."""
    return any((row.starts_from, row.taught) != (STARTS["scratch"], TAUGHT["all"]) for row in rows)


def _mean(accounts: Sequence[Account], name: str) -> float | None:
    known = [float(account[name]) for account in accounts if account[name] is not None]
    return fmean(known) if known else None
