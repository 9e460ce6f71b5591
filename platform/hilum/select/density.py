"""Information density: unsure, and like many others.

Shape letters: N = candidates, D = embedding.
"""

import numpy as np
from pydantic import Field

from hilum.core.errors import RecipeError
from hilum.core.registry import samplers
from hilum.select.noise import power_noise
from hilum.select.samplers import ByScore, best_rows
from hilum.select.scored import Ints, ScoredPool, how_many
from hilum.select.tiles import unit_length


class DensityParams(ByScore):
    """``density`` is the power of the mean likeness to the pool; ``beta`` adds power noise, None is greedy."""

    density: float = Field(default=1.0, ge=0)
    beta: float | None = Field(default=None, ge=0)


@samplers.register("information_density", params=DensityParams)
def information_density(
    scored: ScoredPool,
    num: int,
    *,
    rng: np.random.Generator,
    score: str = "margin",
    density: float = 1.0,
    beta: float | None = None,
) -> Ints:
    """The highest score × (mean likeness to the open pool)^density (Settles & Craven 2008, https://aclanthology.org/D08-1112).

    Likeness is (1 + cosine) / 2, never negative, so that its mean over the pool is one product with the pool's mean
    direction: O(N·D), exact at any size.
    """
    num = how_many(scored, num)
    if num == 0:
        return np.empty(0, np.int64)
    if not scored.embedding.shape[1]:
        raise RecipeError(
            "Sampler 'information_density' compares embeddings and this pool has none; score the pool first."
        )
    directions_ND = unit_length(scored.embedding)
    mean_D = directions_ND.mean(axis=0, dtype=np.float64)
    # einsum, not BLAS, whose sums depend on its threads.
    likeness_N = np.maximum((1 + np.einsum("nd,d->n", directions_ND, mean_D)) / 2, 0)
    values_N = scored.score(score) * likeness_N**density
    # Equal scores at one place differ by rounding only; the lower id is asked first.
    values_N = np.round(values_N, 12).astype(np.float32)
    return best_rows(values_N if beta is None else power_noise(values_N, beta, rng), num)
