"""Drift: how far numbers seen today have moved from those seen when the model was calibrated.

Shape letters: B = bins.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from hilum.core.errors import RecipeError

NUM_BINS = 10
_LEAST_SHARE = 1e-4
"""What an empty bin counts as: no logarithm of 0, and one stray value in it is no alarm."""


class Histogram(BaseModel):
    """Counts between ascending ``edges``: up to the first, from one to the next, and above the last.

    A bin holds its upper edge. So there is one count more than edges.
    """

    model_config = ConfigDict(frozen=True)
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: npt.NDArray[Any], num_bins: int = NUM_BINS) -> Self:
        """Bins of equally many ``values``; fewer where many are equal, as most foreground shares are 0."""
        inner = np.linspace(0, 1, num_bins + 1)[1:-1]
        edges = np.unique(np.quantile(np.asarray(values, np.float64), inner, method="inverted_cdf"))
        return cls(edges=tuple(edges.tolist()), counts=tuple(_counted(values, edges).tolist()))

    def coarser(self, num_bins: int = NUM_BINS) -> Self:
        """The same counts in at most ``num_bins`` bins of about equally many."""
        upto_B = np.cumsum(self.counts)
        places = np.unique(np.searchsorted(upto_B, upto_B[-1] * np.linspace(0, 1, num_bins + 1)[1:-1]))
        places = places[places < len(self.edges)]
        counts = np.diff(upto_B[places], prepend=0, append=upto_B[-1])
        return type(self)(edges=tuple(self.edges[at] for at in places), counts=tuple(counts.tolist()))

    def count(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """(B,) how many of other ``values`` lie in each of these bins."""
        return _counted(values, np.array(self.edges))

    def psi(self, values: npt.NDArray[Any]) -> float:
        """How far other ``values`` are from these (`psi`)."""
        return psi(self.counts, self.count(values).tolist())


def psi(expected: Sequence[float], observed: Sequence[float]) -> float:
    """The population stability index of two counts (or shares) over the same bins, 0 when they agree.

    Σ (o − e) ln(o / e) over shares, which is Jeffreys' divergence; an empty bin counts as 0.0001. By custom up to
    0.1 is no change and above 0.25 a large one (Siddiqi, Credit Risk Scorecards, 2006). Chance alone makes about
    (B − 1)(1/n + 1/m) of n and m values. RecipeError unless both have the same bins, and something in them.
    """
    if len(expected) != len(observed) or not (sum(expected) > 0 and sum(observed) > 0):
        raise RecipeError(
            f"psi compares two counts over the same bins, neither of them empty; given {list(expected)} and "
            f"{list(observed)}."
        )
    expected_B, observed_B = (
        np.maximum(np.asarray(counts, np.float64) / sum(counts), _LEAST_SHARE) for counts in (expected, observed)
    )
    return float(np.sum((observed_B - expected_B) * np.log(observed_B / expected_B)))


def _counted(values: npt.NDArray[Any], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    places = np.searchsorted(edges, np.asarray(values, np.float64).ravel(), side="left")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.int64)
