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

from hilum.adapters.answer_labels import labels_by_number
from hilum.adapters.lattices import on_grid, other_size
from hilum.adapters.nifti import grid_of
from hilum.core.asking import LabelMap
from hilum.core.errors import DataError
from hilum.core.geometry import Grid

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
        raise DataError(other_size(image.shape, grid))
    try:
        # Some programs leave out the last axis of a single slice.
        values_XYZ = np.asarray(image.dataobj).reshape((*image.shape, 1, 1)[:3])
    except Exception as error:
        # A parser fed a damaged header may raise anything at all.
        raise DataError(f"its voxels cannot be read: {_first_line(error)}") from None
    values_ZYX = values_XYZ.transpose(2, 1, 0)
    found = grid_of(image.affine, (values_ZYX.shape[0], values_ZYX.shape[1], values_ZYX.shape[2]))
    return labels_by_number(on_grid(values_ZYX, found, grid), num_classes)


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


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
