"""Whole slides in DICOM: the tiles of one level, put together into one picture.

Shape letters: F = frames, Y, X = space, S = samples. A slide is several files of one series: a
level of the pyramid each, and pictures of its label and of the glass, on which names are written.
"""

import numpy as np
from pydicom.dataset import Dataset

from hilum.adapters.dicom_header import first_item, numbers, text, whole
from hilum.adapters.dicom_pixels import Pixels
from hilum.adapters.hostile import check_size
from hilum.core.errors import DataError

SLIDES = "1.2.840.10008.5.1.4.1.1.77.1.6"
_SHOW_NAMES = ("LABEL", "OVERVIEW")
_POSITION = ("RowPositionInTotalImagePixelMatrix", "ColumnPositionInTotalImagePixelMatrix")


def is_slide(dataset: Dataset) -> bool:
    return text(dataset, "SOPClassUID") == SLIDES


def check_slide(dataset: Dataset, max_bytes: int) -> None:
    """Refuse, before a tile is unpacked, what shows a label, has several depths or stains, or is too large."""
    kinds = [str(value).upper() for value in dataset.get("ImageType") or []]
    shown = next((kind for kind in _SHOW_NAMES if kind in kinds), None)
    if shown is not None:
        raise DataError(f"It is the {shown.lower()} picture of a slide, on which names are written; not the tissue.")
    planes = whole(dataset, "TotalPixelMatrixFocalPlanes") or 1
    paths = whole(dataset, "NumberOfOpticalPaths") or 1
    if planes != 1 or paths != 1:
        raise DataError(f"The slide has {planes} focal planes and {paths} optical paths; save one of each as a file.")
    shape = (*_shape_yx(dataset), whole(dataset, "SamplesPerPixel") or 0)
    check_size(shape, max(1, (whole(dataset, "BitsAllocated") or 0) // 8), max_bytes)


def put_together(tiles_FYXS: Pixels, dataset: Dataset) -> Pixels:
    """The tiles as one picture (1, Y, X, S). A place without a tile is refused: it would be taken for glass."""
    height, width = _shape_yx(dataset)
    num_tiles, rows, columns, samples = tiles_FYXS.shape
    down, across = -(-height // rows), -(-width // columns)
    # Before anything as large as the header says is allocated.
    if num_tiles < down * across:
        raise DataError(
            f"{down * across - num_tiles} of the {down * across} tiles of the slide are missing: they were lost, or "
            "left out as empty. Save the slide whole (TILED_FULL)."
        )
    whole_YXS = np.zeros((height, width, samples), tiles_FYXS.dtype)
    covered = np.zeros((down, across), bool)
    for tile_YXS, (y, x) in zip(tiles_FYXS, _corners(dataset, len(tiles_FYXS)), strict=True):
        if not (0 <= y < height and 0 <= x < width) or y % rows or x % columns:
            raise DataError(f"A tile of the slide begins at row {y}, column {x}, where no tile can begin.")
        if covered[y // rows, x // columns]:
            raise DataError(f"Two tiles of the slide lie at row {y}, column {x}.")
        covered[y // rows, x // columns] = True
        part = whole_YXS[y : y + rows, x : x + columns]
        part[:] = tile_YXS[: part.shape[0], : part.shape[1]]
    return whole_YXS[np.newaxis]


def slide_spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    """Millimetres between the pixels of the slide (Y, X), where it says so."""
    measures = first_item(first_item(dataset, "SharedFunctionalGroupsSequence"), "PixelMeasuresSequence")
    found = None if measures is None else numbers(measures, "PixelSpacing", 2)
    return (found[0], found[1]) if found is not None and min(found) > 0 else None


def _shape_yx(dataset: Dataset) -> tuple[int, int]:
    return whole(dataset, "TotalPixelMatrixRows") or 0, whole(dataset, "TotalPixelMatrixColumns") or 0


def _corners(dataset: Dataset, num_tiles: int) -> list[tuple[int, int]]:
    """Where the first pixel of every tile lies (Y, X), from 0: as each says, or row by row (TILED_FULL)."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    places = [first_item(frame, "PlanePositionSlideSequence") for frame in frames]
    if places and all(place is not None for place in places):
        if len(places) != num_tiles:
            raise DataError(f"The slide has {num_tiles} tiles and describes {len(places)}.")
        named = [[whole(place or Dataset(), keyword) for keyword in _POSITION] for place in places]
        return [((y or 0) - 1, (x or 0) - 1) for y, x in named]
    if text(dataset, "DimensionOrganizationType") not in ("", "TILED_FULL"):
        raise DataError("The tiles of the slide do not say where they lie.")
    rows, columns = whole(dataset, "Rows") or 1, whole(dataset, "Columns") or 1
    across = -(-_shape_yx(dataset)[1] // columns)
    return [(n // across * rows, n % across * columns) for n in range(num_tiles)]
