"""How many voxels of a scan a crop takes."""

from hilum.core.geometry import Zyx
from hilum.core.imaging import Volume
from hilum.core.recipes import SamplingRecipe

Sizes = tuple[Zyx, ...]
"""Sizes of crop (Z, Y, X) in a scan's own voxels, one for every scale that it has room for."""

_SPACING_UNKNOWN = "spacing_unknown"


def sizes_of(volume: Volume, sampling: SamplingRecipe, patch_shape_zyx: Zyx) -> Sizes:
    """The sizes of crop that the scan has room for; none for a scan of unknown spacing where millimetres matter."""
    if sampling.spacing_mm_zyx is not None and _SPACING_UNKNOWN in volume.flags:
        return ()
    sizes = (_size(volume, sampling, patch_shape_zyx, scale) for scale in sampling.scales)
    return tuple(size for size in sizes if _has_room(volume, sampling, size))


def _size(volume: Volume, sampling: SamplingRecipe, patch_shape_zyx: Zyx, scale: float) -> Zyx:
    wanted_mm = sampling.spacing_mm_zyx or (None, None, None)
    axes = zip(patch_shape_zyx, wanted_mm, volume.grid.spacing_mm_zyx, strict=True)
    z, y, x = (max(1, round(n * scale * (1 if mm is None else mm / own_mm))) for n, mm, own_mm in axes)
    # A patch of one slice is an image: it stays one slice, however thick that is.
    return (1 if patch_shape_zyx[0] == 1 else z), y, x


def _has_room(volume: Volume, sampling: SamplingRecipe, size_zyx: Zyx) -> bool:
    axes = zip(size_zyx, sampling.borders_zyx, volume.item_shape_zyx, strict=True)
    return all(size + 2 * border <= have for size, border, have in axes)
