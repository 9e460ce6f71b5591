"""NIfTI-1 and NIfTI-2 (.nii, .nii.gz, and pairs of .hdr and .img), read to the last checksum.

Array axes are the file's, reversed: (i, j, k) becomes (Z, Y, X) = (k, j, i), and nothing is
resampled. World coordinates are RAS+ millimetres. Only voxels and geometry come out: names,
descriptions and extensions, where patients hide, stay behind.

Where a header contradicts itself the volume says so: 'slope_ignored' (the scale is zero, NaN or
infinite, and stored values are taken as they are), 'orientation_conflict' (qform and sform
disagree; sform is taken) and 'no_orientation' (neither is set: left and right are a guess).
"""

import math
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import HeaderDataError

from hilum.adapters.hostile import (
    MAX_BYTES,
    check_ratio,
    check_size,
    gunzip,
    gunzip_start,
    is_gzip,
    refusing,
    storable,
)
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.sources import ReadImage

NIFTI1_BYTES, NIFTI2_BYTES = 348, 540
MAX_CHANNELS = 64
MAX_EXTENSION_BYTES = 16 << 20
CONFLICT_VOXELS = 0.1
"""qform and sform may differ by their rounding; a tenth of a voxel anywhere is two opinions."""

LEAST_SPACING_MM = 1e-7
"""A tenth of a nanometre, an atom's size: what is smaller is not a voxel."""

_SLACK_BYTES = 64 << 10
_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


@dataclass(frozen=True)
class _Header:
    """A header that can be meant: what is needed to find the voxels and their place."""

    fields: Any
    shape: tuple[int, ...]
    offset: int
    end: int
    paired: bool


def read_nifti(payload: bytes, *, max_bytes: int = MAX_BYTES, is_label: bool = False) -> ReadImage:
    """The voxels (C, Z, Y, X) and grid of a .nii or .nii.gz; a fourth axis, or RGB, becomes channels."""
    with refusing("NIfTI"):
        header = _header(_start(payload), max_bytes)
        if header.paired:
            raise DataError("The header belongs to a pair of files, and its .img is not beside its .hdr.")
        return _image(header, _unpacked(payload, header.end, is_label=is_label))


def read_nifti_pair(head: bytes, voxels: bytes, *, max_bytes: int = MAX_BYTES, is_label: bool = False) -> ReadImage:
    """The same of a pair: ``head`` is the .hdr, ``voxels`` the .img; either may be packed by gzip."""
    with refusing("NIfTI"):
        header = _header(_start(head), max_bytes)
        if not header.paired:
            raise DataError("The .hdr is not one of a pair: it says that voxels follow in the same file.")
        return _image(header, _unpacked(voxels, header.end, is_label=is_label))


def grid_of(affine: npt.NDArray[np.float64], shape_zyx: tuple[int, int, int]) -> Grid:
    """The grid of an affine from voxel (i, j, k) to RAS+ millimetres. Refused when it has no inverse."""
    if not np.isfinite(affine).all():
        raise DataError("The affine is not finite: the voxels' place in space is unknown.")
    columns_kji = affine[:3, :3][:, ::-1]
    spacing = np.sqrt((columns_kji**2).sum(axis=0))
    if spacing.min() < LEAST_SPACING_MM:
        raise DataError("The affine is singular: the voxels' place in space is unknown.")
    cosines = columns_kji / spacing
    rows = [(float(row[0]), float(row[1]), float(row[2])) for row in cosines]
    z, y, x = (float(s) for s in spacing)
    ox, oy, oz = (float(o) for o in affine[:3, 3])
    return Grid(shape_zyx, (z, y, x), (ox, oy, oz), (rows[0], rows[1], rows[2]))


def _start(payload: bytes) -> bytes:
    return gunzip_start(payload, NIFTI2_BYTES) if is_gzip(payload) else bytes(payload[:NIFTI2_BYTES])


def _unpacked(payload: bytes, end: int, *, is_label: bool) -> bytes | memoryview:
    whole: bytes | memoryview = payload
    if is_gzip(payload):
        if not is_label:
            check_ratio(len(payload), end)
        whole = gunzip(payload, at_most=end + _SLACK_BYTES)
    if len(whole) < end:
        raise DataError(f"The file is cut short: {len(whole):,} bytes of {end:,}.")
    return whole


