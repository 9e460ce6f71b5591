"""Files of a user's set: linked into a prepared folder, or written there as NIfTI with their place in space."""

import os
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from hilum.adapters.nifti_patches import nifti_bytes
from hilum.adapters.reading import GRID_TOLERANCE_MM
from hilum.core.errors import DataError
from hilum.core.geometry import Grid


def hard_linked(source: Path, target: Path) -> None:
    """``target`` as another name of the file, where the disk can, else a copy of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def write_nifti(target: Path, array_CZYX: npt.NDArray[Any], grid: Grid) -> None:
    """Voxels and geometry, compressed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(nifti_bytes(array_CZYX, grid))


def check_headers_agree(image: Path, label: Path) -> None:
    """DataError unless two NIfTI files have one shape and one affine; no voxel is read."""
    (shape, affine), (label_shape, label_affine) = _header(image), _header(label)
    if shape != label_shape:
        raise DataError(f"Its label map is {label_shape}, its image {shape} (X, Y, Z): they must be equal.")
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], [1])).reshape(4, -1)
    apart = float(np.abs((affine - label_affine) @ corners).max())
    if not apart <= GRID_TOLERANCE_MM:
        raise DataError(f"Its label map lies {apart:.3g} mm away from its image; both must have the same affine.")


def _header(path: Path) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    try:
        found: Any = nib.load(path)
        shape, affine = tuple(int(n) for n in found.shape), np.asarray(found.affine, dtype=float)
    except FileNotFoundError:
        raise DataError("A file of it is missing.") from None
    except Exception as error:
        # A parser fed a damaged header may raise anything at all.
        raise DataError(f"A file of it is not NIfTI ({type(error).__name__}).") from None
    if len(shape) != 3:
        raise DataError(f"A scan has three axes; a file of it has {len(shape)}.")
    return shape, affine
