"""AIFT: how unsure of a candidate the model is, and how much its own views of it disagree.

Views (augmentations) of one candidate share one label, so they should get one prediction;
where they do not, the candidate is worth a person's time (Zhou et al., CVPR 2017 and
MedIA 2021, https://arxiv.org/abs/1802.00912). Views that no longer show the object mislead,
so only the share α that best agrees with the majority is looked at.

Shape letters: K = candidates (or voxels), M = views, C = classes.
"""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hilum.core.registry import Params, scorers
from hilum.select.compiled import compiled
from hilum.select.scored import Floats

Convention = Literal["paper", "matlab"]
AnyFloats = npt.NDArray[np.float32] | npt.NDArray[np.float64]

CLIP = 1e-6
"""Probabilities are clipped to [CLIP, 1 − CLIP]: the divergence of 0 from 1 is infinite."""
MATLAB_EPS = 2.0**-52
_TIE = 1e-6
_VALUES_AT_ONCE = 32_768


class AiftParams(Params):
    """λ₁ weighs entropy, λ₂ diversity; ``alpha`` is the share of views kept.

    ``convention`` 'paper' takes the mean entropy over views and each pair of views once;
    'matlab' (the authors' released demonstration) sums the entropies and counts each pair twice.
    """

    lambda1: float = Field(default=1.0, ge=0)
    lambda2: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=0.25, gt=0, le=1)
    convention: Convention = "paper"


@scorers.register("aift", params=AiftParams)
def aift(
    probs_MCK: Floats,
    *,
    lambda1: float = 1.0,
    lambda2: float = 1.0,
    alpha: float = 0.25,
    convention: Convention = "paper",
) -> Floats:
    """λ₁·entropy + λ₂·diversity among the majority of a candidate's views (members are the views)."""
    num_views, num_classes, *rest = probs_MCK.shape
    probs_KMC = np.moveaxis(probs_MCK.reshape(num_views, num_classes, -1), 2, 0)
    entropy_K, diversity_K = entropy_and_diversity(probs_KMC, alpha=alpha, convention=convention)
    scores: Floats = (lambda1 * entropy_K + lambda2 * diversity_K).astype(np.float32).reshape(rest)
    return scores


def entropy_and_diversity(
    probs_KMC: AnyFloats, *, alpha: float = 1.0, convention: Convention = "paper", eps: float = 0.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Entropy and symmetric Kullback-Leibler diversity of every candidate's majority, in nats.

    ``eps`` = 0 clips probabilities; a positive ``eps`` is added inside every logarithm
    instead, as the authors' code does: then diversity depends on it more than on the data.
    """
    num, num_views, num_classes = probs_KMC.shape
    keep = num_kept(num_views, alpha)
    entropy_K, diversity_K = np.empty(num), np.empty(num)
    at_once = max(1, _VALUES_AT_ONCE // (num_views * num_classes))
    for first in range(0, num, at_once):
        few = slice(first, first + at_once)
        entropy_K[few], diversity_K[few] = _of_a_few(_majority(probs_KMC[few], keep), eps)
    if convention == "paper":
        return entropy_K / keep, diversity_K
    return entropy_K, 2 * diversity_K


def num_kept(num_views: int, alpha: float) -> int:
    """How many views make up the majority: α·m rounded half up, at least one."""
    return min(num_views, max(1, math.floor(alpha * num_views + 0.5)))


def _of_a_few(probs_KMC: AnyFloats, eps: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Summed entropy, and diversity over pairs, of so few candidates that all stays in the core's cache."""
    probs_MCK = np.array(np.moveaxis(probs_KMC, 0, 2), np.float64, order="C")
    if eps == 0:
        np.clip(probs_MCK, CLIP, 1 - CLIP, out=probs_MCK)
    logs_MCK = np.log(probs_MCK + eps)
    sum_p_CK, sum_log_CK = probs_MCK.sum(axis=0), logs_MCK.sum(axis=0)
    logs_MCK *= probs_MCK
    sum_p_log_CK = logs_MCK.sum(axis=0)
    # Sum over pairs j < l of (p_j - p_l)(log p_j - log p_l), without visiting the pairs.
    diversity_K = (len(probs_MCK) * sum_p_log_CK - sum_p_CK * sum_log_CK).sum(axis=0)
    return np.maximum(-sum_p_log_CK.sum(axis=0), 0), np.maximum(diversity_K, 0)


def _majority(probs_KMC: AnyFloats, keep: int) -> AnyFloats:
    """The ``keep`` views of every candidate that are most confident in its dominant class."""
    if keep == probs_KMC.shape[1]:
        return probs_KMC
    order_KM = _order_of_majority(probs_KMC.copy(), keep)
    return probs_KMC[np.arange(len(probs_KMC))[:, None], order_KM]


@compiled
def _order_of_majority(probs_KMC: AnyFloats, keep: int) -> npt.NDArray[np.int64]:
    num, num_views, _ = probs_KMC.shape
    orders_KM = np.empty((num, keep), np.int64)
    order = np.arange(num_views)
    for k in range(num):
        _majority_first(probs_KMC[k], keep, order)
        orders_KM[k] = order[:keep]
    return orders_KM


@compiled
def _majority_first(probs_MC: AnyFloats, keep: int, order: npt.NDArray[np.int64]) -> None:
    """Bring the ``keep`` views most confident in the dominant class to the front of ``order``."""
    num_views, num_classes = probs_MC.shape
    dominant, best = 0, -1.0
    for c in range(num_classes):
        total = 0.0
        for m in range(num_views):
            total += probs_MC[m, c]
        # Of classes that tie (but for rounding) the first is dominant, whatever the order of the views.
        if total > best + _TIE * num_views:
            dominant, best = c, total
    for m in range(num_views):
        order[m] = m
    for place in range(keep):
        chosen = place
        for other in range(place + 1, num_views):
            if _is_before(probs_MC, order[other], order[chosen], dominant):
                chosen = other
        order[place], order[chosen] = order[chosen], order[place]


@compiled
def _is_before(probs_MC: AnyFloats, a: int, b: int, dominant: int) -> bool:
    # Equally confident views are told apart by their other classes, not by their place.
    if probs_MC[a, dominant] != probs_MC[b, dominant]:
        return bool(probs_MC[a, dominant] > probs_MC[b, dominant])
    for c in range(probs_MC.shape[1]):
        if probs_MC[a, c] != probs_MC[b, c]:
            return bool(probs_MC[a, c] > probs_MC[b, c])
    return False
