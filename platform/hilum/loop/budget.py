"""How many to ask next, and when to stop. Pure: recipes and events in, numbers out."""

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


def is_finished(budget: BudgetRecipe, rounds: Rounds) -> bool:
    """True when the last round has ended (or found nobody to ask) and no other may follow."""
    last = rounds[-1]
    if Stage.SELECTED in last and num_selected(last) == 0:
        return True
    if not any(stage.is_end for stage in last):
        return False
    num_asked = sum(map(num_selected, rounds))
    ran_out = _ran_out(last[Stage.SELECTED])
    return num_asked >= budget.num_in_total or ran_out or _stopped(budget, rounds)


def _ran_out(selected: Event) -> bool:
    """Fewer were chosen than wanted, and not because caps held others back: those may be asked about next round."""
    return selected.counts["num_selected"] < selected.counts["num_wanted"] and not selected.counts.get("num_held_back")


def gains(rounds: Rounds) -> list[float]:
    """What each finished round but the first added to the champion's validation metric. A rejected one added 0."""
    found: list[float] = []
    best: float | None = None
    for events in rounds:
        promoted = events.get(Stage.PROMOTED)
        value = promoted.counts.get("challenger") if promoted else None
        if best is not None and (promoted or Stage.REJECTED in events):
            found.append(0.0 if value is None else value - best)
        best = value if value is not None else best
    return found


def _stopped(budget: BudgetRecipe, rounds: Rounds) -> bool:
    stop = budget.stop
    if stop is None:
        return False
    latest = gains(rounds)[-stop.num_rounds :]
    # "Not more than": with min_gain 0 a round that gained nothing counts towards stopping.
    return len(latest) == stop.num_rounds and all(gain <= stop.min_gain for gain in latest)
