"""What has to be known of a scan before crops are cut from it, found by one look at it.

Shape letters: C = channels, Z, Y, X = space.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError
from hilum.core.geometry import Zyx
from hilum.core.imaging import HOUNSFIELD, Volume
from hilum.core.percentiles import percentiles
from hilum.core.recipes import WINDOWS_HU, SamplingRecipe
from hilum.nn.parts import Mask, largest_part
from hilum.steps.scan_voxels import ScanVoxels, Voxels

_CT_WINDOW_HU = (-1000.0, 1000.0)
_LOOK_VOXELS = 64
_MAX_CENTRES = 4096


@dataclass(frozen=True)
class Look:
    """Grey levels that become 0 and 1, and voxels (Z, Y, X) around which crops are cut; None: anywhere.

    A centre stands for the ``every_zyx`` voxels from it on.
    """

    low: float
    high: float
    centres_zyx: npt.NDArray[np.int32] | None = None
    every_zyx: Zyx = (1, 1, 1)


def look_at(volume: Volume, voxels: ScanVoxels, sampling: SamplingRecipe) -> Look:
    """One look at a scan, no more of it than the recipe needs."""
    every = _every(volume)
    needs_voxels = sampling.inside != "anywhere" or sampling.window.percentiles is not None
    thinned = voxels.thinned_CZYX(volume, every) if needs_voxels else None
    low, high = _window(volume, sampling, thinned)
    if thinned is None or sampling.inside == "anywhere":
        return Look(low, high)
    if sampling.inside == "labels" and volume.has_label_map:
        labelled = voxels.labelled_ZYX(volume)
        if len(labelled):
            return Look(low, high, _some(labelled))
    body = _body(volume, np.any(thinned > volume.background_level, axis=0), every)
    return Look(low, high, _some(body), every) if len(body) else Look(low, high)


def check_hounsfield(volume: Volume, asked: str) -> None:
    """DataError where ``asked`` is in Hounsfield units and the scan is not."""
    if volume.modality not in HOUNSFIELD:
        raise DataError(
            f"{asked} is in Hounsfield units and volume {volume.volume_id} is {volume.modality}; leave it out, or "
            "pretrain on CT alone."
        )


def _window(volume: Volume, sampling: SamplingRecipe, thinned_CZYX: Voxels | None) -> tuple[float, float]:
    window = sampling.window
    if window.preset is not None:
        return WINDOWS_HU[window.preset]
    if window.low is not None and window.high is not None:
        return window.low, window.high
    if window.percentiles is None:
        return _CT_WINDOW_HU if volume.modality == "CT" else (volume.low, volume.high)
    assert thinned_CZYX is not None, "`look_at` reads voxels for percentiles"
    low, high = percentiles(thinned_CZYX, window.percentiles)
    return low, high if high > low else low + 1.0


def _body(volume: Volume, above_ZYX: Mask, every_zyx: Zyx) -> npt.NDArray[np.int64]:
    """Voxels (Z, Y, X) of the largest connected thing in each item that stands out of its background."""
    depth = volume.item_shape_zyx[0]
    thin_depth = len(range(0, depth, every_zyx[0]))
    found = []
    for item in range(volume.num_items):
        largest = largest_part(above_ZYX[item * thin_depth : (item + 1) * thin_depth])
        found.append(np.argwhere(largest) * every_zyx + (item * depth, 0, 0))
    return np.concatenate(found)


def _every(volume: Volume) -> Zyx:
    z, y, x = (max(1, size // _LOOK_VOXELS) for size in volume.item_shape_zyx)
    return z, y, x


def _some(places_ZYX: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """All of the places, or as many as are kept, spread evenly over them."""
    if len(places_ZYX) > _MAX_CENTRES:
        places_ZYX = places_ZYX[np.linspace(0, len(places_ZYX) - 1, _MAX_CENTRES).astype(np.int64)]
    return places_ZYX.astype(np.int32)
