"""When a campaign ends, and why. Pure: recipes, events and predictions in, numbers and sentences out.

Shape letter: N = candidates of the stop set, the same ones in both.
"""

from statistics import fmean

import numpy as np
import numpy.typing as npt

from hilum.core.recipes import BudgetRecipe, StopRecipe
from hilum.loop.budget import Rounds, num_selected, seconds_spent
from hilum.loop.events import Event
from hilum.loop.stages import Stage

Classes = npt.NDArray[np.integer]

KAPPA, CHANGE, UNCERTAINTY = "kappa", "predicted_change", "mean_uncertainty"
"""What the event of stage 'scored' calls them."""


def kappa(before_N: Classes, after_N: Classes) -> float | None:
    """Cohen's kappa of two models' predicted classes: 1 is total agreement, 0 what chance would give.

    Stabilising predictions: stop when the mean of the last k is at least 0.99 (Bloodgood and
    Vijay-Shanker 2009, https://aclanthology.org/W09-1107). None where all is one class to both, or
    nothing is compared: that agreement says nothing.
    """
    counts_CC = _contingency(before_N, after_N)
    if counts_CC is None:
        return None
    shares_CC = counts_CC / counts_CC.sum()
    observed = float(np.trace(shares_CC))
    by_chance = float(shares_CC.sum(axis=0) @ shares_CC.sum(axis=1))
    return (observed - by_chance) / (1 - by_chance)


def predicted_change(before_N: Classes, after_N: Classes) -> float | None:
    """How much the F measure is expected to have changed from one model to the next, 0 to 1.

    1 − 2a / (2a + b + c) (Altschuler and Bloodgood 2019, https://arxiv.org/abs/1901.09118) of each class:
    a candidates are of it to both models, b and c to one alone. The mean over the classes that either
    predicts; the paper has two classes and looks at one. None as in `kappa`.
    """
    counts_CC = _contingency(before_N, after_N)
    if counts_CC is None:
        return None
    both_C = np.diag(counts_CC)
    either_C = counts_CC.sum(axis=0) + counts_CC.sum(axis=1)
    return float(np.mean(1 - 2 * both_C / either_C))


def ending(budget: BudgetRecipe, rounds: Rounds) -> str | None:
    """Why no other move may follow, in words; None while the campaign goes on."""
    last = rounds[-1]
    reached = list(last)[-1]
    if reached is Stage.SCORED and budget.stop is not None:
        return _settled(budget.stop, rounds)
    if Stage.SELECTED in last and num_selected(last) == 0:
        return "nobody is left to ask"
    if not reached.is_end:
        return None
    if sum(map(num_selected, rounds)) >= budget.num_in_total:
        return f"the budget of {budget.num_in_total} is spent"
    if budget.seconds_in_total is not None and (spent := seconds_spent(rounds)) >= budget.seconds_in_total:
        return f"the budget of {budget.seconds_in_total:g} s is spent: {spent:.0f} s were taken"
    if _ran_out(last[Stage.SELECTED]):
        return "nobody is left to ask"
    return _no_gain(budget.stop, rounds) if budget.stop is not None else None


def is_finished(budget: BudgetRecipe, rounds: Rounds) -> bool:
    """True when the last round has ended, found nobody to ask, or told that enough was asked."""
    return ending(budget, rounds) is not None


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


def _ran_out(selected: Event) -> bool:
    """Fewer were chosen than wanted, and not because caps held others back: those may be asked about next round."""
    return selected.counts["num_selected"] < selected.counts["num_wanted"] and not selected.counts.get("num_held_back")


def _no_gain(stop: StopRecipe, rounds: Rounds) -> str | None:
    latest = gains(rounds)[-stop.num_rounds :]
    # "Not more than": with min_gain 0 a round that gained nothing counts towards stopping.
    if stop.min_gain is None or len(latest) < stop.num_rounds or max(latest) > stop.min_gain:
        return None
    return f"no gain above {stop.min_gain:g} in the last {_rounds(stop.num_rounds)}"


def _settled(stop: StopRecipe, rounds: Rounds) -> str | None:
    """What the models' predictions say: the mean of the last rounds in which it could be measured."""
    found = {name: _mean_of_last(rounds, name, stop.num_rounds) for name in (KAPPA, CHANGE, UNCERTAINTY)}
    over = f"over {_rounds(stop.num_rounds)}"
    if stop.min_kappa is not None and (mean := found[KAPPA]) is not None and mean >= stop.min_kappa:
        return f"predictions are stable: kappa {mean:.4f} {over}, at least {stop.min_kappa:g}"
    if stop.max_change is not None and (mean := found[CHANGE]) is not None and mean <= stop.max_change:
        return f"little change is predicted: F by {mean:.4f} {over}, at most {stop.max_change:g}"
    if stop.max_uncertainty is not None and (mean := found[UNCERTAINTY]) is not None and mean <= stop.max_uncertainty:
        return f"the model is sure: mean {stop.uncertainty} {mean:.4g} {over}, at most {stop.max_uncertainty:g}"
    return None


def _mean_of_last(rounds: Rounds, name: str, num: int) -> float | None:
    """None while it was measured in fewer than ``num`` rounds."""
    scored = [events[Stage.SCORED].counts for events in rounds if Stage.SCORED in events]
    values = [float(counts[name]) for counts in scored if name in counts][-num:]
    # Rounded: the mean of three 0.99 is a little less than 0.99.
    return round(fmean(values), 9) if len(values) == num else None


def _contingency(before_N: Classes, after_N: Classes) -> npt.NDArray[np.int64] | None:
    """(C, C) counts over the classes that either model predicts; None where there are fewer than two."""
    names, codes = np.unique(np.concatenate([before_N, after_N]), return_inverse=True)
    if len(names) < 2:
        return None
    size, num = len(names), len(before_N)
    counts: npt.NDArray[np.int64] = np.bincount(codes[:num] * size + codes[num:], minlength=size * size)
    return counts.reshape(size, size)


def _rounds(num: int) -> str:
    return f"{num} round{'' if num == 1 else 's'}"
