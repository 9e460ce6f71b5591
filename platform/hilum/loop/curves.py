"""Learning curves, and what may honestly be read from them.

A curve is one campaign: how good the model was after so many labels. Several seeds of one
strategy give a mean and a band; strategies are compared with 'random' seed by seed, because
the same seed means the same first choice of patients and weights.

Shape letters: S = seeds, P = points along the curve (numbers of labels), B = bootstrap resamples.
Every function here is pure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import stats

from hilum.core.errors import RecipeError

Floats = npt.NDArray[np.float64]
RANDOM = "random"
CONFIDENCE = 0.95
NUM_RESAMPLES = 4000
_SAME_LEVEL = 1e-12


@dataclass(frozen=True)
class Curve:
    """One campaign of a simulation: a metric after each number of labels, which only grows.

    ``seconds`` are people's until each of them, where they are known: growing too, else none are kept.
    """

    strategy: str
    seed: int
    num_labels: tuple[int, ...]
    values: tuple[float, ...]
    seconds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.num_labels) != len(self.values) or not self.values:
            raise RecipeError(
                f"The curve of '{self.strategy}' needs one value for each number of labels, at least one."
            )
        if not _grows(self.num_labels):
            raise RecipeError(f"The curve of '{self.strategy}' needs numbers of labels that grow: {self.num_labels}.")
        if self.seconds and (len(self.seconds) != len(self.values) or not _grows((0.0, *self.seconds))):
            raise RecipeError(f"The curve of '{self.strategy}' needs seconds that grow, one for each value.")
        if not all(math.isfinite(v) for v in self.values):
            raise RecipeError(f"The curve of '{self.strategy}', seed {self.seed}, has a value that is not a number.")


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its t interval. One seed has no interval: low and high are None."""

    mean: float
    low: float | None
    high: float | None
    num_seeds: int

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Band:
    """The mean curve of a strategy with its interval ``at`` every number of labels, or of seconds."""

    at: tuple[float, ...]
    points: tuple[Interval, ...]

    @property
    def mean(self) -> tuple[float, ...]:
        return tuple(point.mean for point in self.points)


@dataclass(frozen=True)
class Range:
    """Where a number lies when the ends of the curve may hide it: [x, x] if seen, else a side is open."""

    low: float
    high: float

    @property
    def exact(self) -> bool:
        return self.low == self.high

    @property
    def known(self) -> bool:
        return self.low > 0 or math.isfinite(self.high)


UNKNOWN = Range(0.0, math.inf)


