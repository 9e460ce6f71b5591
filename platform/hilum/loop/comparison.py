"""Strategies side by side with random: every number that the report, the table and the findings show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from hilum.core.errors import RecipeError
from hilum.loop.curves import (
    RANDOM,
    Band,
    Curve,
    Floats,
    Interval,
    Saving,
    area,
    band,
    common_grid,
    common_range,
    labels_to_reach,
    on_grid,
    saving,
    t_interval,
)
from hilum.loop.people_time import TimedStrategy, timed

FULL_DATA_SHARES = (0.90, 0.95, 1.00)
RANDOMS_FINAL = "random's final score"
LEARNT_SHARE = 0.05


@dataclass(frozen=True)
class Level:
    """A height of the curve that strategies race to. ``value`` is in the metric's unit."""

    name: str
    value: float


@dataclass(frozen=True)
class LabelsNeeded:
    """Labels until a level is reached, on the mean curve and for each seed. None: not within the budget."""

    on_mean: float | None
    per_seed: tuple[float | None, ...]

    @property
    def num_seeds_reached(self) -> int:
        return sum(needed is not None for needed in self.per_seed)


@dataclass(frozen=True)
class Difference:
    """A strategy minus random in area under the learning curve, seed by seed.

    ``p_value`` is a paired t test's; ``p_adjusted`` is corrected for trying several
    strategies (Holm, https://www.jstor.org/stable/4615733).
    """

    interval: Interval
    per_seed: tuple[float, ...]
    p_value: float
    p_adjusted: float

    @property
    def num_seeds_better(self) -> int:
        return sum(d > 0 for d in self.per_seed)


@dataclass(frozen=True)
class StrategyResult:
    """One strategy. ``difference`` and ``savings`` are empty for random itself."""

    name: str
    seeds: tuple[int, ...]
    band: Band
    area: Interval
    final: Interval
    needed: Mapping[str, LabelsNeeded]
    savings: Mapping[str, Saving]
    difference: Difference | None


@dataclass(frozen=True)
class FullData:
    """The score of a model trained on every label of the pool."""

    score: Interval
    num_labels: int


@dataclass(frozen=True)
class Comparison:
    """All strategies (random last) over one range of labels. ``timed``: by name, over people's time if it is known."""

    metric: str
    low_labels: int
    high_labels: int
    levels: tuple[Level, ...]
    strategies: tuple[StrategyResult, ...]
    full_data: FullData | None
    chance: float | None = None
    timed: Mapping[str, TimedStrategy] = field(default_factory=dict)

    @property
    def learnt_nothing(self) -> bool:
        """Whether no model, also with all labels, came clear of ``chance`` by a twentieth of the way to a perfect 1."""
        if self.chance is None:
            return False
        reached = [result.final.mean for result in self.strategies]
        reached += [] if self.full_data is None else [self.full_data.score.mean]
        return max(reached) < self.chance + LEARNT_SHARE * (1 - self.chance)

    @property
    def random(self) -> StrategyResult:
        return self.strategies[-1]

    @property
    def active(self) -> tuple[StrategyResult, ...]:
        return self.strategies[:-1]

    @property
    def num_seeds(self) -> int:
        return len(self.random.seeds)


def compare(
    curves: Sequence[Curve],
    *,
    metric: str,
    full_data: Sequence[float] = (),
    num_full_labels: int = 0,
    chance: float | None = None,
    seed: int = 0,
) -> Comparison:
    """Everything that can be said of these curves. A strategy is paired with random over the seeds both ran.

    ``chance`` is what a model that has learnt nothing scores, where that is known.
    """
    by_name = _by_strategy(curves)
    if not all(math.isfinite(score) for score in full_data):
        raise RecipeError("The full data has a score that is not a number, so there is no level to race to.")
    full = FullData(t_interval(full_data), num_full_labels) if len(full_data) else None
    grid_P = common_grid(curves)
    levels = _levels(on_grid(by_name[RANDOM], grid_P), full)
    pairs = {name: _paired(by_name[name], by_name[RANDOM], grid_P) for name in by_name if name != RANDOM}
    differences = _differences(grid_P, pairs)
    savings = {name: _savings(grid_P, pair, levels, seed) for name, pair in pairs.items()}
    results = [
        _result(by_name[name], grid_P, levels, savings.get(name, {}), differences.get(name))
        for name in [*sorted(pairs), RANDOM]
    ]
    active = sorted(results[:-1], key=lambda r: (-r.area.mean, r.name))
    low, high = common_range(curves)
    return Comparison(metric, low, high, levels, (*active, results[-1]), full, chance, timed(by_name, levels[0].value))


