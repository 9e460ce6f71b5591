"""Patches as NIfTI files that people open: written with their place in space, read back with suspicion.

NIfTI arrays are X, Y, Z; ours are Z, Y, X. World coordinates are RAS+ millimetres in both.
"""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

from hilum.core.asking import IGNORE, LabelMap
from hilum.core.errors import DataError
from hilum.core.geometry import Grid

TOLERANCE_MM = 1e-2
_MAX_BYTES_PER_VOXEL = 16
_HEADER_BYTES = 1 << 20


def affine_of(grid: Grid) -> npt.NDArray[np.float64]:
    """The 4 × 4 matrix from NIfTI's voxel indices (x, y, z) to millimetres."""
    affine = np.eye(4)
    scaled = np.asarray(grid.direction, dtype=float) * np.asarray(grid.spacing_mm_zyx)
    affine[:3, :3] = scaled[:, ::-1]
    affine[:3, 3] = grid.origin_mm_xyz
    return affine


def nifti_bytes(array_CZYX: npt.NDArray[Any], grid: Grid) -> bytes:
    """A compressed NIfTI of a patch; several channels become the fourth axis. Nothing but voxels and geometry."""
    array_XYZC = np.transpose(array_CZYX, (3, 2, 1, 0))
    array = array_XYZC[..., 0] if array_XYZC.shape[3] == 1 else array_XYZC
    image = nib.Nifti1Image(array, affine_of(grid))
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)


def read_label_map(path: Path, grid: Grid, num_classes: int) -> LabelMap:
    """A person's answer as a label map on ``grid``; DataError says what is wrong with the file.

    The whole file is read and its checksum compared: nibabel alone would take a damaged one.
    An answer saved with its axes turned or flipped is turned back.
    """
    num_voxels = int(np.prod(grid.shape_zyx))
    image = _open(path, _HEADER_BYTES + num_voxels * _MAX_BYTES_PER_VOXEL)
    if int(np.prod(image.shape)) != num_voxels:
        raise DataError(f"it has {' × '.join(map(str, image.shape))} voxels; the image has {_size(grid)} (X, Y, Z)")
    wanted = affine_of(grid)
    try:
        # Some programs leave out the last axis of a single slice.
        values = np.asarray(image.dataobj).reshape((*image.shape, 1, 1)[:3])
        turn = ornt_transform(io_orientation(image.affine), io_orientation(wanted))
        values_XYZ = apply_orientation(values, turn)
        affine = image.affine @ nib.orientations.inv_ornt_aff(turn, values.shape)
    except Exception as error:
        # A parser fed a damaged header may raise anything at all.
        raise DataError(f"its voxels cannot be read: {_first_line(error)}") from None
    if values_XYZ.shape != grid.shape_zyx[::-1]:
        raise DataError(f"it has {' × '.join(map(str, image.shape))} voxels; the image has {_size(grid)} (X, Y, Z)")
    if not _same_place(affine, wanted, values_XYZ.shape):
        raise DataError("it lies elsewhere in space than the image: its affine differs; save it on the image's grid")
    return _labels(values_XYZ.transpose(2, 1, 0), num_classes)


def _open(path: Path, max_bytes: int) -> Any:
    raw = path.read_bytes()
    try:
        if raw[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
                raw = file.read(max_bytes + 1)
                if len(raw) > max_bytes or file.read(1):
                    raise DataError("it is far larger than the image it answers")
        return nib.Nifti1Image.from_bytes(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"it is damaged or half written: {_first_line(error)}") from None
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"it is not a NIfTI file: {_first_line(error)}") from None


def _same_place(found: npt.NDArray[Any], wanted: npt.NDArray[Any], shape_xyz: tuple[int, ...]) -> bool:
    """True when the corners of both grids are the same points, to a hundredth of a millimetre."""
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    corners[:, :3] *= np.asarray(shape_xyz) - 1
    apart = (corners @ found.T)[:, :3] - (corners @ wanted.T)[:, :3]
    # A one-voxel axis has no corners to compare, so the axes themselves are compared as well.
    return bool(np.abs(apart).max() < TOLERANCE_MM and np.abs(found - wanted)[:3, :3].max() < TOLERANCE_MM)


def _labels(values_ZYX: npt.NDArray[Any], num_classes: int) -> LabelMap:
    is_number = values_ZYX.dtype.kind in "iuf"
    if not is_number or not np.all(np.isfinite(values_ZYX)) or np.any(values_ZYX != np.rint(values_ZYX)):
        raise DataError("its voxels are not whole numbers; save a label map, not an image")
    # 65,535 is -1 as software with signed 16-bit voxels writes it.
    is_known = ((values_ZYX >= 0) & (values_ZYX < num_classes)) | (values_ZYX == -1) | (values_ZYX == IGNORE)
    if not is_known.all():
        raise DataError(
            f"it has the label {values_ZYX[~is_known].min():.10g}; allowed are 0 to {num_classes - 1}, "
            f"and {IGNORE} for voxels left unanswered"
        )
    whole = values_ZYX.astype(np.int64)
    whole[whole == -1] = IGNORE
    if np.all(whole == IGNORE):
        raise DataError("it answers no voxel at all")
    return whole.astype(np.uint16)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _size(grid: Grid) -> str:
    return " × ".join(str(n) for n in grid.shape_zyx[::-1])
