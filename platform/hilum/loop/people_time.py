"""The same learning curves over people's time: what answers told in seconds, or what they were predicted to take.

At each number of labels a strategy stands at its seeds' mean seconds, with their mean score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hilum.loop.curves import Band, Curve, Interval, band, labels_to_reach, t_interval


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
    """Every strategy over seconds, by its name; empty unless every curve's seconds are known."""
    if not all(curve.seconds for curves in by_name.values() for curve in curves):
        return {}
    return {name: _timed(name, curves, level) for name, curves in by_name.items()}


def _timed(name: str, curves: Sequence[Curve], level: float) -> TimedStrategy:
    over_labels = band(curves)
    seconds_SP = np.stack([np.interp(over_labels.at, curve.num_labels, curve.seconds) for curve in curves])
    drawn = replace(over_labels, at=tuple(seconds_SP.mean(axis=0).tolist()))
    total = t_interval([curve.seconds[-1] for curve in curves])
    return TimedStrategy(name, drawn, total, labels_to_reach(drawn.at, drawn.mean, level))
