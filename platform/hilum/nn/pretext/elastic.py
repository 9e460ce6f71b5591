"""Elastic bending within slices, as Semantic Genesis does it.

Shape letters: C = channels, Z, Y, X = space.
"""

import math

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from hilum.nn.pretext.pretext import Floats

_WIDTH = 64


def bent_in_plane(crop_CZYX: Floats, rng: np.random.Generator, *, alpha: float, sigma: float) -> Floats:
    """The crop, its voxels moved along Y and X by noise between −1 and 1, blurred by ``sigma`` voxels, times ``alpha``.

    Linear interpolation; what lies outside is the mirror image. Both numbers are for crops 64 voxels wide; 991 and 8
    move their voxels by about four either way. Ours: others are bent as much for their width, and flat ones, whose
    noise is blurred along one axis less and so stays larger, as much as blocks.
    """
    _, *space = crop_CZYX.shape
    wide = space[2] / _WIDTH
    # Blurring leaves noise the smaller, the more voxels there are under the bell: (2σ√π) along each axis.
    alpha *= wide**2 / math.sqrt(2 * sigma * math.sqrt(math.pi)) if space[0] == 1 else wide**2.5
    sigma *= wide
    moves = [alpha * gaussian_filter(rng.uniform(-1, 1, space).astype(np.float32), sigma, mode="reflect") for _ in "yx"]
    z, y, x = np.meshgrid(*(np.arange(length, dtype=np.float32) for length in space), indexing="ij")
    places = np.stack([z, y + moves[0], x + moves[1]])
    return np.stack([map_coordinates(channel, places, order=1, mode="reflect") for channel in crop_CZYX])
