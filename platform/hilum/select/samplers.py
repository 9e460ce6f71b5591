"""Samplers that read scores: whom to ask, given how unsure the model is.

Every sampler takes a ScoredPool and how many to pick, and returns that many distinct rows
(all of them when the pool is smaller), first to be asked first. Ties go to the lower row,
which is the lower candidate id. Randomness comes in as ``rng``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from hilum.core.registry import Params, samplers
from hilum.select.noise import gibbs_noise, power_noise, rank_noise
from hilum.select.scored import Floats, Ints, ScoredPool, how_many
from hilum.select.thinning import Thinning

AnyFloats = npt.NDArray[np.float32] | npt.NDArray[np.float64]

_HOLDS = 0.01


class ByScore(Params):
    """``score`` names the scorer whose values are read."""

    score: str = "margin"


class PowerParams(ByScore):
    """``beta``: how closely the score is followed; 0 is at random, large is top_k."""

    beta: float = Field(default=1.0, ge=0)


class ExtensionParams(ByScore):
    """``omega``: the window drawn from, in multiples of what is asked."""

    omega: float = Field(default=5.0, ge=1)


class ForegroundParams(Params):
    """``share`` of the picks that must hold foreground.

    With `score.foreground` those hold it of which ``min_foreground`` or more is foreground, and any of them; without
    it, those where the round's own model sees any at all.
    """

    share: float = Field(default=2 / 3, ge=0, le=1)
    min_foreground: float = Field(default=0.001, ge=0, le=1)


class StratifiedParams(ByScore):
    """How the picks are shared between classes.

    ``by`` 'predicted_class' asks about each predicted class alike; 'class_fractions' weighs
    the score by how much of a class is in the patch, for segmentation. ``plain_share`` of the
    picks ignores classes. ``beta`` adds power noise; None is greedy. ``balance_labelled``
    counts the labelled candidates that hold 1 % or more of a class, so that rare classes catch up. ``thin``
    spreads the batch: of N candidates and k picks, each pick blocks the thin·N/k nearest to it.
    """

    by: Literal["predicted_class", "class_fractions"] = "predicted_class"
    beta: float | None = Field(default=None, ge=0)
    plain_share: float = Field(default=0.0, ge=0, le=1)
    balance_labelled: bool = False
    skip_background: bool = False
    thin: float = Field(default=0.0, ge=0, lt=1)


@samplers.register("random")
def random(scored: ScoredPool, num: int, *, rng: np.random.Generator) -> Ints:
    """Every candidate alike: the yardstick."""
    return rng.permutation(scored.num)[: how_many(scored, num)].astype(np.int64)


@samplers.register("top_k", params=ByScore)
def top_k(scored: ScoredPool, num: int, *, rng: np.random.Generator, score: str = "margin") -> Ints:  # noqa: ARG001
    """The highest scores."""
    return best_rows(scored.score(score), how_many(scored, num))


@samplers.register("power_top_k", params=PowerParams)
def power_top_k(
    scored: ScoredPool, num: int, *, rng: np.random.Generator, score: str = "margin", beta: float = 1.0
) -> Ints:
    """Draw without replacement, in proportion to score^β (Kirsch et al. 2023, https://arxiv.org/abs/2106.12059)."""
    return best_rows(power_noise(scored.score(score), beta, rng), how_many(scored, num))


@samplers.register("gibbs_top_k", params=PowerParams)
def gibbs_top_k(
    scored: ScoredPool, num: int, *, rng: np.random.Generator, score: str = "margin", beta: float = 1.0
) -> Ints:
    """Draw without replacement, in proportion to exp(β · score): the softmax of the same paper."""
    return best_rows(gibbs_noise(scored.score(score), beta, rng), how_many(scored, num))


@samplers.register("soft_rank", params=PowerParams)
def soft_rank(
    scored: ScoredPool, num: int, *, rng: np.random.Generator, score: str = "margin", beta: float = 1.0
) -> Ints:
    """Draw without replacement, in proportion to rank^−β: only the order of the scores counts, not their scale."""
    return best_rows(rank_noise(scored.score(score), beta, rng), how_many(scored, num))


@samplers.register("random_extension", params=ExtensionParams)
def random_extension(
    scored: ScoredPool, num: int, *, rng: np.random.Generator, score: str = "margin", omega: float = 5.0
) -> Ints:
    """AIFT's randomisation: draw from the ω·num highest scores, likelier the higher (https://arxiv.org/abs/1802.00912)."""
    num = how_many(scored, num)
    window = best_rows(scored.score(score), min(scored.num, math.ceil(omega * num)))
    if num == 0 or len(window) == num:
        return window
    probabilities = extension_probabilities(scored.score(score)[window])
    drawable = int(np.count_nonzero(probabilities))
    drawn = rng.choice(len(window), size=min(num, drawable), replace=False, p=probabilities)
    # The window's last has probability 0: when too few are left, fill evenly from the rest of the window.
    rest = np.setdiff1d(np.arange(len(window)), drawn)
    filler = rng.choice(rest, size=num - len(drawn), replace=False)
    picks: Ints = window[np.concatenate([drawn, filler])]
    return picks


def extension_probabilities(descending: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Chance of each of a window's candidates, from its scores in descending order; even when all are equal."""
    above_last = descending.astype(np.float64) - float(descending[-1])
    total = float(above_last.sum())
    if total == 0:
        return np.full(len(descending), 1 / len(descending))
    return above_last / total


@samplers.register("foreground_random", params=ForegroundParams)
def foreground_random(
    scored: ScoredPool, num: int, *, rng: np.random.Generator, share: float = 2 / 3, min_foreground: float = 0.001
) -> Ints:
    """At random, but ``share`` of the picks where there is something other than background (nnActive's yardstick).

    What is foreground the score run's own column says, where it has one, and else the model's prediction. Where
    neither is known, or once no such candidate is left, the rest is drawn from everywhere.
    """
    num = how_many(scored, num)
    order = rng.permutation(scored.num)
    wanted = order[_holds_foreground(scored, min_foreground)[order]][: round(share * num)]
    others = order[~np.isin(order, wanted)][: num - len(wanted)]
    return np.concatenate([wanted, others]).astype(np.int64)


@samplers.register("class_stratified", params=StratifiedParams)
def class_stratified(
    scored: ScoredPool,
    num: int,
    *,
    rng: np.random.Generator,
    score: str = "margin",
    by: Literal["predicted_class", "class_fractions"] = "predicted_class",
    beta: float | None = None,
    plain_share: float = 0.0,
    balance_labelled: bool = False,
    skip_background: bool = False,
    thin: float = 0.0,
) -> Ints:
    """An equal share for every class the model predicts, each by score; what a class cannot fill goes to the others.

    With ``by: class_fractions`` and a ``plain_share`` it is the scheme of ClaSP PE (nnActive).
    """
    num = how_many(scored, num)
    scores = scored.score(score)
    noisy = partial(_noisy, beta=beta, rng=rng)
    depth = scored.num if thin else num
    if by == "class_fractions":
        queues = _queues_by_fraction(scored, depth, scores, noisy)
    else:
        queues = _queues_by_prediction(scored, depth, noisy(scores))
    if skip_background and len(queues) > 1:
        queues = [queue for queue in queues if queue.class_id != 0]
    already = [_num_holding(scored.labelled_fractions, q.class_id) if balance_labelled else 0 for q in queues]
    quotas = equal_quotas(num - round(plain_share * num), [len(queue.rows) for queue in queues], already)
    batch = Thinning(scored.embedding, math.ceil(thin * scored.num / max(1, num)))
    _in_turn(queues, quotas, batch)
    batch.fill(best_rows(noisy(scores), depth), num)
    return np.array(batch.picks, np.int64)


def equal_quotas(num: int, available: list[int], already: list[int]) -> list[int]:
    """Share ``num`` so that ``already`` + quota is as equal as it can be and no class gives more than it has."""
    quotas = [0] * len(available)
    for _ in range(min(num, sum(available))):
        open_classes = [c for c in range(len(available)) if quotas[c] < available[c]]
        poorest = min(open_classes, key=lambda c: (already[c] + quotas[c], available[c], c))
        quotas[poorest] += 1
    return quotas


def best_rows(values: npt.NDArray[np.floating], num: int) -> Ints:
    """Rows of the ``num`` highest values, highest first, lower row first among equals; no full sort."""
    if num == 0:
        return np.empty(0, np.int64)
    threshold = np.partition(values, len(values) - num)[len(values) - num]
    above = np.flatnonzero(values > threshold)
    equal = np.flatnonzero(values == threshold)[: num - len(above)]
    rows = np.concatenate([above, equal])
    return rows[np.lexsort((rows, -values[rows]))].astype(np.int64)


def _holds_foreground(scored: ScoredPool, min_foreground: float) -> npt.NDArray[np.bool_]:
    if scored.foreground is None:
        return scored.predicted_class > 0
    return (scored.foreground > 0) & (scored.foreground >= min_foreground)


@dataclass(frozen=True)
class _Queue:
    """Candidates for one class, best first, and how common the class is."""

    class_id: int
    rows: Ints
    how_common: float


def _num_holding(labelled_fractions_LC: Floats, class_id: int) -> int:
    """Labelled candidates of which a class has a share that can be learnt from."""
    if class_id >= labelled_fractions_LC.shape[1]:
        return 0
    return int(np.sum(labelled_fractions_LC[:, class_id] >= _HOLDS))


def _queues_by_fraction(
    scored: ScoredPool, num: int, scores: Floats, noisy: Callable[[Floats], AnyFloats]
) -> list[_Queue]:
    """For every class the ``num`` candidates, of those that seem to hold it, whose score times share of it is highest.

    What the model has never seen it finds nowhere: its quota is better spent on classes that it does find.
    """
    queues = []
    for class_id, of_N in enumerate(scored.class_fractions.T):
        rows = np.flatnonzero(of_N >= _HOLDS)
        priority = noisy(scores[rows] * of_N[rows])
        queues.append(_Queue(class_id, rows[best_rows(priority, min(num, len(rows)))], float(of_N.sum())))
    return queues


def _queues_by_prediction(scored: ScoredPool, num: int, priority: AnyFloats) -> list[_Queue]:
    """For every class predicted anywhere, its ``num`` best candidates."""
    queues = []
    for class_id in np.unique(scored.predicted_class):
        rows = np.flatnonzero(scored.predicted_class == class_id)
        queues.append(_Queue(int(class_id), rows[best_rows(priority[rows], min(num, len(rows)))], len(rows)))
    return queues


def _in_turn(queues: list[_Queue], quotas: list[int], batch: Thinning) -> None:
    """One from each class in turn, the rarest class first, until the quotas are spent."""
    turns = sorted((c for c in range(len(queues)) if quotas[c]), key=lambda c: (queues[c].how_common, c))
    waiting = {c: iter(queues[c].rows) for c in turns}
    left = list(quotas)
    while any(left[c] for c in turns):
        for c in turns:
            picked = left[c] > 0 and any(batch.take(int(row)) for row in waiting[c])
            left[c] = left[c] - 1 if picked else 0


def _noisy(scores: Floats, *, beta: float | None, rng: np.random.Generator) -> AnyFloats:
    return scores if beta is None else power_noise(scores, beta, rng)
