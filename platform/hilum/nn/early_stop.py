"""When a training has learnt what it can: a function of the losses on the answers kept apart."""

from collections.abc import Sequence

from hilum.core.recipes import EarlyStopRecipe


def best_check(losses: Sequence[float], *, min_gain: float) -> int:
    """Place of the last loss that was better than all before it by more than ``min_gain``; the first is."""
    best = 0
    for place, loss in enumerate(losses):
        if loss < losses[best] - min_gain:
            best = place
    return best


def has_stopped(losses: Sequence[float], rule: EarlyStopRecipe) -> bool:
    """True when as many checks as the rule's patience have passed since the best."""
    return bool(losses) and len(losses) - 1 - best_check(losses, min_gain=rule.min_gain) >= rule.patience_checks