def _grows(numbers: Sequence[float]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


def t_interval(values: Sequence[float] | Floats, *, confidence: float = CONFIDENCE) -> Interval:
    """Mean of independent runs with Student's t interval."""
    array = np.asarray(values, dtype=float)
    mean, num = float(array.mean()), len(array)
    if num < 2:
        return Interval(mean, None, None, num)
    half = float(stats.t.ppf((1 + confidence) / 2, num - 1) * array.std(ddof=1) / math.sqrt(num))
    return Interval(mean, mean - half, mean + half, num)


def common_range(curves: Sequence[Curve]) -> tuple[int, int]:
    """The numbers of labels that every curve covers: nothing outside it can be compared."""
    low, high = max(c.num_labels[0] for c in curves), min(c.num_labels[-1] for c in curves)
    if high < low:
        raise RecipeError("These curves share no number of labels, so they cannot be compared.")
    return low, high


def common_grid(curves: Sequence[Curve]) -> Floats:
    """Every number of labels at which some curve was measured, within the common range."""
    low, high = common_range(curves)
    measured = {float(n) for c in curves for n in c.num_labels if low <= n <= high}
    return np.asarray(sorted(measured), dtype=float)


def on_grid(curves: Sequence[Curve], grid_P: Floats) -> Floats:
    """The curves' values on one grid, linear between measurements: an array (S, P)."""
    return np.stack([np.interp(grid_P, c.num_labels, c.values) for c in curves])


def band(curves: Sequence[Curve], *, confidence: float = CONFIDENCE) -> Band:
    """Mean and t interval over seeds at every number of labels."""
    grid_P = common_grid(curves)
    values_SP = on_grid(curves, grid_P)
    points = tuple(t_interval(values_SP[:, p], confidence=confidence) for p in range(len(grid_P)))
    return Band(tuple(float(n) for n in grid_P), points)


def area(grid_P: Floats, values_SP: Floats) -> Floats:
    """Area under each learning curve, divided by its width: the curve's average height, in the metric's unit."""
    width = grid_P[-1] - grid_P[0]
    if width == 0:
        return np.asarray(values_SP[..., 0], dtype=float)
    areas_S: Floats = np.trapezoid(values_SP, grid_P, axis=-1) / width
    return areas_S


def labels_to_reach(
    num_labels: Sequence[float] | Floats, values: Sequence[float] | Floats, level: float
) -> float | None:
    """The smallest number of labels with a value of ``level``, linear between measurements; None: not reached."""
    needed = float(
        _first_crossing(np.asarray(num_labels, dtype=float), np.asarray(values, dtype=float)[None], level)[0]
    )
    return None if math.isnan(needed) else needed


def _first_crossing(grid_P: Floats, values_BP: Floats, level_B: Floats | float) -> Floats:
    """First number of labels at which each curve is at its level; nan where it never is."""
    level_B1 = np.broadcast_to(np.asarray(level_B, dtype=float), values_BP.shape[:1])[:, None]
    # A mean and the same mean read back can differ in the last bit: the end of a curve reaches its own height.
    reached_BP = values_BP >= level_B1 - _SAME_LEVEL
    at_B = reached_BP.argmax(axis=1)
    rows_B = np.arange(len(values_BP))
    before_B = np.maximum(at_B - 1, 0)
    rise_B = values_BP[rows_B, at_B] - values_BP[rows_B, before_B]
    lacking_B = np.minimum(level_B1[:, 0], values_BP[rows_B, at_B]) - values_BP[rows_B, before_B]
    with np.errstate(invalid="ignore", divide="ignore"):
        share_B = np.where(rise_B > 0, lacking_B / rise_B, 1.0)
    needed_B = grid_P[before_B] + share_B * (grid_P[at_B] - grid_P[before_B])
    return np.where(reached_BP.any(axis=1), needed_B, np.nan)


@dataclass(frozen=True)
class Saving:
    """Labels a strategy needed as a share of random's: 0.41 means 41 % of random's labels.

    ``point`` is read from the mean curves; ``interval`` comes from resampling seeds in pairs.
    A level that one of the two did not reach within the budget gives a range, not a number.
    """

    point: Range
    interval: Range


def saving(
    grid_P: Floats,
    active_SP: Floats,
    random_SP: Floats,
    level: float | None,
    *,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
    num_resamples: int = NUM_RESAMPLES,
) -> Saving:
    """How many of random's labels a strategy needed to reach ``level`` (None: random's own final score).

    The rows of both arrays are the same seeds in the same order, and are resampled together.
    Random's final score is read again from every resample, as the level it would have been.
    """
    num_seeds = len(active_SP)
    weights_BS = rng.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=num_resamples) / num_seeds
    mean_1S = np.full((1, num_seeds), 1 / num_seeds)
    low_1, high_1 = _ratio_range(grid_P, mean_1S @ active_SP, mean_1S @ random_SP, level)
    low_B, high_B = _ratio_range(grid_P, weights_BS @ active_SP, weights_BS @ random_SP, level)
    point = Range(float(low_1[0]), float(high_1[0]))
    if num_seeds < 2:
        return Saving(point, UNKNOWN)
    tail = (1 - confidence) / 2
    # 'lower' and 'higher' choose a resample that happened: interpolating towards infinity has no meaning.
    low = float(np.quantile(low_B, tail, method="lower"))
    high = float(np.quantile(high_B, 1 - tail, method="higher"))
    return Saving(point, Range(low, high))


def _ratio_range(grid_P: Floats, active_BP: Floats, random_BP: Floats, level: float | None) -> tuple[Floats, Floats]:
    """The least and the most that active's labels / random's labels can be, for each pair of curves."""
    level_B = random_BP[:, -1] if level is None else np.full(len(random_BP), level)
    active_least_B, active_most_B = _needed_range(grid_P, active_BP, level_B)
    random_least_B, random_most_B = _needed_range(grid_P, random_BP, level_B)
    with np.errstate(divide="ignore"):
        most_B = np.where(random_least_B > 0, active_most_B / random_least_B, np.inf)
    return active_least_B / random_most_B, most_B


def _needed_range(grid_P: Floats, values_BP: Floats, level_B: Floats) -> tuple[Floats, Floats]:
    """The least and the most labels that a level can have needed.

    Not reached means more than the budget, nobody knows how much more; reached at the first
    measurement means that many or fewer.
    """
    needed_B = _first_crossing(grid_P, values_BP, level_B)
    at_first_B = values_BP[:, 0] >= level_B - _SAME_LEVEL
    least_B = np.where(at_first_B, 0.0, np.where(np.isnan(needed_B), grid_P[-1], needed_B))
    return least_B, np.where(np.isnan(needed_B), np.inf, needed_B)
