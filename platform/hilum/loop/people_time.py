"""The same learning curves over people's time: what answers told in seconds, or what they were predicted to take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hilum.core.errors import RecipeError
from hilum.loop.curves import Band, Curve, Interval, band_over, labels_to_reach, t_interval


@dataclass(frozen=True)
class TimedStrategy:
    """One strategy over seconds. ``total`` is a whole campaign's; ``needed`` is until random's final score, on the
    mean curve: None where that was not reached, ``at_first`` where it was at the first measurement.
    """

    name: str
    band: Band
    total: Interval
    needed: float | None

    @property
    def at_first(self) -> bool:
        return self.needed is not None and self.needed <= self.band.at[0]


def timed(by_name: Mapping[str, Sequence[Curve]], level: float) -> dict[str, TimedStrategy]:
    """Every strategy over seconds, by its name; empty unless every curve's seconds are known and share a range."""
    if not all(curve.seconds for curves in by_name.values() for curve in curves):
        return {}
    try:
        return {name: _timed(name, curves, level) for name, curves in by_name.items()}
    except RecipeError:
        return {}  # two seeds of a strategy have no second in common


def _timed(name: str, curves: Sequence[Curve], level: float) -> TimedStrategy:
    drawn = band_over([curve.seconds for curve in curves], [curve.values for curve in curves])
    total = t_interval([curve.seconds[-1] for curve in curves])
    return TimedStrategy(name, drawn, total, labels_to_reach(drawn.at, drawn.mean, level))
