"""Temperature scaling: one number that makes a network's probabilities mean what they say.

Guo et al. 2017, https://arxiv.org/abs/1706.04599. Shape letters: N = items or voxels, K = classes, T = temperatures,
B = bins of confidence.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from hilum.core.errors import RecipeError

Floats = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]

# From a tenth to ten, each 2.3 % above the one before, with 1 in the middle. Not refined between them: so all numbers
# told of the best are counted at it, and its likelihood is never worse than that at 1.
TEMPERATURES: Doubles = 10.0 ** np.linspace(-1, 1, 201)
_AS_IT_IS = int(np.flatnonzero(TEMPERATURES == 1)[0])
_NUM_BINS = 15
_LEAST = np.finfo(np.float32).tiny


def tempered(probs: Floats, temperature: float, *, class_axis: int = -1) -> Floats:
    """Probabilities to the power of 1 / ``temperature``, made to sum to 1: softmax(logits / temperature).

    Above 1 the network becomes less sure; the likeliest class stays the likeliest. 1 gives back ``probs`` itself.
    RecipeError unless ``temperature`` is a number above 0.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise RecipeError(f"A temperature is a number above 0; given {temperature}.")
    if temperature == 1:
        return probs
    # The likeliest class first becomes 1: a small power of small numbers would be 0 for all of them.
    highest = np.maximum(probs.max(axis=class_axis, keepdims=True), _LEAST)
    powers = (probs / highest) ** np.asarray(1 / temperature, probs.dtype)
    scaled: Floats = powers / powers.sum(axis=class_axis, keepdims=True)
    return scaled


@dataclass(frozen=True)
class Fit:
    """The best temperature, and what it does to the negative log-likelihood (nats) and the calibration error."""

    temperature: float
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


@dataclass(frozen=True)
class Evidence:
    """What some answers say of every temperature (T), (T, B), and of each class how many (K). It adds up."""

    nll: Doubles
    gap: Doubles
    truth: Doubles

    @classmethod
    def none(cls, num_classes: int) -> Self:
        return cls(np.zeros(len(TEMPERATURES)), np.zeros((len(TEMPERATURES), _NUM_BINS)), np.zeros(num_classes))

    @classmethod
    def of(cls, probs_NK: Floats, truth_N: npt.NDArray[np.integer], weight_N: Doubles) -> Self:
        """Of answers whose truth is known; ``weight_N`` says for how many each stands."""
        log_NK = np.log(np.maximum(probs_NK.astype(np.float64), _LEAST))
        right_N = (probs_NK.argmax(axis=1) == truth_N).astype(np.float64)
        likeliest_N, true_N = log_NK.max(axis=1), log_NK[np.arange(len(log_NK)), truth_N]
        nll_T, gap_TB = np.empty(len(TEMPERATURES)), np.empty((len(TEMPERATURES), _NUM_BINS))
        for at, temperature in enumerate(TEMPERATURES):
            # Relative to the likeliest class: no power is above 1, and one of them is 1.
            norm_N = np.exp((log_NK - likeliest_N[:, None]) / temperature).sum(axis=1)
            nll_T[at] = weight_N @ (np.log(norm_N) - (true_N - likeliest_N) / temperature)
            confidence_N = 1 / norm_N
            bins_N = np.minimum((confidence_N * _NUM_BINS).astype(np.int64), _NUM_BINS - 1)
            gap_TB[at] = np.bincount(bins_N, weight_N * (right_N - confidence_N), minlength=_NUM_BINS)
        return cls(nll_T, gap_TB, np.bincount(truth_N, weight_N, minlength=probs_NK.shape[1]).astype(np.float64))

    def __add__(self, other: "Evidence") -> "Evidence":
        return Evidence(self.nll + other.nll, self.gap + other.gap, self.truth + other.truth)

    def fit(self) -> Fit | str:
        """The temperature of least negative log-likelihood, or why there is none."""
        total = self.truth.sum()
        if total == 0:
            return "nobody on the validation side has a truth to compare with"
        if np.count_nonzero(self.truth) < 2:
            return "the truth of the validation side holds one class only"
        best = int(self.nll.argmin())
        if best == 0:
            return (
                f"the model is right wherever it is sure, so even {TEMPERATURES[0]:g} is too high a temperature: there "
                "are too few validation items for it to be wrong"
            )
        if best == len(TEMPERATURES) - 1:
            return f"the model is so much too sure that even {TEMPERATURES[-1]:g} is too low a temperature"
        nll_T, ece_T = self.nll / total, np.abs(self.gap).sum(axis=1) / total
        before, after = (float(nll_T[_AS_IT_IS]), float(ece_T[_AS_IT_IS])), (float(nll_T[best]), float(ece_T[best]))
        return Fit(float(TEMPERATURES[best]), before[0], after[0], before[1], after[1])


def sample_voxels(
    probs_KZYX: Floats, truth_ZYX: npt.NDArray[np.integer], num: int, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.int64], Doubles]:
    """About ``num`` voxels whose truth is known: (N, K), (N,), and for how many voxels each stands (N,).

    Equally many of each class, for a lesion may be one voxel of ten thousand; the weights make the sum over them an
    unbiased estimate of the sum over all voxels, so the temperature is that of voxels as often as they occur.
    """
    probs_KV, truth_V = probs_KZYX.reshape(len(probs_KZYX), -1), truth_ZYX.ravel()
    counts = {k: np.count_nonzero(truth_V == k) for k in range(len(probs_KV))}
    present = [class_id for class_id, count in counts.items() if count]
    places: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    weights: list[Doubles] = [np.empty(0)]
    for class_id in present:
        there = np.flatnonzero(truth_V == class_id)
        taken = np.sort(rng.choice(there, min(len(there), max(1, num // len(present))), replace=False))
        places.append(taken)
        weights.append(np.full(len(taken), len(there) / len(taken)))
    at_N = np.concatenate(places)
    return probs_KV[:, at_N].T, truth_V[at_N].astype(np.int64), np.concatenate(weights)
