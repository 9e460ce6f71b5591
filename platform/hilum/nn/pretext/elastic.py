"""Elastic bending within slices, as Semantic Genesis does it.

Shape letters: C = channels, Z, Y, X = space.
"""

import math

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from hilum.nn.pretext.pretext import Floats


def bent_in_plane(crop_CZYX: Floats, rng: np.random.Generator, *, alpha: float, sigma: float) -> Floats:
    """The crop, its voxels moved along Y and X by noise between −1 and 1, blurred by ``sigma`` voxels, times ``alpha``.

    Linear interpolation; what lies outside is the mirror image. A flat crop's noise is blurred along one axis less and
    would be larger by √(2σ√π), so that is taken off again: 991 and 8 move voxels by about four either way.
    """
    _, *space = crop_CZYX.shape
    if space[0] == 1:
        alpha /= math.sqrt(2 * sigma * math.sqrt(math.pi))
    moves = [alpha * gaussian_filter(rng.uniform(-1, 1, space).astype(np.float32), sigma, mode="reflect") for _ in "yx"]
    z, y, x = np.meshgrid(*(np.arange(length, dtype=np.float32) for length in space), indexing="ij")
    places = np.stack([z, y + moves[0], x + moves[1]])
    return np.stack([map_coordinates(channel, places, order=1, mode="reflect") for channel in crop_CZYX])
