"""Scorers: how unsure the model is, value by value.

Shape letters: M = members (dropout passes, mirrors, views or an ensemble), C = classes,
K = whatever else there is: candidates, or candidates and their voxels. Every function here
is pure: probabilities (M, C, …) in, scores (…) out, non-negative, higher = ask sooner.
`learning_loss` alone reads no probabilities but a number a candidate.
"""

from collections.abc import Callable
from functools import wraps

import numpy as np

from hilum.core.registry import PredictedLossParams, scorers
from hilum.select.scored import Floats

_AT_ONCE = 1024
"""Values that are scored at once: few enough that what is computed of them stays in the core's cache."""
_TINY = np.float32(1e-30)

Scorer = Callable[[Floats], Floats]


def _a_few_at_once(score: Scorer) -> Scorer:
    """``score`` of (M, C, K) with K small, made to take (M, C, …) of any size, in a fraction of the time."""

    @wraps(score)
    def of_all(probs_MCK: Floats) -> Floats:
        num_members, num_classes, *rest = probs_MCK.shape
        scores: Floats = np.empty(rest, np.float32)
        if len(rest) > 1:
            for k in range(rest[0]):
                scores[k] = of_all(probs_MCK[:, :, k].reshape(num_members, num_classes, -1)).reshape(rest[1:])
            return scores
        for first in range(0, rest[0], _AT_ONCE):
            few = slice(first, first + _AT_ONCE)
            scores[few] = score(np.ascontiguousarray(probs_MCK[:, :, few]))
        return scores

    return of_all


@scorers.register("entropy")
@_a_few_at_once
def entropy(probs_MCK: Floats) -> Floats:
    """Predictive entropy of the members' mean, in nats."""
    return _entropy(probs_MCK.mean(axis=0))


@scorers.register("margin")
@_a_few_at_once
def margin(probs_MCK: Floats) -> Floats:
    """1 − (p₁ − p₂): 1 when the two likeliest classes tie, 0 when one is certain.

    The margin of Scheffer et al. 2001 (doi:10.1007/3-540-44816-0_31), turned so that higher asks sooner.
    """
    probs_CK = probs_MCK.mean(axis=0)
    if len(probs_CK) == 1:
        return _non_negative(1 - probs_CK[0])
    first_two = np.partition(probs_CK, -2, axis=0)[-2:]
    return _non_negative(1 - (first_two[1] - first_two[0]))


@scorers.register("least_confidence")
@_a_few_at_once
def least_confidence(probs_MCK: Floats) -> Floats:
    """1 − the probability of the likeliest class (Lewis & Gale 1994, https://arxiv.org/abs/cmp-lg/9407020)."""
    return _non_negative(1 - probs_MCK.mean(axis=0).max(axis=0))


@scorers.register("mutual_information")
@_a_few_at_once
def mutual_information(probs_MCK: Floats) -> Floats:
    """Disagreement between members (BALD, https://arxiv.org/abs/1112.5745), in nats.

    It is also the members' mean divergence from their mean, the disagreement of McCallum & Nigam 1998.
    """
    num_members, num_classes, num = probs_MCK.shape
    expected_K = _entropy(probs_MCK.reshape(num_members * num_classes, num)) / num_members
    # Jensen says this is >= 0; float32 says it can be -1e-7.
    return _non_negative(_entropy(probs_MCK.mean(axis=0)) - expected_K)


@scorers.register("max_disagreement")
@_a_few_at_once
def max_disagreement(probs_MCK: Floats) -> Floats:
    """The divergence (Kullback-Leibler, in nats) of the most dissenting member from the members' mean.

    Of a committee as in McCallum & Nigam 1998 (Employing EM and pool-based active learning, ICML).
    """
    ratio_MCK = _logs(probs_MCK) - _logs(probs_MCK.mean(axis=0))
    return _non_negative((probs_MCK * ratio_MCK).sum(axis=1).max(axis=0))


@scorers.register("variance")
@_a_few_at_once
def variance(probs_MCK: Floats) -> Floats:
    """Variance between members, class by class, summed over classes.

    Not over members and classes at once: that mixes the class mean in, and a certain,
    unanimous answer would come out as the most uncertain one.
    """
    return _non_negative(probs_MCK.var(axis=0).sum(axis=0))


@scorers.register("variation_ratio")
@_a_few_at_once
def variation_ratio(probs_MCK: Floats) -> Floats:
    """The share of members that do not vote for the class with most votes (Freeman 1965; Gal 2016, section 3.3).

    0 for a single member, and never above 1 − 1 / classes.
    """
    return _non_negative(1 - _votes(probs_MCK).max(axis=0))


@scorers.register("vote_entropy")
@_a_few_at_once
def vote_entropy(probs_MCK: Floats) -> Floats:
    """Entropy of the members' votes, in nats (Dagan & Engelson 1995, Committee-based sampling, ICML)."""
    return _entropy(_votes(probs_MCK))


@scorers.register("learning_loss", params=PredictedLossParams)
def learning_loss(predicted_K: Floats) -> Floats:
    """log(1 + eˣ) of the loss x that the checkpoint predicts of each candidate (K): the same order, and positive.

    Yoo & Kweon 2019 (https://arxiv.org/abs/1905.03677), whose module learns an order and no unit.
    """
    return _non_negative(np.logaddexp(np.float32(0), predicted_K))


def _votes(probs_MCK: Floats) -> Floats:
    """The share (C, K) of members whose likeliest class it is; of classes that tie, the first is voted for."""
    votes_MK = probs_MCK.argmax(axis=1)
    shares_CK: Floats = (votes_MK[:, None] == np.arange(probs_MCK.shape[1])[:, None]).mean(axis=0, dtype=np.float32)
    return shares_CK


def _entropy(probs_CK: Floats) -> Floats:
    logs_CK = _logs(probs_CK)
    logs_CK *= probs_CK
    return _non_negative(-logs_CK.sum(axis=0))


def _logs(probs: Floats) -> Floats:
    # p = 0 adds nothing to an entropy; the logarithm alone would add NaN.
    logs: Floats = np.log(np.maximum(probs, _TINY))
    return logs


def _non_negative(values: Floats) -> Floats:
    scores: Floats = np.maximum(values, 0).astype(np.float32)
    return scores
