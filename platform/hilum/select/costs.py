"""How long a question takes: a time to open it, one for each slice, and one for what is outlined.

The rates are learnt from what people said their answers took, and asking weighs a score against
them: a candidate's gain is its score for each second it is expected to cost (Settles, Craven and Friedland
2008, "Active learning with real annotation costs"; Haertel et al. 2008, "Return on investment").

Shape letters: N = questions, T = the three terms of `terms`, P = candidates that were picked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from hilum.select.scored import Floats, Ints

Doubles = npt.NDArray[np.float64]

PER_SECOND = "_per_second"
"""What a score is called once it is divided by the predicted seconds: ``margin`` is ``margin_per_second``."""
LEAST_SECONDS = 1.0
"""No question is predicted to take less: a gain for each second must not run away where little is outlined."""
OUTLINED_UNIT = 1000.0
"""Outlined voxels are counted in thousands."""

_HUBER = 1.345
_NUM_REWEIGHTINGS = 30
_PULL = 1e-3


@dataclass(frozen=True)
class Rates:
    """Seconds to open a question, for each of its slices, and for every 1,000 voxels that are outlined.

    ``num_times`` is how many answers they were learnt from; 0 where they are the recipe's.
    """

    opening_seconds: float
    seconds_per_slice: float
    seconds_per_1000_voxels: float
    num_times: int = 0

    def seconds(self, terms_NT: Doubles) -> Doubles:
        """The predicted seconds of questions, never below `LEAST_SECONDS`."""
        rates_T = np.array([self.opening_seconds, self.seconds_per_slice, self.seconds_per_1000_voxels])
        predicted: Doubles = np.maximum(terms_NT @ rates_T, LEAST_SECONDS)
        return predicted


def terms(shapes_N3: Ints, outlined_voxels_N: Doubles) -> Doubles:
    """(N, T): 1, the slices to look through, and thousands of outlined voxels.

    A patch that is one voxel thick along any axis is one slice; of a block they are its planes along Z.
    """
    shapes = np.asarray(shapes_N3, np.int64).reshape(-1, 3)
    slices_N = np.where((shapes == 1).any(axis=1), 1, shapes[:, 0])
    return np.column_stack([np.ones(len(shapes)), slices_N, np.asarray(outlined_voxels_N) / OUTLINED_UNIT])


def learnt(prior: Rates, terms_NT: Doubles, seconds_N: Doubles, *, min_times: int) -> Rates:
    """The rates that fit people's times best, none below 0; ``prior`` while fewer than ``min_times`` are told.

    A time of 0 is one that nobody told. What is fitted is the relative error, by Huber's loss (1964), so
    that a coffee break does not make every question dear. What the times cannot tell apart, such as the
    opening and the slices of questions that all have as many, is shared out as in ``prior``.
    """
    told = seconds_N > 0
    num_times = int(np.count_nonzero(told))
    if num_times < min_times:
        return prior
    terms_NT, seconds_N = terms_NT[told], seconds_N[told]
    before_T = np.array([prior.opening_seconds, prior.seconds_per_slice, prior.seconds_per_1000_voxels])
    weights_N = 1 / seconds_N
    rates_T = before_T
    for _ in range(_NUM_REWEIGHTINGS):
        rates_T = _fitted(terms_NT, seconds_N, weights_N, before_T)
        predicted_N = np.maximum(terms_NT @ rates_T, LEAST_SECONDS)
        error_N = np.abs(seconds_N / predicted_N - 1)
        usual = max(1.4826 * float(np.median(error_N)), 1e-6)
        weights_N = np.sqrt(np.minimum(1, _HUBER * usual / np.maximum(error_N, 1e-12))) / predicted_N
    opening, per_slice, per_1000 = (float(rate) for rate in rates_T)
    return Rates(opening, per_slice, per_1000, num_times)


def within(
    seconds_P: Sequence[float], arms: Sequence[str], shares: Mapping[str, float], max_seconds: float
) -> list[int]:
    """Which picks fit into ``max_seconds``, in their order: each arm has its share, and what one leaves others get.

    A pick that does not fit is passed over for a later one that does. There is always one, however long it takes.
    """
    left = {arm: share * max_seconds for arm, share in shares.items()}
    kept: list[int] = []
    for place, (arm, seconds) in enumerate(zip(arms, seconds_P, strict=True)):
        if seconds <= left[arm]:
            kept.append(place)
            left[arm] -= seconds
    rest = max_seconds - sum(seconds_P[place] for place in kept)
    for place in sorted(set(range(len(seconds_P))) - set(kept)):
        if seconds_P[place] <= rest:
            kept.append(place)
            rest -= seconds_P[place]
    return sorted(kept) or list(range(min(1, len(seconds_P))))


def per_second(scores: Mapping[str, Floats], seconds_N: Doubles) -> dict[str, Floats]:
    """Every score once as it is and once for each predicted second."""
    divided = {f"{name}{PER_SECOND}": (values / seconds_N).astype(np.float32) for name, values in scores.items()}
    return {**scores, **divided}


def _fitted(terms_NT: Doubles, seconds_N: Doubles, weights_N: Doubles, before_T: Doubles) -> Doubles:
    """Weighted non-negative least squares, with a slight pull towards ``before_T``.

    The best non-negative fit is the plain best fit over the terms that it uses: of three, all sets are tried.
    """
    weighted_NT = terms_NT * weights_N[:, None]
    pull_TT = np.diag(_PULL * np.maximum(np.linalg.norm(weighted_NT, axis=0), 1e-6))
    left, right = np.vstack([weighted_NT, pull_TT]), np.concatenate([seconds_N * weights_N, pull_TT @ before_T])
    best_T, least = before_T, np.inf
    for size in range(1, left.shape[1] + 1):
        for used in combinations(range(left.shape[1]), size):
            rates_T = np.zeros(left.shape[1])
            rates_T[list(used)] = np.linalg.lstsq(left[:, used], right, rcond=None)[0]
            missed = float(np.sum((left @ rates_T - right) ** 2))
            if rates_T.min() >= 0 and missed < least:
                best_T, least = rates_T, missed
    return best_T
