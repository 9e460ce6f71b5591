"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz), read to the last checksum.

Array axes are the file's, reversed: (i, j, k) becomes (Z, Y, X) = (k, j, i), and nothing is
resampled. World coordinates are RAS+ millimetres. Only voxels and geometry come out: names,
descriptions and extensions, where patients hide, stay behind.
"""

import math
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from hilum.adapters.hostile import MAX_BYTES, check_size, gunzip, gunzip_start, is_gzip, refusing, storable
from hilum.core.errors import DataError
from hilum.core.geometry import Grid

NIFTI1_BYTES, NIFTI2_BYTES = 348, 540
MAX_CHANNELS = 64
MAX_EXTENSION_BYTES = 16 << 20
_SLACK_BYTES = 64 << 10
_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


def read_nifti(payload: bytes, *, max_bytes: int = MAX_BYTES) -> tuple[npt.NDArray[Any], Grid]:
    """The voxels (C, Z, Y, X) and grid of a NIfTI file; a fourth axis, or RGB, becomes channels."""
    with refusing("NIfTI"):
        start = gunzip_start(payload, NIFTI2_BYTES) if is_gzip(payload) else payload[:NIFTI2_BYTES]
        kind = _kind(start)
        header = kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)
        end = _end_of_voxels(header, max_bytes)
        if is_gzip(payload):
            payload = gunzip(payload, at_most=end + _SLACK_BYTES)
        if len(payload) < end:
            raise DataError(f"The file is cut short: {len(payload):,} bytes of {end:,}.")
        image = kind.from_bytes(payload)
        return _channels_first(_voxels(image)), _grid(image)


def grid_of(affine: npt.NDArray[np.float64], shape_zyx: tuple[int, int, int]) -> Grid:
    """The grid of an affine from voxel (i, j, k) to RAS+ millimetres. Refused when it has no inverse."""
    if not np.isfinite(affine).all():
        raise DataError("The affine is not finite: the voxels' place in space is unknown.")
    columns_kji = affine[:3, :3][:, ::-1]
    spacing = np.sqrt((columns_kji**2).sum(axis=0))
    if spacing.min() <= 0:
        raise DataError("The affine is singular: the voxels' place in space is unknown.")
    cosines = columns_kji / spacing
    rows = [(float(row[0]), float(row[1]), float(row[2])) for row in cosines]
    z, y, x = (float(s) for s in spacing)
    ox, oy, oz = (float(o) for o in affine[:3, 3])
    return Grid(shape_zyx, (z, y, x), (ox, oy, oz), (rows[0], rows[1], rows[2]))


def _kind(start: bytes) -> Any:
    """The image class whose header size stands in the first four bytes, in either byte order."""
    sizes = (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    if NIFTI1_BYTES in sizes:
        return nib.Nifti1Image
    if NIFTI2_BYTES in sizes:
        return nib.Nifti2Image
    raise DataError("Not a NIfTI file: it does not begin with the size of a NIfTI header.")


def _end_of_voxels(header: Any, max_bytes: int) -> int:
    """Where the voxels end in the unpacked file, after checking that the header can be meant at all."""
    if bytes(header["magic"])[:2] != b"n+":
        raise DataError("The header belongs to a pair of files (.hdr, .img); give one .nii file.")
    num_axes = int(header["dim"][0])
    if not 1 <= num_axes <= 7:
        raise DataError(f"The header says {num_axes} axes; NIfTI has 1 to 7.")
    shape = [int(n) for n in header["dim"][1 : num_axes + 1]]
    needed = check_size(shape, header.get_data_dtype().itemsize, max_bytes)
    offset = float(header["vox_offset"])
    least = header.sizeof_hdr
    if not math.isfinite(offset) or not least <= offset <= least + MAX_EXTENSION_BYTES:
        raise DataError(f"The header says that voxels begin at byte {offset:g}; {least} or a little more is possible.")
    return int(offset) + needed


def _voxels(image: Any) -> npt.NDArray[Any]:
    """(i, j, k, channel) with the file's intensity scaling applied; unscaled integers keep their type."""
    raw = np.asarray(image.dataobj.get_unscaled())
    if raw.dtype.fields:  # RGB and RGBA are records of bytes
        raw = np.stack([raw[name] for name in list(raw.dtype.fields)[:3]], axis=-1)
        raw = raw.reshape(*_three(raw.shape[:-1]), 3)
    else:
        axes = [n for n in raw.shape[3:] if n != 1]
        if len(axes) > 1 or (axes and axes[0] > MAX_CHANNELS):
            raise DataError(f"Axes beyond the third must be channels, at most {MAX_CHANNELS}; given {raw.shape}.")
        raw = raw.reshape(*_three(raw.shape), axes[0] if axes else 1)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    if (slope, intercept) == (1, 0):
        return raw
    scaled: npt.NDArray[np.float64] = raw.astype(np.float64) * slope + intercept
    return scaled


def _three(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:3], 1, 1)[:3] if len(shape) < 3 else shape[:3]


def _channels_first(voxels_ijkc: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return storable(np.ascontiguousarray(voxels_ijkc.transpose(3, 2, 1, 0)))


def _grid(image: Any) -> Grid:
    i, j, k = _three(image.shape)
    scale = _MM.get(image.header.get_xyzt_units()[0], 1.0)
    affine = np.asarray(image.affine, dtype=float).copy()
    affine[:3] *= scale
    return grid_of(affine, (int(k), int(j), int(i)))
