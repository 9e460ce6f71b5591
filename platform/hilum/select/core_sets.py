"""A few candidates of a shard that stand for it, so that a round can be picked from those of all shards.

Farthest-first picks of farthest-first picks cover the pool within four times the least radius that as many
picks can have beside what is labelled, where one process has two times (Malkomes et al. 2015,
https://papers.nips.cc/paper/5997). For k-means++ no bound is claimed: its core-set's points are weighted by how
many candidates they stand for, and drawn again.

Shape letters: N = candidates of the shard, K = its core-set, D = embedding.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hilum.select.labelled import nearest_labelled
from hilum.select.scored import HalfOrFloats, Ints, ScoredPool


def core_set(
    scored: ScoredPool, samplers: Sequence[Callable[..., Ints]], num: int, *, rng: np.random.Generator
) -> Ints:
    """The rows that ``samplers`` pick, ``num`` each, in their order in the pool. All rows when they are no more."""
    if scored.num <= num:
        return np.arange(scored.num)
    return np.unique(np.concatenate([sampler(scored, num, rng=rng) for sampler in samplers]))


def num_nearest(points_ND: HalfOrFloats, core_set_KD: HalfOrFloats) -> Ints:
    """(K) how many points are nearest to each point of the core-set; 1 for one whose twin has them all."""
    nearest, _ = nearest_labelled(points_ND, core_set_KD)
    return np.maximum(1, np.bincount(nearest, minlength=len(core_set_KD))).astype(np.int64)
