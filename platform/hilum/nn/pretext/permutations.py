"""Orders of tiles that are easy to tell apart.

Shape letters: P = permutations, T = tiles.
"""

import math
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

Orders = npt.NDArray[np.int64]

_NUM_TRIED = 4096
_SEED = 20160330


@lru_cache
def far_apart(num_tiles: int, num: int) -> Orders:
    """``num`` distinct orders (P, T) of tiles, each chosen as different as can be from those before it.

    Different is the number of places at which two orders differ (Hamming distance,
    https://arxiv.org/abs/1603.09246): the order whose smallest distance to those chosen is the largest comes next.
    There are only T! orders; where that is too many to look at all, a fixed drawing of them is looked at.
    The same on every call: no seed of a recipe is in it.
    """
    tried_PT = _tried(num_tiles)
    chosen = [0]
    nearest_P = (tried_PT != tried_PT[0]).sum(axis=1)
    for _ in range(min(num, len(tried_PT)) - 1):
        chosen.append(int(nearest_P.argmax()))
        np.minimum(nearest_P, (tried_PT != tried_PT[chosen[-1]]).sum(axis=1), out=nearest_P)
    orders = tried_PT[chosen]
    orders.setflags(write=False)
    return orders


def _tried(num_tiles: int) -> Orders:
    if math.factorial(num_tiles) <= _NUM_TRIED:
        return np.array(list(permutations(range(num_tiles))), np.int64)
    rng = np.random.default_rng([_SEED, num_tiles])
    drawn_PT = np.array([rng.permutation(num_tiles) for _ in range(_NUM_TRIED)], np.int64)
    _, first = np.unique(drawn_PT, axis=0, return_index=True)
    return drawn_PT[np.sort(first)]
