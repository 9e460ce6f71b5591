"""How hard candidates are to contrast: a linear head learns to tell views of one from views of all others.

Shape letters: N = candidates, V = views, B = candidates of a batch, R = 2·B rows of it, the second half the other views
of the first, D = embedding, P = what the head makes of it.
"""

from functools import partial

import numpy as np
import numpy.typing as npt

from hilum.select.compiled import compiled
from hilum.select.scored import Floats, HalfOrFloats, Ints

Doubles = npt.NDArray[np.float64]

_HEAD_SIZE = 64
_LEARNING_RATE = 0.5
_MOMENTUM = 0.9
_SHORTEST = 1e-6
_ROWS_AT_ONCE = 4096


def contrast_confidence(
    views_NVD: HalfOrFloats, *, rng: np.random.Generator, num_epochs: int, batch_size: int, temperature: float
) -> Doubles:
    """How surely a candidate's own other view is found among a batch's, 0 to 1: the mean over the epochs (CSVAL).

    In every epoch each candidate shows two of its views, and a linear head on their embeddings takes a step of
    InfoNCE with each batch. What is kept is the softmax probability of the right one among the 2·B − 1 others, of
    both views. Batches are of one size, give or take one: the probability depends on how many the others are.
    """
    num, num_views, size = views_NVD.shape
    centre_D, scale = _centre_and_scale(views_NVD)
    head_DP = (rng.standard_normal((size, _HEAD_SIZE)) / np.sqrt(_HEAD_SIZE)).astype(np.float32)
    velocity_DP = np.zeros_like(head_DP)
    total_N = np.zeros(num)
    for _ in range(num_epochs):
        for batch in np.array_split(rng.permutation(num), -(-num // batch_size)):
            seen_RD = (_two_views(views_NVD, batch, num_views, rng) - centre_D) / scale
            probs_R, gradient_DP = contrast_step(seen_RD, head_DP, np.float32(temperature))
            total_N[batch] += probs_R.reshape(2, -1).mean(axis=0, dtype=np.float64)
            velocity_DP = _MOMENTUM * velocity_DP + gradient_DP
            head_DP = (head_DP - np.float32(_LEARNING_RATE) * velocity_DP).astype(np.float32)
    return total_N / num_epochs


def _two_views(views_NVD: HalfOrFloats, batch: Ints, num_views: int, rng: np.random.Generator) -> Floats:
    """Two different views of every candidate of a batch: (R, D), first the ones, then the others."""
    first_B = rng.integers(num_views, size=len(batch))
    second_B = (first_B + rng.integers(1, num_views, size=len(batch))) % num_views
    seen_RD: Floats = np.concatenate([views_NVD[batch, first_B], views_NVD[batch, second_B]]).astype(np.float32)
    return seen_RD


def _centre_and_scale(views_NVD: HalfOrFloats) -> tuple[Floats, np.float32]:
    """The mean of all views, and the root of the mean squared distance to it (1 where all are at one place)."""
    num = views_NVD.shape[0] * views_NVD.shape[1]
    starts = range(0, len(views_NVD), _ROWS_AT_ONCE)
    blocks = partial(map, lambda start: views_NVD[start : start + _ROWS_AT_ONCE].astype(np.float64), starts)
    centre_D = sum(block.sum(axis=(0, 1)) for block in blocks()) / num
    spread = float(np.sqrt(sum(float(((block - centre_D) ** 2).sum()) for block in blocks()) / num))
    return np.asarray(centre_D, np.float32), np.float32(spread if spread > _SHORTEST else 1.0)


@compiled
def contrast_step(rows_RD: Floats, head_DP: Floats, temperature: np.float32) -> tuple[Floats, Floats]:
    """Each row's probability of its partner, and the gradient of the mean of −log of it for the head."""
    num, size = rows_RD.shape[0], head_DP.shape[1]
    made_RP = _product(rows_RD, head_DP)
    length_R = np.empty(num, np.float32)
    for r in range(num):
        squared = np.float32(0)
        for p in range(size):
            squared += made_RP[r, p] * made_RP[r, p]
        length_R[r] = max(np.sqrt(squared), np.float32(_SHORTEST))
        made_RP[r] /= length_R[r]
    slope_RR = _product(made_RP, np.ascontiguousarray(made_RP.T))
    probs_R = _to_slopes(slope_RR, temperature)
    back_RP = _product(slope_RR + slope_RR.T, made_RP)
    for r in range(num):
        along = np.float32(0)
        for p in range(size):
            along += made_RP[r, p] * back_RP[r, p]
        for p in range(size):
            back_RP[r, p] = (back_RP[r, p] - made_RP[r, p] * along) / length_R[r]
    return probs_R, _product(np.ascontiguousarray(rows_RD.T), back_RP)


@compiled
def _to_slopes(cosine_RR: Floats, temperature: np.float32) -> Floats:
    """Turn cosines into the loss's slopes by them, in place; returns each row's probability of its partner."""
    num = cosine_RR.shape[0]
    probs_R = np.empty(num, np.float32)
    for r in range(num):
        row = cosine_RR[r]
        row[r] = -np.inf
        highest = row.max()
        total = np.float32(0)
        for k in range(num):
            row[k] = np.float32(0) if k == r else np.exp((row[k] - highest) / temperature)
            total += row[k]
        partner = (r + num // 2) % num
        probs_R[r] = row[partner] / total
        for k in range(num):
            row[k] = row[k] / total
        row[partner] -= np.float32(1)
        for k in range(num):
            row[k] /= temperature * num
    return probs_R


@compiled
def _product(one_NK: Floats, other_KM: Floats) -> Floats:
    """The product of two matrices. No BLAS: its sums depend on its threads."""
    made_NM = np.zeros((one_NK.shape[0], other_KM.shape[1]), np.float32)
    for n in range(one_NK.shape[0]):
        for k in range(one_NK.shape[1]):
            value = one_NK[n, k]
            for m in range(other_KM.shape[1]):
                made_NM[n, m] += value * other_KM[k, m]
    return made_NM
