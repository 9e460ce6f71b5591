"""RT structure sets: contours in millimetres become voxels of the image they were drawn on.

A voxel is inside when its centre is (even-odd rule; a centre on an edge belongs to one side
only). Contours of one structure on one slice are combined by exclusive or, so that an inner
contour cuts a hole, drawn apart or through a keyhole. Nothing is filled in between slices.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pydicom

from hilum.adapters.dicom_structures import (
    CERTAIN,
    PLACE_UNKNOWN,
    Structure,
    identity_words,
    index_of_lps,
    structure_name,
)
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.sources import ReadImage

CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
TOLERANCE_SLICES = 0.25
_EDGES_AT_ONCE = 4096


def read_contours(dataset: pydicom.Dataset, image: ReadImage) -> list[Structure]:
    """Every structure that has an area, in the order of the file. Points and open lines have none."""
    if PLACE_UNKNOWN in image.flags:
        raise DataError("The image has no place in the patient, so no contour can be placed on it.")
    identity = identity_words(dataset)
    texts = {int(roi.ROINumber): roi.get("ROIName") for roi in dataset.StructureSetROISequence}
    found = []
    for drawn in dataset.get("ROIContourSequence") or []:
        contours = [c for c in drawn.get("ContourSequence") or [] if c.ContourGeometricType in CLOSED]
        if not contours:
            continue
        number = int(drawn.ReferencedROINumber)
        if number not in texts:
            raise DataError("A contour belongs to a structure that the file does not name.")
        voxels = _voxels(_outlines(contours, image.grid), image.grid)
        claims = np.full(voxels.size, CERTAIN, np.uint8)
        found.append(Structure(structure_name(texts[number], identity), voxels, claims))
    if not found:
        raise DataError("The structure set holds no closed contour: there is no area to learn from.")
    return found


def _outlines(contours: Iterable[pydicom.Dataset], grid: Grid) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """For every contour the slice (Z) it lies on and its corners (P, 2) as fractional (Y, X)."""
    for contour in contours:
        values = np.asarray(contour.ContourData, dtype=float)
        if values.size < 9 or values.size % 3 or not np.isfinite(values).all():
            raise DataError("A contour is not a list of at least three points (x, y, z).")
        corners = index_of_lps(grid, values.reshape(-1, 3))
        z = float(np.rint(corners[:, 0].mean()))
        if float(np.abs(corners[:, 0] - z).max()) > TOLERANCE_SLICES:
            raise DataError("A contour does not lie on a slice of its image: it was drawn on another one.")
        if not 0 <= z < grid.shape_zyx[0]:
            raise DataError("A contour lies outside its image: it was drawn on another one.")
        yield int(z), corners[:, 1:]


def _voxels(outlines: Iterable[tuple[int, npt.NDArray[np.float64]]], grid: Grid) -> npt.NDArray[np.int64]:
    by_slice: dict[int, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for z, corners in outlines:
        by_slice[z].append(corners)
    _, num_rows, num_columns = grid.shape_zyx
    flat = [
        np.flatnonzero(inside(by_slice[z], (num_rows, num_columns))) + z * num_rows * num_columns
        for z in sorted(by_slice)
    ]
    return np.concatenate(flat).astype(np.int64)


def inside(polygons: Iterable[npt.NDArray[np.float64]], shape_yx: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which pixel centres (Y, X) lie inside an odd number of polygons, each (P, 2) corners as (y, x)."""
    num_rows, num_columns = shape_yx
    # One column more takes the crossings to the right of the image.
    toggles = np.zeros((num_rows, num_columns + 1), dtype=np.int64)
    for corners in polygons:
        for start in range(0, len(corners), _EDGES_AT_ONCE):
            ends = np.arange(start, min(start + _EDGES_AT_ONCE, len(corners)))
            rows, columns = _crossings(corners[ends - 1], corners[ends], shape_yx)
            np.add.at(toggles, (rows, columns), 1)
    odd: npt.NDArray[np.bool_] = (np.cumsum(toggles[:, :-1], axis=1) & 1).astype(bool)
    return odd


def _crossings(
    from_E2: npt.NDArray[np.float64], to_E2: npt.NDArray[np.float64], shape_yx: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where edges cross the rows' centre lines: the row, and the first column at or beyond the crossing."""
    num_rows, num_columns = shape_yx
    low, high = np.minimum(from_E2[:, 0], to_E2[:, 0]), np.maximum(from_E2[:, 0], to_E2[:, 0])
    first = np.clip(np.ceil(low), 0, num_rows).astype(np.int64)
    beyond = np.clip(np.ceil(high), 0, num_rows).astype(np.int64)
    counts = beyond - first
    edge = np.repeat(np.arange(len(counts)), counts)
    rows = first[edge] + np.arange(edge.size) - np.repeat(np.cumsum(counts) - counts, counts)
    rise, run = (to_E2 - from_E2)[edge].T
    x = from_E2[edge, 1] + (rows - from_E2[edge, 0]) * run / rise
    columns = np.clip(np.ceil(np.round(x, 6)), 0, num_columns).astype(np.int64)
    return rows, columns
