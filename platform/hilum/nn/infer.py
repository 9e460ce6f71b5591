"""Whole volumes from patches: a sliding window whose windows are blended by a Gaussian.

Shape letters: C = channels or classes, N = windows, Z, Y, X = space. Only one window's
batch and the sum of one region are held; images are read window by window.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.geometry import Patch, Zyx, tile

Floats = npt.NDArray[np.float32]

_SIGMA_SHARE = 1 / 8
_SMALLEST_WEIGHT = 1e-3


def sliding_window(
    region: Patch,
    window_shape_zyx: Zyx,
    *,
    read: Callable[[Patch], Floats],
    predict: Callable[[Floats], Floats],
    overlap: float = 0.5,
    batch_size: int = 4,
) -> Floats:
    """Probabilities (C, Z, Y, X) of ``region``.

    ``read`` returns a window's normalised voxels (C, Z, Y, X), ``predict`` the probabilities
    (N, C, Z, Y, X) of a batch. A window longer than the region is cut to it.
    """
    shape = _smaller(window_shape_zyx, region.shape_zyx)
    starts = tile(region.shape_zyx, shape, _stride(shape, overlap))
    weight_ZYX = gaussian_weight(shape)
    total: Floats | None = None
    weights_ZYX = np.zeros(region.shape_zyx, np.float32)
    for batch in _batches(starts, batch_size):
        windows = [Patch(region.volume_id, _add(region.start_zyx, start), shape) for start in batch]
        probs_NCZYX = predict(np.stack([read(window) for window in windows]))
        if total is None:
            total = np.zeros((probs_NCZYX.shape[1], *region.shape_zyx), np.float32)
        for start, probs_CZYX in zip(batch, probs_NCZYX, strict=True):
            inside = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
            total[(slice(None), *inside)] += probs_CZYX * weight_ZYX
            weights_ZYX[inside] += weight_ZYX
    assert total is not None, "a region holds at least one window"
    total /= weights_ZYX
    return total


def gaussian_weight(shape_zyx: Zyx) -> Floats:
    """How much a window's voxels count: most in the middle (nnU-Net, https://doi.org/10.1038/s41592-020-01008-z)."""
    weight: npt.NDArray[np.float64] = np.ones((1, 1, 1))
    for axis, size in enumerate(shape_zyx):
        sigma = max(size * _SIGMA_SHARE, 0.5)
        along = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / sigma) ** 2)
        weight = weight * along.reshape([size if a == axis else 1 for a in range(3)])
    return np.maximum(weight, _SMALLEST_WEIGHT).astype(np.float32)


def _stride(shape_zyx: Zyx, overlap: float) -> Zyx:
    z, y, x = (max(1, int(size * (1 - overlap))) for size in shape_zyx)
    return z, y, x


def _smaller(one: Zyx, other: Zyx) -> Zyx:
    z, y, x = (min(a, b) for a, b in zip(one, other, strict=True))
    return z, y, x


def _add(one: Zyx, other: Zyx) -> Zyx:
    z, y, x = (a + b for a, b in zip(one, other, strict=True))
    return z, y, x


def _batches(starts: Iterable[Any], size: int) -> Iterable[list[Any]]:
    rest = iter(starts)
    while batch := list(islice(rest, size)):
        yield batch