def chance_level(metric: str, num_classes: int) -> float | None:
    """What a model that always gives the same answer scores; None where that depends on the images.

    >>> chance_level("balanced_accuracy", 4), chance_level("auc", 4), chance_level("dice_mean", 3)
    (0.25, 0.5, 0.0)
    """
    match metric:
        case "balanced_accuracy":
            return 1 / num_classes
        case "auc" | "auc_macro":
            return 0.5
        case "dice" | "dice_mean" | "iou" | "iou_mean":
            return 0.0
        case _:
            return None


def _by_strategy(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    by_name: dict[str, list[Curve]] = {}
    for curve in sorted(curves, key=lambda c: (c.strategy, c.seed)):
        mates = by_name.setdefault(curve.strategy, [])
        if mates and mates[-1].seed == curve.seed:
            raise RecipeError(f"Strategy '{curve.strategy}' has two curves for seed {curve.seed}; give one each.")
        mates.append(curve)
    if RANDOM not in by_name:
        raise RecipeError("There is no curve of 'random': without it nobody can say whether asking wisely helped.")
    return by_name


def _levels(random_SP: Floats, full: FullData | None) -> tuple[Level, ...]:
    levels = [Level(RANDOMS_FINAL, float(random_SP.mean(axis=0)[-1]))]
    if full is not None:
        levels += [Level(f"{share:.0%} of full data", share * full.score.mean) for share in FULL_DATA_SHARES]
    return tuple(levels)


def _paired(active: list[Curve], random: list[Curve], grid_P: Floats) -> tuple[Floats, Floats]:
    """Both strategies' curves of the seeds they share, in the same order."""
    shared = sorted({c.seed for c in active} & {c.seed for c in random})
    if not shared:
        raise RecipeError(f"Strategy '{active[0].strategy}' shares no seed with random, so they cannot be compared.")
    return on_grid([c for c in active if c.seed in shared], grid_P), on_grid(
        [c for c in random if c.seed in shared], grid_P
    )


def _differences(grid_P: Floats, pairs: Mapping[str, tuple[Floats, Floats]]) -> dict[str, Difference]:
    per_seed = {name: area(grid_P, active) - area(grid_P, random) for name, (active, random) in pairs.items()}
    p_values = {name: _paired_p_value(d) for name, d in per_seed.items()}
    adjusted = holm(p_values)
    return {
        name: Difference(t_interval(d), tuple(float(x) for x in d), p_values[name], adjusted[name])
        for name, d in per_seed.items()
    }


def _paired_p_value(differences_S: Floats) -> float:
    if len(differences_S) < 2:
        return 1.0
    spread = float(differences_S.std(ddof=1))
    if spread < 1e-12:
        return 0.0 if abs(float(differences_S.mean())) > 1e-12 else 1.0
    t = float(differences_S.mean()) / spread * math.sqrt(len(differences_S))
    return float(2 * stats.t.sf(abs(t), len(differences_S) - 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values corrected for having asked several questions at once, by Holm's step-down rule."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda n: (p_values[n], n))):
        largest = max(largest, min(1.0, p_values[name] * (len(p_values) - place)))
        adjusted[name] = largest
    return adjusted


def _savings(grid_P: Floats, pair: tuple[Floats, Floats], levels: tuple[Level, ...], seed: int) -> dict[str, Saving]:
    active_SP, random_SP = pair
    return {
        level.name: saving(
            grid_P,
            active_SP,
            random_SP,
            None if level.name == RANDOMS_FINAL else level.value,
            rng=np.random.default_rng([seed, place]),
        )
        for place, level in enumerate(levels)
    }


def _result(
    curves: list[Curve],
    grid_P: Floats,
    levels: tuple[Level, ...],
    savings: Mapping[str, Saving],
    difference: Difference | None,
) -> StrategyResult:
    values_SP = on_grid(curves, grid_P)
    needed = {
        level.name: LabelsNeeded(
            labels_to_reach(grid_P, values_SP.mean(axis=0), level.value),
            tuple(labels_to_reach(grid_P, values_P, level.value) for values_P in values_SP),
        )
        for level in levels
    }
    return StrategyResult(
        curves[0].strategy,
        tuple(c.seed for c in curves),
        band(curves),
        t_interval(area(grid_P, values_SP)),
        t_interval(values_SP[:, -1]),
        needed,
        savings,
        difference,
    )
