"""Masks as they come from organs, vessels and noise, and from nothing at all."""

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

KINDS = ("organ", "vessel", "salt", "blocks", "empty", "full", "pixel")
any_small_mask = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


@st.composite
def random_masks(draw: st.DrawFn) -> np.ndarray:
    """Any shape up to 96 × 96, any kind, any seed."""
    shape = draw(st.tuples(st.integers(1, 96), st.integers(1, 96)))
    return mask(draw(st.sampled_from(KINDS)), shape, draw(st.integers(0, 2**32 - 1)))


def mask(kind: str, shape_yx: tuple[int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    match kind:
        case "organ":
            return _smooth(rng, shape_yx, max(shape_yx) / 12) > 0
        case "vessel":
            return np.abs(_smooth(rng, shape_yx, 2)) < 0.2
        case "salt":
            return rng.random(shape_yx) < rng.random()
        case "blocks":
            coarse = rng.random([-(-n // 5) for n in shape_yx]) < 0.5
            return coarse.repeat(5, 0).repeat(5, 1)[: shape_yx[0], : shape_yx[1]]
        case "empty":
            return np.zeros(shape_yx, bool)
        case "full":
            return np.ones(shape_yx, bool)
        case _:
            only = np.zeros(shape_yx, bool)
            only[tuple(rng.integers(0, shape_yx))] = True
            return only


def thousand_masks() -> Iterator[np.ndarray]:
    """A thousand: nearly all small, some as large as slices are, two of 2,048 × 2,048."""
    rng = np.random.default_rng(5)
    for k in range(1000):
        largest = 2048 if k in {0, 500} else 512 if k % 50 == 0 else 128
        shape = (2048, 2048) if largest == 2048 else tuple(int(n) for n in rng.integers(1, largest + 1, 2))
        kind = "organ" if k == 0 else "salt" if k == 500 else KINDS[k % len(KINDS)]
        yield mask(kind, shape, k)


def _smooth(rng: np.random.Generator, shape_yx: tuple[int, int], sigma: float) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.normal(size=shape_yx).astype(np.float32), sigma, truncate=2)
    return noise / (noise.std() + 1e-9)