def _header(start: bytes, max_bytes: int) -> _Header:
    """Everything that a header says, held against what is possible before any voxel gets memory."""
    kind = _kind(start)
    fields = kind(start[: kind.sizeof_hdr], check=False)
    magic = bytes(fields["magic"])[:2]
    if magic not in (b"n+", b"ni"):
        raise DataError("Not a NIfTI file: an ANALYZE header does not say where left and right are; convert it.")
    num_axes = int(fields["dim"][0])
    if not 1 <= num_axes <= 7:
        raise DataError(f"The header says {num_axes} axes; NIfTI has 1 to 7.")
    shape = tuple(int(n) for n in fields["dim"][1 : num_axes + 1])
    needed = check_size(shape, _bytes_per_voxel(fields), max_bytes)
    offset, least = float(fields["vox_offset"]), 0 if magic == b"ni" else fields.sizeof_hdr
    if not math.isfinite(offset) or not least <= offset <= least + MAX_EXTENSION_BYTES:
        raise DataError(f"The header says that voxels begin at byte {offset:g}; {least} or a little more is possible.")
    return _Header(fields, shape, int(offset), int(offset) + needed, magic == b"ni")


def _bytes_per_voxel(fields: Any) -> int:
    try:
        return int(fields.get_data_dtype().itemsize)
    except KeyError:
        raise DataError(f"The header says data type {int(fields['datatype'])}, which NIfTI does not have.") from None


def _kind(start: bytes) -> Any:
    """The header class whose size stands in the first four bytes, in either byte order."""
    sizes = (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    if NIFTI1_BYTES in sizes:
        return nib.Nifti1Header
    if NIFTI2_BYTES in sizes:
        return nib.Nifti2Header
    raise DataError("Not a NIfTI file: it does not begin with the size of a NIfTI header.")


def _image(header: _Header, whole: bytes | memoryview) -> ReadImage:
    raw = np.frombuffer(whole, header.fields.get_data_dtype(), math.prod(header.shape), header.offset)
    voxels, flags = _scaled(header.fields, _ijkc(raw.reshape(header.shape, order="F")))
    # The file is in Fortran order, so its axes reversed are C order: nothing is copied.
    image_czyx = storable(np.ascontiguousarray(voxels.transpose(3, 2, 1, 0)))
    grid, orientation_flags = _grid(header)
    return ReadImage(image_czyx, grid, grid.shape_zyx, flags=(*flags, *orientation_flags))


def _ijkc(raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(i, j, k, channel): a fourth or later axis, or the bytes of RGB, are channels. Transparency is dropped."""
    if raw.dtype.fields:
        colours = np.stack([raw[name] for name in list(raw.dtype.fields)[:3]], axis=-1)
        return colours.reshape(*_three(raw.shape), 3)
    axes = [n for n in raw.shape[3:] if n != 1]
    if len(axes) > 1 or (axes and axes[0] > MAX_CHANNELS):
        raise DataError(f"Axes beyond the third must be channels, at most {MAX_CHANNELS}; given {raw.shape}.")
    return raw.reshape(*_three(raw.shape), axes[0] if axes else 1, order="F")


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    i, j, k = (*shape[:3], 1, 1)[:3]
    return i, j, k


def _scaled(fields: Any, voxels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Stored values turned into what they mean; without a slope, or with 1 and 0, they keep their type."""
    try:
        slope, intercept = fields.get_slope_inter()
    except HeaderDataError:
        raise DataError("The header gives a slope and an intercept that is no number; save the file again.") from None
    if slope is None:
        return voxels, ("slope_ignored",)
    if (slope, intercept) == (1, 0):
        return voxels, ()
    if voxels.dtype.kind not in "iuf":
        raise DataError(f"Voxels of type {voxels.dtype} cannot be scaled; give integers or floating point numbers.")
    scaled = np.empty_like(voxels, np.float32)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and ingest refuses that
        for k in range(voxels.shape[2]):  # slice by slice, so that what has 64 bits stays in the processor's cache
            scaled[:, :, k] = voxels[:, :, k].astype(np.float64) * slope + intercept
    return scaled, ()


def _grid(header: _Header) -> tuple[Grid, tuple[str, ...]]:
    fields = header.fields
    i, j, k = _three(header.shape)
    scale = _MM.get(fields.get_xyzt_units()[0], 1.0)

    def grid(affine: Any) -> Grid:
        millimetres = np.asarray(affine, dtype=float).copy()
        millimetres[:3] *= scale
        return grid_of(millimetres, (k, j, i))

    chosen = grid(fields.get_best_affine())
    if int(fields["sform_code"]) <= 0 and int(fields["qform_code"]) <= 0:
        return chosen, ("no_orientation",)
    if int(fields["sform_code"]) <= 0 or int(fields["qform_code"]) <= 0:
        return chosen, ()
    return chosen, () if _agree(fields, chosen, grid) else ("orientation_conflict",)


def _agree(fields: Any, chosen: Grid, grid: Any) -> bool:
    try:
        other = grid(fields.get_qform())
    except (ValueError, DataError):
        return False
    return chosen.apart_mm(other) <= CONFLICT_VOXELS * min(chosen.spacing_mm_zyx)
