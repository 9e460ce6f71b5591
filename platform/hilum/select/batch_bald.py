"""BatchBALD: the batch whose answers, taken together, tell most about which member is right.

One candidate's answer tells the mutual information of answer and member (BALD). Those of a batch tell less than
the sum, because like candidates tell the same: I(y₁ … y_b; member). What a candidate adds to a batch is
E[H(y | answers so far)] − E[H(y | member)], so that the answers so far, each a belief about the members, are all
that has to be held.

Shape letters: N = candidates, M = members, C = classes, S = answers to the batch so far.
"""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hilum.core.errors import RecipeError
from hilum.core.registry import MemberParams, samplers
from hilum.select.compiled import compiled
from hilum.select.scored import Ints, ScoredPool, how_many

Doubles = npt.NDArray[np.float64]

_PICKED = -1.0
_AT_ONCE = 64
_SAME = 1e-9
"""Gains this near to each other are told apart by the candidates' ids: what is below is rounding."""


class BatchBaldParams(MemberParams):
    """Up to ``num_answers`` joint answers are all looked at; where there are more, that many are drawn."""

    num_answers: int = Field(default=1024, ge=2)


@samplers.register("batch_bald", params=BatchBaldParams)
def batch_bald(scored: ScoredPool, num: int, *, rng: np.random.Generator, num_answers: int = 1024) -> Ints:
    """Again and again the candidate whose answer adds most to what the batch tells (https://arxiv.org/abs/1906.08158).

    Exact and greedy while the batch has at most ``num_answers`` joint answers (within 1 − 1/e of the best batch);
    then answers are drawn with the seed, and a gain is known up to their sampling error.
    """
    num = how_many(scored, num)
    if num == 0:
        return np.empty(0, np.int64)
    probs_NMC = members_of(scored, "batch_bald")
    within_N = _within_members(probs_NMC)
    answers = _Answers(probs_NMC.shape[1])
    bounds_N = np.full(scored.num, np.inf)
    picks = np.empty(num, np.int64)
    for place in range(num):
        picks[place] = _greatest(probs_NMC, within_N, answers, bounds_N)
        bounds_N[picks[place]] = _PICKED
        answers.hear(probs_NMC[picks[place]], num_answers, rng)
    return picks


def members_of(scored: ScoredPool, sampler: str) -> Doubles:
    """Every member's probabilities (N, M, C), each summing to 1; RecipeError where there is one member only."""
    kept = scored.member_probs
    if kept is None:
        raise RecipeError(
            f"Sampler '{sampler}' reads every member's class probabilities, and this score run kept none. Set "
            "score.keep_members: true, and use it after the first round."
        )
    if kept.shape[1] < 2:
        raise RecipeError(
            f"Sampler '{sampler}' compares members, and score.members gives one opinion. Use several: "
            "{kind: dropout}, {kind: mirrors} or {kind: views}."
        )
    probs_NMC = np.ascontiguousarray(kept, np.float64)
    # Half precision keeps three digits: a sum of 1.001 would be information from nowhere.
    probs_NMC /= np.maximum(probs_NMC.sum(axis=2, keepdims=True), 1e-12)
    return probs_NMC


class _Answers:
    """Joint answers to the batch so far: how likely each is, and what each makes believe of the members."""

    def __init__(self, num_members: int) -> None:
        self.weights_S: Doubles = np.ones(1)
        self.beliefs_MS: Doubles = np.full((num_members, 1), 1 / num_members)

    def hear(self, probs_MC: Doubles, num_answers: int, rng: np.random.Generator) -> None:
        """Add one candidate's answer: every class after every answer, or one drawn class after each when too many."""
        num_classes = probs_MC.shape[1]
        if len(self.weights_S) * num_classes > num_answers:
            self._draw(num_answers, rng)
            chances_SC = np.cumsum(self.beliefs_MS.T @ probs_MC, axis=1)
            drawn_S = (rng.random((num_answers, 1)) * chances_SC[:, -1:] >= chances_SC).sum(axis=1)
            joint_MS = self.beliefs_MS * probs_MC[:, np.minimum(drawn_S, num_classes - 1)]
        else:
            joint_MS = (self.beliefs_MS[:, :, None] * probs_MC[:, None]).reshape(len(probs_MC), -1)
            self.weights_S = np.repeat(self.weights_S, num_classes) * joint_MS.sum(axis=0)
        total_S = joint_MS.sum(axis=0)
        can_be_S = total_S > 0
        self.weights_S = self.weights_S[can_be_S]
        self.beliefs_MS = np.ascontiguousarray(joint_MS[:, can_be_S] / total_S[can_be_S])

    def _draw(self, num_answers: int, rng: np.random.Generator) -> None:
        """``num_answers`` of the answers, as often as they are likely (systematic: as evenly as can be)."""
        places = (rng.random() + np.arange(num_answers)) / num_answers
        running_S = np.cumsum(self.weights_S)
        drawn = np.minimum(np.searchsorted(running_S / running_S[-1], places), len(running_S) - 1)
        self.weights_S = np.full(num_answers, 1 / num_answers)
        self.beliefs_MS = self.beliefs_MS[:, drawn]


def _greatest(probs_NMC: Doubles, within_N: Doubles, answers: _Answers, bounds_N: Doubles) -> int:
    """The row of the greatest gain. A gain can only fall as the batch grows: few are computed anew."""
    is_exact_N = np.zeros(len(bounds_N), bool)
    while True:
        greatest = int(np.flatnonzero(bounds_N >= bounds_N.max() - _SAME)[0])
        if is_exact_N[greatest]:
            return greatest
        stale_N = np.where(is_exact_N, _PICKED, bounds_N)
        likely = np.argpartition(stale_N, -min(_AT_ONCE, len(stale_N)))[-_AT_ONCE:]
        likely = np.union1d(likely[stale_N[likely] > _PICKED], [greatest])
        if np.isinf(stale_N[greatest]):
            likely = np.flatnonzero(np.isinf(stale_N))
        bounds_N[likely] = _gains(probs_NMC, within_N, likely, answers.weights_S, answers.beliefs_MS)
        is_exact_N[likely] = True


@compiled
def _within_members(probs_NMC: Doubles) -> Doubles:
    """The mean entropy of a candidate's answer when the member is known, in nats."""
    num, num_members, num_classes = probs_NMC.shape
    within_N = np.zeros(num)
    for n in range(num):
        for m in range(num_members):
            for c in range(num_classes):
                p = probs_NMC[n, m, c]
                if p > 0.0:
                    within_N[n] -= p * np.log(p) / num_members
    return within_N


@compiled
def _gains(probs_NMC: Doubles, within_N: Doubles, rows: Ints, weights_S: Doubles, beliefs_MS: Doubles) -> Doubles:
    """What the answer of each of ``rows`` would add, in nats: its entropy after the answers so far, less its own."""
    _, num_members, num_classes = probs_NMC.shape
    gains = np.empty(len(rows))
    chance_S = np.empty(len(weights_S))
    for place in range(len(rows)):
        n = rows[place]
        entropy = 0.0
        for c in range(num_classes):
            chance_S[:] = 0.0
            for m in range(num_members):
                p = probs_NMC[n, m, c]
                for s in range(len(weights_S)):
                    chance_S[s] += beliefs_MS[m, s] * p
            for s in range(len(weights_S)):
                if chance_S[s] > 0.0:
                    entropy -= weights_S[s] * chance_S[s] * np.log(chance_S[s])
        gains[place] = max(entropy - within_N[n], 0.0)
    return gains
