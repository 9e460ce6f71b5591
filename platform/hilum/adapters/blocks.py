"""Blocks of voxels around places in the world, cut out of a scan that lies as every other one does.

Shape letters: C = channels, Z, Y, X = space. World coordinates of the sets are LPS
millimetres, as ITK and DICOM have them; those of a Grid are RAS+.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hilum.adapters.preparation import reoriented
from hilum.core.errors import DataError
from hilum.core.geometry import Grid, Zyx
from hilum.core.sources import ReadImage, Voxels

AIR_HU, DENSEST_HU = -1000, 1000
"""Models Genesis clips here (https://arxiv.org/abs/2004.07882): below is padding of scanners, above is metal."""


def laid_lps(scan: ReadImage) -> ReadImage:
    """The scan with its axes X, Y, Z running to left, back and head, so that blocks of all scans lie alike.

    No voxel changes its value or its place. DataError when the file does not say how it lies.
    """
    if {"no_orientation", "position_unknown"} & {*scan.flags}:
        raise DataError("The scan does not say how it lies in the world, so its coordinates lead nowhere.")
    return reoriented(scan, "LPS")


def clipped_hu(scan: ReadImage) -> ReadImage:
    """Hounsfield units from air to dense bone, as whole numbers."""
    scan.check_finite()
    clipped = np.rint(np.clip(scan.image_czyx, AIR_HU, DENSEST_HU)).astype(np.int16)
    return replace(scan, image_czyx=clipped)


def ras_of_lps(place_mm: Sequence[float]) -> tuple[float, float, float]:
    """The same place in the other frame; the other way round it is the same."""
    x, y, z = place_mm
    return -x, -y, z


def start_around(grid: Grid, place_mm_ras: Sequence[float], shape_zyx: Zyx) -> Zyx:
    """Where a block begins whose voxel ``shape // 2`` is the one nearest to the place.

    It may reach beyond the scan. DataError when the place itself lies outside.
    """
    index = np.floor(grid.world_to_index(place_mm_ras) + 0.5).astype(int)
    if (index < 0).any() or (index >= grid.shape_zyx).any():
        x, y, z = ras_of_lps(place_mm_ras)
        raise DataError(
            f"({x:g}, {y:g}, {z:g}) lies outside the scan; coordinates must be LPS millimetres (x to the left, "
            "y to the back, z to the head), as in LUNA16."
        )
    z, y, x = (int(at) - size // 2 for at, size in zip(index, shape_zyx, strict=True))
    return z, y, x


def cut(voxels_ZYX: Voxels, start_zyx: Zyx, shape_zyx: Zyx, *, outside: int) -> Voxels:
    """The block that begins at ``start_zyx``; where it reaches beyond the scan it is filled with ``outside``."""
    block: npt.NDArray[np.generic] = np.full(shape_zyx, outside, dtype=voxels_ZYX.dtype)
    inside = [
        (max(0, start), min(size, start + length))
        for start, length, size in zip(start_zyx, shape_zyx, voxels_ZYX.shape, strict=True)
    ]
    target = tuple(slice(low - start, high - start) for (low, high), start in zip(inside, start_zyx, strict=True))
    block[target] = voxels_ZYX[tuple(slice(low, high) for low, high in inside)]
    return block
