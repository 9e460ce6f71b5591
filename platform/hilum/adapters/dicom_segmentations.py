"""DICOM segmentations (binary, fractional, label map) on the grid of their image, frame by frame.

A frame holds one segment on one slice. Each is put where its own position says, so that
slices left out because they are empty, turned slices and cut-outs need no case of their
own. Nothing is resampled: a segmentation on another grid is refused.
"""

from collections import defaultdict
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom

from hilum.adapters.dicom_structures import (
    CERTAIN,
    Structure,
    identity_words,
    index_of_lps,
    index_steps_of_lps,
    structure_name,
)
from hilum.core.errors import DataError
from hilum.core.geometry import Grid, Zyx

TOLERANCE_VOXELS = 0.2
_OTHER_GRID = "The segmentation lies on another grid than its image; draw or save it on the image's own voxels."
_Steps = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
_Claims = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]


def read_segmentation(dataset: pydicom.Dataset, grid: Grid, *, is_placed: bool = True) -> list[Structure]:
    """Every segment, in the order of the file. A fraction of one half or more belongs to the segment.

    Of an image that ``is_placed`` nowhere in the patient, frames lie on the frames that they name.
    """
    identity = identity_words(dataset)
    shape_zyx = grid.shape_zyx
    _check_frames(dataset, shape_zyx)
    file = hd.seg.Segmentation.from_dataset(dataset, copy=False)
    claims: dict[int, list[_Claims]] = defaultdict(list)
    for number in range(1, file.number_of_frames + 1):
        pixels = file.get_stored_frame(number)
        if pixels.any():
            placing = (_placing if is_placed else _placing_by_number)(dataset, number, grid)
            for segment, inside in _segments_of(dataset, number, pixels):
                claims[segment].append(_claims(inside, placing, shape_zyx))
    names = {
        n: structure_name(file.get_segment_description(n).segment_label, identity) for n in file.segment_numbers if n
    }
    if set(claims) - set(names):
        raise DataError("A frame belongs to a segment that the file does not describe.")
    return [_structure(name, claims[number]) for number, name in names.items()]


def _structure(name: str, claims: list[_Claims]) -> Structure:
    if not claims:
        return Structure(name, np.empty(0, np.int64), np.empty(0, np.uint8))
    return Structure(name, np.concatenate([c[0] for c in claims]), np.concatenate([c[1] for c in claims]))


def _check_frames(dataset: pydicom.Dataset, shape_zyx: Zyx) -> None:
    """Before a frame is unpacked: it can be no larger than a slice of the image, whichever way it lies."""
    sides = sorted((int(dataset.Rows), int(dataset.Columns)))
    if any(side > largest for side, largest in zip(sides, sorted(shape_zyx)[1:], strict=True)):
        raise DataError(_OTHER_GRID)


def _segments_of(
    dataset: pydicom.Dataset, number: int, pixels: npt.NDArray[Any]
) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    """Which segments a frame (rows, columns) holds, each with its pixels' claims: 0 is outside."""
    kind = str(dataset.SegmentationType)
    if kind == "LABELMAP":
        return [(int(n), CERTAIN * (pixels == n).astype(np.uint8)) for n in np.unique(pixels) if n != 0]
    segment = int(_group(dataset, number, "SegmentIdentificationSequence").ReferencedSegmentNumber)
    if kind == "FRACTIONAL":
        whole = int(dataset.MaximumFractionalValue)
        if whole < 1:
            raise DataError(f"The segmentation says that {whole} is the whole of a voxel; 1 to 255 can be.")
        share = pixels / whole
        return [(segment, np.rint(CERTAIN * np.where(share >= 0.5, share, 0)).clip(0, CERTAIN).astype(np.uint8))]
    return [(segment, CERTAIN * (pixels != 0).astype(np.uint8))]


def _claims(inside: npt.NDArray[np.uint8], placing: _Steps, shape_zyx: Zyx) -> _Claims:
    rows, columns = np.nonzero(inside)
    start, per_row, per_column = placing
    index_V3 = start + rows[:, np.newaxis] * per_row + columns[:, np.newaxis] * per_column
    if (index_V3 < 0).any() or (index_V3 >= np.asarray(shape_zyx)).any():
        raise DataError("The segmentation reaches beyond its image: it was drawn on another one.")
    flat = np.ravel_multi_index((index_V3[:, 0], index_V3[:, 1], index_V3[:, 2]), shape_zyx)
    return flat.astype(np.int64), inside[rows, columns]


def _placing(dataset: pydicom.Dataset, number: int, grid: Grid) -> _Steps:
    """The voxel of a frame's first pixel, and the step in voxels to the next row and the next column."""
    position = _group(dataset, number, "PlanePositionSequence")
    cosines = np.asarray(_group(dataset, number, "PlaneOrientationSequence").ImageOrientationPatient, dtype=float)
    spacing = np.asarray(_group(dataset, number, "PixelMeasuresSequence").PixelSpacing, dtype=float)
    first = index_of_lps(grid, np.asarray(position.ImagePositionPatient, dtype=float)[np.newaxis])[0]
    per_row = index_steps_of_lps(grid, cosines[3:] * spacing[0])
    per_column = index_steps_of_lps(grid, cosines[:3] * spacing[1])
    exact = (first, per_row, per_column)
    if not all(np.isfinite(v).all() and np.abs(v).max() < 2**31 for v in exact):
        raise DataError(_OTHER_GRID)
    start, down, right = (np.rint(v).astype(np.int64) for v in exact)
    last = np.array([dataset.Rows - 1, dataset.Columns - 1])
    end, whole_end = first + last @ np.stack([per_row, per_column]), start + last @ np.stack([down, right])
    off = max(float(np.abs(first - start).max()), float(np.abs(end - whole_end).max()))
    along_axes = np.abs(down).sum() == np.abs(right).sum() == 1 and not (down * right).any()
    if not along_axes or off > TOLERANCE_VOXELS:
        raise DataError(_OTHER_GRID)
    return start, down, right


def _placing_by_number(dataset: pydicom.Dataset, number: int, grid: Grid) -> _Steps:
    """Without a place in the patient (radiographs, ultrasound) a frame lies on the image's frame that it names."""
    if (int(dataset.Rows), int(dataset.Columns)) != grid.shape_zyx[1:]:
        raise DataError(_OTHER_GRID)
    frame = 1
    if grid.shape_zyx[0] > 1:
        derived = _group(dataset, number, "DerivationImageSequence")
        named = derived.SourceImageSequence[0].ReferencedFrameNumber
        frame = int(named[0] if isinstance(named, pydicom.multival.MultiValue) else named)
    return np.array([frame - 1, 0, 0]), np.array([0, 1, 0]), np.array([0, 0, 1])


def _group(dataset: pydicom.Dataset, number: int, keyword: str) -> Any:
    """One functional group of a frame: its own, or the one that all frames share."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    own = frames[number - 1] if len(frames) >= number else None
    for groups in (own, dataset.SharedFunctionalGroupsSequence[0]):
        if groups is not None and groups.get(keyword):
            return groups[keyword].value[0]
    raise DataError(f"Frame {number} of the segmentation does not say its {keyword}.")
