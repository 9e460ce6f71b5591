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


def seconds_spent(rounds: Rounds) -> float:
    """People's time in finished and open rounds: what they told, or what was predicted where they told nothing."""
    return sum(seconds_of_round(events) for events in rounds)


def seconds_to_ask(budget: BudgetRecipe, spent: float) -> float | None:
    """What a round may take of people's time; None where that is not limited, above 0 while the campaign goes on."""
    limits = [] if budget.seconds_per_round is None else [budget.seconds_per_round]
    if budget.seconds_in_total is not None:
        limits.append(budget.seconds_in_total - spent)
    return min(limits, default=None)


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


def seconds_of_round(events: dict[Stage, Event]) -> float:
    """People's time in one round: what they told, or what was predicted; 0 where neither is known."""
    collected, selected = events.get(Stage.COLLECTED), events.get(Stage.SELECTED)
    told_seconds = float(collected.counts.get("seconds_of_people", 0)) if collected else 0.0
    return told_seconds or (float(selected.counts.get("predicted_seconds", 0)) if selected else 0.0)


def told(budget: BudgetRecipe) -> str:
    """The budget as people say it."""
    if budget.num_after_rounds is not None:
        numbers = f"{', '.join(map(str, budget.num_after_rounds))} labels in all after each round"
    else:
        first = budget.num_first_round or budget.num_per_round
        numbers = f"{first} labels first, then {budget.num_per_round} a round, {budget.num_in_total} in all"
    seconds = ((budget.seconds_per_round, "a round"), (budget.seconds_in_total, "in all"))
    limits = [f"{limit:g} s {when}" for limit, when in seconds if limit is not None]
    return f"{numbers}; at most {' and '.join(limits)} of people's time" if limits else numbers
