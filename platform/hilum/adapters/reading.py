"""Every reader behind one door: a file's ending says which one reads it.

Readers get bytes, not paths, so that an image on object storage is read like one on a disk
and no message can repeat a file's name.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.adapters.arrays import read_npy, read_npz
from hilum.adapters.hostile import MAX_BYTES, check_size, label_map
from hilum.adapters.images import read_label_image, read_photograph, read_tiff
from hilum.adapters.nifti import read_nifti
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.sources import Intensity, ReadImage, SourceItem
from hilum.store.layout import filesystem

ENDINGS = (".nii", ".nii.gz", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".npz")
GRID_TOLERANCE_MM = 1e-2


def read_item(root: str, item: SourceItem) -> Iterator[ReadImage]:
    """Everything in one item of a source: its image and, where it has one, the label map that goes with it."""
    payload = _bytes(root, item.image)
    if ending(item.image) == ".npz":
        if item.label is not None:
            raise DataError("A stack (.npz) carries its labels inside; its row must not name a label file.")
        yield from read_npz(payload)
        return
    image_czyx, grid, intensity = _read(ending(item.image), payload)
    image = ReadImage(image_czyx, grid, grid.shape_zyx, intensity=intensity)
    if item.label is None:
        yield image
        return
    labels, label_grid = _read_labels(ending(item.label), _bytes(root, item.label))
    _check_same_place(grid, label_grid, labels.shape)
    yield replace(image, label_map_zyx=label_map(labels))


def ending(path: str) -> str:
    """The part of a file name that says its format, in lower case: '.nii.gz', '.png', … or ''."""
    name = PurePosixPath(path).name.lower()
    return next((known for known in sorted(ENDINGS, key=len, reverse=True) if name.endswith(known)), "")


def _read(kind: str, payload: bytes) -> tuple[npt.NDArray[Any], Grid, Intensity]:
    match kind:
        case ".nii" | ".nii.gz":
            return *read_nifti(payload), "measured"
        case ".png" | ".jpg" | ".jpeg":
            return _with_intensity(*read_photograph(payload))
        case ".tif" | ".tiff":
            return _with_intensity(*read_tiff(payload))
        case ".npy":
            return _with_intensity(*read_npy(payload))
    raise DataError(f"No reader for this kind of file. Readable: {', '.join(ENDINGS)}.")


def _read_labels(kind: str, payload: bytes) -> tuple[npt.NDArray[Any], Grid | None]:
    """A label map (Z, Y, X), and its grid where its format has one."""
    if kind == ".png":
        return read_label_image(payload), None
    image_czyx, grid, _ = _read(kind, payload)
    if image_czyx.shape[0] != 1:
        raise DataError(f"A label map has one channel; this file has {image_czyx.shape[0]}.")
    return image_czyx[0], grid if kind.startswith(".nii") else None


def _with_intensity(image_czyx: npt.NDArray[Any], grid: Grid) -> tuple[npt.NDArray[Any], Grid, Intensity]:
    return image_czyx, grid, "photograph" if image_czyx.dtype == np.uint8 else "measured"


def _check_same_place(grid: Grid, label_grid: Grid | None, label_shape: tuple[int, ...]) -> None:
    if label_shape != grid.shape_zyx:
        raise DataError(f"The label map is {label_shape}, its image {grid.shape_zyx} (Z, Y, X): they must be equal.")
    if label_grid is None:
        return
    corners = list(itertools.product(*[(0, n - 1) for n in grid.shape_zyx]))
    apart = max(float(np.abs(grid.index_to_world(c) - label_grid.index_to_world(c)).max()) for c in corners)
    if apart > GRID_TOLERANCE_MM:
        raise DataError(f"The label map lies {apart:.3g} mm away from its image; both must have the same affine.")


def _bytes(root: str, path: str) -> bytes:
    fs, folder = filesystem(root)
    where = f"{folder.rstrip('/')}/{path}"
    try:
        check_size((max(1, int(fs.size(where) or 0)),), 1, MAX_BYTES)
        payload = bytes(fs.cat_file(where))
    except (OSError, ValueError) as error:
        raise DataError(f"The file cannot be opened ({type(error).__name__}).") from None
    if not payload:
        raise DataError("The file is empty.")
    return payload
