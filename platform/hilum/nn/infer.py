"""Whole volumes from patches: a sliding window whose windows are blended by a Gaussian.

Shape letters: C = channels or classes, N = windows, Z, Y, X = space. Only one window's
batch and the sum of one region are held; images are read window by window.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hilum.core.geometry import Patch, Zyx, tile

Floats = npt.NDArray[np.float32]

_SIGMA_SHARE = 1 / 8
_SMALLEST_WEIGHT = 1e-3


class Blend:
    """Windows of one region, and what was said of them so far: most counts what was said of a window's middle."""

    def __init__(self, shape_zyx: Zyx, window_shape_zyx: Zyx, overlap: float) -> None:
        self.window_shape_zyx = _smaller(window_shape_zyx, shape_zyx)
        self.starts = tile(shape_zyx, self.window_shape_zyx, _stride(self.window_shape_zyx, overlap))
        self._shape_zyx = shape_zyx
        self._weight_ZYX = _kept_weight(self.window_shape_zyx)
        self._weights_ZYX = torch.zeros(shape_zyx)
        self._total: torch.Tensor | None = None

    def add(self, start_zyx: Zyx, values_CZYX: Floats) -> None:
        """Take in what was said of the window that begins at ``start_zyx``."""
        if self._total is None:
            self._total = torch.zeros((len(values_CZYX), *self._shape_zyx))
        inside = tuple(slice(a, a + n) for a, n in zip(start_zyx, self.window_shape_zyx, strict=True))
        self._total[(slice(None), *inside)].addcmul_(torch.from_numpy(values_CZYX), self._weight_ZYX)
        self._weights_ZYX[inside] += self._weight_ZYX

    def mean(self) -> Floats:
        """(C, Z, Y, X), once all windows were added."""
        assert self._total is not None, "a region holds at least one window"
        blended: Floats = self._total.div_(self._weights_ZYX).numpy()
        return blended


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
    blend = Blend(region.shape_zyx, window_shape_zyx, overlap)
    for batch in _batches(blend.starts, batch_size):
        windows = [Patch(region.volume_id, _add(region.start_zyx, start), blend.window_shape_zyx) for start in batch]
        probs_NCZYX = predict(np.stack([read(window) for window in windows]))
        for start, probs_CZYX in zip(batch, probs_NCZYX, strict=True):
            blend.add(start, probs_CZYX)
    return blend.mean()


def gaussian_weight(shape_zyx: Zyx) -> Floats:
    """How much a window's voxels count: most in the middle (nnU-Net, https://doi.org/10.1038/s41592-020-01008-z)."""
    weight: npt.NDArray[np.float64] = np.ones((1, 1, 1))
    for axis, size in enumerate(shape_zyx):
        sigma = max(size * _SIGMA_SHARE, 0.5)
        along = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / sigma) ** 2)
        weight = weight * along.reshape([size if a == axis else 1 for a in range(3)])
    return np.maximum(weight, _SMALLEST_WEIGHT).astype(np.float32)


@lru_cache(maxsize=16)
def _kept_weight(shape_zyx: Zyx) -> torch.Tensor:
    """Only read: many images share it."""
    return torch.from_numpy(gaussian_weight(shape_zyx))


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
