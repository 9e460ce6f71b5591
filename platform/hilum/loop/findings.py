"""Who won, in sentences a clinician understands, also when random did and when nobody can tell.

The winner is decided on the whole learning curve (area under it, seed by seed against random),
never on one favourable level: a saving read at the best point of the best curve is not a result.
"""

import math
from dataclasses import dataclass
from typing import Literal

from hilum.loop.comparison import RANDOMS_FINAL, Comparison, Difference, StrategyResult
from hilum.loop.curves import Interval, Range, Saving

Verdict = Literal["active", "random", "unclear", "untold"]
SIGNIFICANCE = 0.05
ENOUGH_SEEDS = 5

_METRIC_TITLES = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "auc": "area under the ROC curve",
    "auc_macro": "area under the ROC curve",
    "dice_mean": "mean Dice",
    "dice": "Dice",
    "iou_mean": "mean IoU",
    "iou": "IoU",
}


@dataclass(frozen=True)
class Findings:
    """The verdict, the one sentence for the top of the page, what supports it and what to be careful about."""

    verdict: Verdict
    winner: str | None
    headline: str
    sentences: tuple[str, ...]
    cautions: tuple[str, ...]


def findings(comparison: Comparison) -> Findings:
    """Read a comparison out loud."""
    verdict, leading = _verdict(comparison)
    winner = leading.name if verdict == "active" and leading else "random" if verdict == "random" else None
    return Findings(
        verdict,
        winner,
        _headline(comparison, verdict, leading),
        tuple(_sentences(comparison)),
        tuple(_cautions(comparison)),
    )


def metric_title(metric: str) -> str:
    """A metric's name as people say it."""
    return _METRIC_TITLES.get(metric, metric.replace("_", " "))


def _verdict(comparison: Comparison) -> tuple[Verdict, StrategyResult | None]:
    """The verdict and the strategy it speaks of: the clearly best one, else the one with the highest curve."""
    if not comparison.active:
        return "untold", None
    if comparison.learnt_nothing or comparison.num_seeds < 2:
        return "untold", comparison.active[0]
    judged = [(_clearly(result.difference), result) for result in comparison.active]
    better = [result for side, result in judged if side > 0]
    if better:
        return "active", better[0]
    if all(side < 0 for side, _ in judged):
        return "random", comparison.active[0]
    return "unclear", comparison.active[0]


def _clearly(difference: Difference | None) -> int:
    """+1 clearly better than random, −1 clearly worse, 0 cannot be told."""
    if difference is None or difference.p_adjusted >= SIGNIFICANCE or not difference.interval.excludes_zero:
        return 0
    return 1 if difference.interval.mean > 0 else -1


def _headline(comparison: Comparison, verdict: Verdict, leading: StrategyResult | None) -> str:
    metric = metric_title(comparison.metric)
    if leading is None or leading.difference is None:
        return "Only random was run, so there is nothing to compare it with."
    if comparison.learnt_nothing:
        return _nothing_learnt(comparison, metric)
    gap = f"{signed(leading.difference.interval.mean)} {metric} on average over the whole budget"
    if verdict == "untold":
        return (
            f"One seed cannot tell who won. In this one run, “{leading.name}” differed from random by {gap}; "
            "run at least five seeds."
        )
    if verdict == "active":
        return f"“{leading.name}” won: {_saving_phrase(leading)}."
    if verdict == "random":
        return f"Random won: even the best other strategy, “{leading.name}”, did worse ({gap})."
    return (
        f"No winner: {comparison.num_seeds} seeds cannot tell “{leading.name}” from random. "
        f"The difference ({gap}) is within chance."
    )


def _nothing_learnt(comparison: Comparison, metric: str) -> str:
    assert comparison.chance is not None
    best = max(result.final.mean for result in comparison.strategies)
    full = "" if comparison.full_data is None else " or with all labels"
    return (
        f"No model learnt anything, so nothing can be said of the strategies: at the end of the budget{full} the "
        f"{metric} is {best:.3f} at best, and without looking at the image it would be {comparison.chance:.3f}. "
        "Change the training first: more steps, another learning rate or normalisation."
    )


def _saving_phrase(result: StrategyResult) -> str:
    saving = result.savings[RANDOMS_FINAL]
    if saving.point.high < 1:
        return (
            f"to be as good as random was at the end of its budget, it needed {saving_text(saving)} of random's "
            f"labels ({saving_interval(saving)})"
        )
    assert result.difference is not None
    return f"it was ahead of random by {signed(result.difference.interval.mean)} on average over the whole budget"


def _sentences(comparison: Comparison) -> list[str]:
    if comparison.learnt_nothing:
        return _full_data_score(comparison)
    sentences = [_strategy_sentence(comparison, result) for result in comparison.active]
    sentences += [s for result in comparison.active for s in _lead_change(comparison, result)]
    return sentences + _full_data_sentences(comparison)


