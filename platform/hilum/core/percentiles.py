"""Percentiles as NumPy gives them, sooner where grey levels are few enough to be counted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_AT_A_TIME = 1 << 18
"""np.bincount widens what it counts to 64 bits; this many still lie in the processor's cache then."""


def percentiles(values: npt.NDArray[Any], percents: Sequence[float]) -> list[float]:
    """What ``np.percentile`` says, to the last bit. Whole numbers of 8 or 16 bits are counted and not sorted."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 2 or not values.dtype.isnative:
        return [float(v) for v in np.percentile(values, percents)]
    lowest = int(np.iinfo(values.dtype).min)
    num_up_to = np.cumsum(_counts(values, lowest))
    return [_between(num_up_to, lowest, percent / 100) for percent in percents]


def _counts(values: npt.NDArray[Any], lowest: int) -> npt.NDArray[np.int64]:
    """How often each value that the type can hold is there, the lowest first."""
    bits = 8 * values.dtype.itemsize
    unsigned = values.reshape(-1).view(f"u{values.dtype.itemsize}")
    counts = np.zeros(1 << bits, np.int64)
    for start in range(0, unsigned.size, _AT_A_TIME):
        counts += np.bincount(unsigned[start : start + _AT_A_TIME], minlength=1 << bits)
    return np.roll(counts, -lowest)


def _between(num_up_to: npt.NDArray[np.int64], lowest: int, quantile: float) -> float:
    """The straight line between the two values that the quantile lies between, in NumPy's own order of operations."""
    num = int(num_up_to[-1])
    place = (num - 1) * quantile
    before = int(place)
    ranks = (before, min(before + 1, num - 1))
    low, high = (lowest + int(np.searchsorted(num_up_to, rank, side="right")) for rank in ranks)
    share = place - before
    return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share
