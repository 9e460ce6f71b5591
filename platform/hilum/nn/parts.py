"""Connected parts of a mask. Shape letters: Z, Y, X = space."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]


def largest_part(mask_ZYX: Mask) -> Mask:
    """The largest connected part of a mask; empty when the mask is."""
    parts, num_parts = ndimage.label(mask_ZYX)
    if num_parts == 0:
        return np.zeros(mask_ZYX.shape, bool)
    return np.asarray(parts == 1 + int(np.bincount(parts.ravel())[1:].argmax()))