def _strategy_sentence(comparison: Comparison, result: StrategyResult) -> str:
    assert result.difference is not None
    difference, metric = result.difference, metric_title(comparison.metric)
    outcome = {1: "better than random", -1: "worse than random", 0: "not clearly different from random"}
    text = (
        f"“{result.name}” was {outcome[_clearly(difference)]}: averaged over {comparison.low_labels:,} to "
        f"{comparison.high_labels:,} labels its {metric} was {result.area.mean:.3f} against "
        f"{comparison.random.area.mean:.3f}, a difference of {signed_interval(difference.interval)}, "
        f"ahead in {difference.num_seeds_better} of {len(difference.per_seed)} seeds."
    )
    if difference.interval.excludes_zero and not _clearly(difference):
        text += (
            f" Its interval alone would exclude zero, but {len(comparison.active)} strategies were tried, "
            "and one of them may look good by luck."
        )
    return f"{text} {_saving_sentence(result)}"


def _saving_sentence(result: StrategyResult) -> str:
    saving = result.savings[RANDOMS_FINAL]
    if result.needed[RANDOMS_FINAL].on_mean is None:
        return "It did not reach random's final score within the budget."
    if not saving.point.known:
        return "Random's final score was there at the first measurement, so no saving can be read from it."
    return (
        f"It reached random's final score with {saving_text(saving)} of the labels random needed "
        f"({saving_interval(saving)})."
    )


def _lead_change(comparison: Comparison, result: StrategyResult) -> list[str]:
    """Said when a strategy is behind at one end of the curve and ahead at the other."""
    ahead = [a - r for a, r in zip(result.band.mean, comparison.random.band.mean, strict=False)]
    small = 0.005
    first, last = ahead[0], ahead[-1]
    if first < -small and last > small:
        return [f"“{result.name}” began behind random ({signed(first)}) and ended ahead ({signed(last)})."]
    if first > small and last < -small:
        return [f"“{result.name}” began ahead of random ({signed(first)}) and ended behind ({signed(last)})."]
    return []


def _full_data_score(comparison: Comparison) -> list[str]:
    full = comparison.full_data
    if full is None:
        return []
    return [
        f"With all {full.num_labels:,} labels of the pool the same training reaches {full.score.mean:.3f} "
        f"{metric_title(comparison.metric)}."
    ]


def _full_data_sentences(comparison: Comparison) -> list[str]:
    sentences = _full_data_score(comparison)
    if not sentences:
        return []
    name = "95% of full data"
    reached = [r for r in comparison.strategies if r.needed[name].on_mean is not None]
    missed = [f"“{r.name}”" for r in comparison.strategies if r.needed[name].on_mean is None]
    parts = [
        f"“{r.name}” reached 95\N{NO-BREAK SPACE}% of that after {labels_text(r.needed[name].on_mean)}" for r in reached
    ]
    if missed:
        of_that = "" if reached else " 95\N{NO-BREAK SPACE}% of that"
        parts.append(f"{_listed(missed)} did not reach{of_that or ' it'} within {comparison.high_labels:,} labels")
    return [*sentences, f"{'; '.join(parts)}."]


def _cautions(comparison: Comparison) -> list[str]:
    cautions = []
    if comparison.num_seeds < ENOUGH_SEEDS:
        cautions.append(
            f"{comparison.num_seeds} seed{'s are' if comparison.num_seeds > 1 else ' is'} few; "
            f"intervals are rough below {ENOUGH_SEEDS}, and resampled ones tend to be too narrow."
        )
    if len(comparison.active) > 1:
        cautions.append(
            f"{len(comparison.active)} strategies were compared with random; verdicts are corrected for that (Holm), "
            "the intervals shown are not."
        )
    if any(not result.savings[RANDOMS_FINAL].point.exact for result in comparison.active):
        cautions.append(
            "A level that was not reached, or was reached by the first measurement, bounds the saving and is no number."
        )
    return cautions


def headed(title: str) -> str:
    """A title with a capital first letter; the others stay as they are."""
    return title[:1].upper() + title[1:]


def percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def signed(value: float) -> str:
    """A difference with its sign (a true minus), three decimals."""
    return f"{value:+.3f}".replace("-", "−")


def signed_interval(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{signed(interval.mean)} (one seed: no interval)"
    return f"{signed(interval.mean)} (95\N{NO-BREAK SPACE}% interval {signed(interval.low)} to {signed(interval.high)})"


def saving_text(saving: Saving) -> str:
    """A saving for a table cell: a share of random's labels, or what is known of it."""
    return range_text(saving.point)


def saving_interval(saving: Saving) -> str:
    if not saving.interval.known:
        return "no interval"
    return f"95\N{NO-BREAK SPACE}% interval {range_text(saving.interval)}"


def range_text(span: Range) -> str:
    """'41 %', '32–55 %', 'at most 60 %', 'at least 120 %' or 'unknown'.

    >>> range_text(Range(0.32, 0.55)), range_text(Range(0.0, 0.6)), range_text(Range(1.2, math.inf))
    ('32–55\xa0%', 'at most 60\xa0%', 'at least 120\xa0%')
    """
    if not span.known:
        return "unknown"
    if span.low <= 0:
        return f"at most {percent(span.high)}"
    if math.isinf(span.high):
        return f"at least {percent(span.low)}"
    if span.exact:
        return percent(span.low)
    return f"{100 * span.low:.0f}–{percent(span.high)}"


def labels_text(num: float | None) -> str:
    """'84 labels', or 'not reached'."""
    return "not reached" if num is None else f"{math.ceil(num - 1e-9):,} labels"


def _listed(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
