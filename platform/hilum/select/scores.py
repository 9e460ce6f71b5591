"""Scorers: how unsure the model is, value by value.

Shape letters: M = members (dropout passes, mirrors, views or an ensemble), C = classes,
K = whatever else there is: candidates, or candidates and their voxels. Every function here
is pure: probabilities (M, C, …) in, scores (…) out, non-negative, higher = ask sooner.
"""

import numpy as np

from hilum.core.registry import scorers
from hilum.select.scored import Floats


@scorers.register("entropy")
def entropy(probs_MCK: Floats) -> Floats:
    """Predictive entropy of the members' mean, in nats."""
    return _entropy(probs_MCK.mean(axis=0), class_axis=0)


@scorers.register("margin")
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
def least_confidence(probs_MCK: Floats) -> Floats:
    """1 − the probability of the likeliest class (Lewis & Gale 1994, https://arxiv.org/abs/cmp-lg/9407020)."""
    return _non_negative(1 - probs_MCK.mean(axis=0).max(axis=0))


@scorers.register("mutual_information")
def mutual_information(probs_MCK: Floats) -> Floats:
    """Disagreement between members (BALD, https://arxiv.org/abs/1112.5745), in nats."""
    expected_K = _entropy(probs_MCK, class_axis=1).mean(axis=0)
    # Jensen says this is >= 0; float32 says it can be -1e-7.
    return _non_negative(entropy(probs_MCK) - expected_K)


@scorers.register("variance")
def variance(probs_MCK: Floats) -> Floats:
    """Variance between members, class by class, summed over classes.

    Not over members and classes at once: that mixes the class mean in, and a certain,
    unanimous answer would come out as the most uncertain one.
    """
    return _non_negative(probs_MCK.var(axis=0).sum(axis=0))


def _entropy(probs: Floats, class_axis: int) -> Floats:
    # p = 0 adds nothing; the logarithm alone would add NaN.
    logs = np.log(np.where(probs > 0, probs, 1))
    return _non_negative(-(probs * logs).sum(axis=class_axis))


def _non_negative(values: Floats) -> Floats:
    scores: Floats = np.maximum(values, 0).astype(np.float32)
    return scores
