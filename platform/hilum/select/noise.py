"""Noise that turns the highest scores into a draw without replacement (Kirsch et al. 2023).

A Gumbel number added to the logarithm of a weight makes the k highest sums a draw of k in
proportion to the weights; https://arxiv.org/abs/2106.12059 weighs by score, by exp(score) or by rank.
"""

import numpy as np
import numpy.typing as npt

from hilum.select.scored import Floats

_TINY = 1e-30

Priorities = npt.NDArray[np.float64]


def power_noise(scores: Floats, beta: float, rng: np.random.Generator) -> Priorities:
    """In proportion to score^β. A score of 0 stays last, not −∞."""
    logs = np.log(np.maximum(scores.astype(np.float64), _TINY))
    return beta * logs + rng.gumbel(size=len(scores))


def gibbs_noise(scores: Floats, beta: float, rng: np.random.Generator) -> Priorities:
    """In proportion to exp(β · score)."""
    return beta * scores.astype(np.float64) + rng.gumbel(size=len(scores))


def rank_noise(scores: Floats, beta: float, rng: np.random.Generator) -> Priorities:
    """In proportion to rank^−β, the highest score being first; equal scores share the better rank."""
    ranks = 1 + np.searchsorted(np.sort(-scores), -scores, side="left")
    return -beta * np.log(ranks) + rng.gumbel(size=len(scores))
