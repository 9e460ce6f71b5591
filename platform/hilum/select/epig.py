"""EPIG: whose answer would tell most of what the model says elsewhere.

Shape letters: N = candidates, T = targets, M = members, C = classes.
"""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hilum.core.registry import MemberParams, samplers
from hilum.select.batch_bald import members_of
from hilum.select.compiled import compiled
from hilum.select.noise import power_noise
from hilum.select.samplers import best_rows
from hilum.select.scored import Ints, ScoredPool, how_many

Doubles = npt.NDArray[np.float64]


class EpigParams(MemberParams):
    """``num_targets`` candidates are drawn to ask about; ``beta`` adds power noise, None is greedy."""

    num_targets: int = Field(default=100, ge=1)
    beta: float | None = Field(default=None, ge=0)


@samplers.register("epig", params=EpigParams)
def epig(
    scored: ScoredPool, num: int, *, rng: np.random.Generator, num_targets: int = 100, beta: float | None = None
) -> Ints:
    """The most expected information about the predictions of others (EPIG, https://arxiv.org/abs/2304.08151).

    Others are ``num_targets`` candidates of the pool, drawn anew every round; of a smaller pool all. Unlike BALD it
    asks nothing that only strange candidates would need to know. It scores one by one: large batches want ``beta``.
    """
    num = how_many(scored, num)
    if num == 0:
        return np.empty(0, np.int64)
    probs_NMC = members_of(scored, "epig")
    gains_N = _about_others(probs_NMC, np.sort(rng.permutation(scored.num)[:num_targets])).astype(np.float32)
    return best_rows(gains_N if beta is None else power_noise(gains_N, beta, rng), num)


def _about_others(probs_NMC: Doubles, targets: Ints) -> Doubles:
    """The mean information about the predictions of ``targets``, for each of them that of the other targets."""
    gains_N = expected_information(probs_NMC, probs_NMC[targets])
    for n in targets:
        own = expected_information(probs_NMC[n : n + 1], probs_NMC[n : n + 1])[0]
        gains_N[n] = max(len(targets) * gains_N[n] - own, 0) / max(1, len(targets) - 1)
    return gains_N


def expected_information(probs_NMC: Doubles, targets_TMC: Doubles) -> Doubles:
    """The mean over targets of I(candidate's answer; target's answer), in nats; O(N·T·M·C²) and no more memory."""
    return _expected_information(probs_NMC, np.ascontiguousarray(np.moveaxis(targets_TMC, 0, 2)))


@compiled
def _expected_information(probs_NMC: Doubles, targets_MCT: Doubles) -> Doubles:
    num, num_members, num_classes = probs_NMC.shape
    num_targets = targets_MCT.shape[2]
    mean_CT = np.zeros((num_classes, num_targets))
    for m in range(num_members):
        mean_CT += targets_MCT[m] / num_members
    elsewhere = 0.0
    for p in mean_CT.flat:
        if p > 0.0:
            elsewhere -= p * np.log(p)
    gains_N = np.empty(num)
    joint_T = np.empty(num_targets)
    for n in range(num):
        here, together = 0.0, 0.0
        for c in range(num_classes):
            mean = 0.0
            for m in range(num_members):
                mean += probs_NMC[n, m, c] / num_members
            if mean > 0.0:
                here -= mean * np.log(mean)
            for other in range(num_classes):
                joint_T[:] = 0.0
                for m in range(num_members):
                    p = probs_NMC[n, m, c] / num_members
                    for t in range(num_targets):
                        joint_T[t] += p * targets_MCT[m, other, t]
                for t in range(num_targets):
                    if joint_T[t] > 0.0:
                        together -= joint_T[t] * np.log(joint_T[t])
        gains_N[n] = max(here + (elsewhere - together) / num_targets, 0.0)
    return gains_N
