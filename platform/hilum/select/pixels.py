"""What a candidate looks like, before any model has looked: an embedding from its intensities alone.

Shape letters: N = candidates, C = channels, D = embedding; Z, Y, X = space.
"""

import numpy as np

from hilum.select.scored import Floats

EMBEDDING_SIZE = 64
_GRID_ZYX = (4, 16, 16)


def pixel_embedding(images_NCZYX: Floats, *, seed: int) -> Floats:
    """Intensities averaged on a coarse grid and projected at random (Johnson-Lindenstrauss) to 64 numbers.

    The projection depends only on ``seed`` and the number of channels, so that candidates
    of different sizes can be compared.
    """
    coarse = images_NCZYX.astype(np.float32)
    for axis, size in zip((2, 3, 4), _GRID_ZYX, strict=True):
        coarse = _averaged(coarse, axis, size)
    flat = coarse.reshape(len(coarse), int(np.prod(coarse.shape[1:])))
    rng = np.random.default_rng([seed, images_NCZYX.shape[1]])
    projection = rng.standard_normal((flat.shape[1], EMBEDDING_SIZE)) / np.sqrt(EMBEDDING_SIZE)
    # einsum, not BLAS: one candidate alone and among others must get the same numbers.
    embedding: Floats = np.einsum("nf,fd->nd", flat.astype(np.float64), projection).astype(np.float32)
    return embedding


def _averaged(images: Floats, axis: int, size: int) -> Floats:
    """``size`` equal stretches of an axis, each averaged; an axis shorter than that repeats its voxels."""
    length = images.shape[axis]
    edges = [(i * length // size, max(i * length // size + 1, (i + 1) * length // size)) for i in range(size)]
    stretches = [np.take(images, range(low, high), axis=axis).mean(axis=axis) for low, high in edges]
    averaged: Floats = np.stack(stretches, axis=axis)
    return averaged
