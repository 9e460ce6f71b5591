"""How many to ask next. Pure: recipes and events in, numbers out."""

import math
from collections.abc import Sequence

from hilum.core.recipes import BudgetRecipe
from hilum.loop.events import Event
from hilum.loop.stages import Stage

Rounds = Sequence[dict[Stage, Event]]


def num_selected(events: dict[Stage, Event]) -> int:
    """How many candidates a round has chosen."""
    selected = events.get(Stage.SELECTED)
    return int(selected.counts["num_selected"]) if selected else 0


def num_to_ask(budget: BudgetRecipe, round_number: int, num_asked_before: int) -> int:
    """What a round may spend: its own share, and never more than what is left in all."""
    if budget.num_after_rounds is not None:
        last = min(round_number, len(budget.num_after_rounds) - 1)
        return max(0, budget.num_after_rounds[last] - num_asked_before)
    first = budget.num_first_round or budget.num_per_round
    return min(first if round_number == 0 else budget.num_per_round, max(0, budget.num_in_total - num_asked_before))


def num_rounds(budget: BudgetRecipe) -> int:
    """Rounds until the whole budget is spent."""
    if budget.num_after_rounds is not None:
        return len(budget.num_after_rounds)
    after_first = max(0, budget.num_in_total - num_to_ask(budget, 0, 0))
    return 1 + math.ceil(after_first / budget.num_per_round)


def told(budget: BudgetRecipe) -> str:
    """The budget as people say it."""
    if budget.num_after_rounds is not None:
        return f"{', '.join(map(str, budget.num_after_rounds))} labels in all after each round"
    first = budget.num_first_round or budget.num_per_round
    return f"{first} labels first, then {budget.num_per_round} a round, {budget.num_in_total} in all"
