"""Intensities as every network sees them."""

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError


def normalise(image_CZYX: npt.NDArray[np.generic], low: float, high: float) -> npt.NDArray[np.float32]:
    """Map ``low`` … ``high`` (the volume's own, found at ingest) to 0 … 1 and clip what is beyond."""
    if not high > low:
        raise DataError(f"Cannot normalise between low {low:g} and high {high:g}: high must be above low.")
    scaled = (np.asarray(image_CZYX, dtype=np.float32) - np.float32(low)) * np.float32(1.0 / (high - low))
    return np.clip(scaled, 0.0, 1.0, out=scaled)
