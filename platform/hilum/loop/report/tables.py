"""The comparison as rows of text, for the page and for the terminal alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from hilum.loop.comparison import RANDOMS_FINAL, Comparison, LabelsNeeded, StrategyResult
from hilum.loop.curves import RANDOM, Interval
from hilum.loop.findings import labels_text, range_text, saving_text, signed
from hilum.loop.people_time import TimedStrategy

ABSENT = "–"


@dataclass(frozen=True)
class Cell:
    """A number and, smaller beside it, how sure it is."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """One strategy: its score, its area, its difference from random, and each level's race."""

    strategy: str
    final: Cell
    area: Cell
    difference: Cell
    needed: tuple[Cell, ...]
    savings: tuple[Cell, ...]


def rows(comparison: Comparison) -> list[Row]:
    """Every strategy's row, random last."""
    return [_row(comparison, result) for result in comparison.strategies]


@dataclass(frozen=True)
class TimeRow:
    """One strategy: people's time in all, and until random's final score."""

    strategy: str
    total: Cell
    needed: Cell


def time_rows(comparison: Comparison) -> list[TimeRow]:
    """Every strategy's row, random last; none where people's time is not known."""
    return [_time_row(comparison.timed[name]) for name in (r.name for r in comparison.strategies) if comparison.timed]


def duration_text(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 90:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def interval_cell(interval: Interval) -> Cell:
    """A score (0 to 1) and its interval."""
    if interval.low is None or interval.high is None:
        return Cell(f"{interval.mean:.3f}", "one seed")
    # A t interval of few seeds can leave the range that scores have; nothing is said by what is outside it.
    low, high = max(0.0, interval.low), min(1.0, interval.high)
    return Cell(f"{interval.mean:.3f}", f"{low:.3f} to {high:.3f}")


def _row(comparison: Comparison, result: StrategyResult) -> Row:
    return Row(
        result.name,
        interval_cell(result.final),
        interval_cell(result.area),
        _difference(result),
        tuple(_needed(result.needed[level.name], comparison.low_labels) for level in comparison.levels),
        tuple(_saving(result, level.name) for level in comparison.levels),
    )


def _time_row(found: TimedStrategy) -> TimeRow:
    low, high = found.total.low, found.total.high
    spread = "one seed" if low is None or high is None else f"{duration_text(max(0, low))} to {duration_text(high)}"
    if found.needed is None:
        return TimeRow(found.name, Cell(duration_text(found.total.mean), spread), Cell("not reached"))
    needed = f"{'≤ ' if found.at_first else ''}{duration_text(found.needed)}"
    return TimeRow(found.name, Cell(duration_text(found.total.mean), spread), Cell(needed))


def _difference(result: StrategyResult) -> Cell:
    if result.difference is None:
        return Cell(ABSENT)
    interval, difference = result.difference.interval, result.difference
    ahead = f"ahead in {difference.num_seeds_better} of {len(difference.per_seed)}"
    if interval.low is None or interval.high is None:
        return Cell(signed(interval.mean), ahead)
    return Cell(signed(interval.mean), f"{signed(interval.low)} to {signed(interval.high)}; {ahead}")


def _needed(needed: LabelsNeeded, low_labels: int) -> Cell:
    seeds = len(needed.per_seed)
    detail = "" if needed.num_seeds_reached == seeds else f"{needed.num_seeds_reached} of {seeds} seeds got there"
    text = labels_text(needed.on_mean).removesuffix(" labels")
    at_first = needed.on_mean is not None and needed.on_mean <= low_labels
    return Cell(f"≤ {text}" if at_first else text, detail)


def _saving(result: StrategyResult, level: str) -> Cell:
    if result.name == RANDOM:
        return Cell(ABSENT)
    saving = result.savings[level]
    text, spread = saving_text(saving), range_text(saving.interval)
    return Cell(text, spread if saving.interval.known and spread != text else "")


def level_titles(comparison: Comparison) -> Sequence[tuple[str, str]]:
    """(title, score) of every level."""
    return [
        (
            "random's final" if level.name == RANDOMS_FINAL else level.name.replace("%", "\N{NO-BREAK SPACE}%"),
            f"{level.value:.3f}",
        )
        for level in comparison.levels
    ]
