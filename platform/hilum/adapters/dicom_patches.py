"""A patch as a small DICOM series, and the model's draft as a DICOM segmentation of it.

Its identifiers are new and follow from the candidate's alone; its patient is the question, so that a viewer lists
every question by itself, and nobody. Shape letters: C = channels, Z, Y, X = the patch's axes. DICOM's world is LPS
millimetres.
"""

import hashlib
import io
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import DSfloat

from hilum.adapters.dicom_header import quietly
from hilum.adapters.dicom_segments import UTF8, drawn_segmentation
from hilum.core.asking import LabelMap, Task
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.imaging import Volume

_NAMESPACE = UUID("6d0a1f0e-3f4c-5b0b-9f5e-0f1c4f0c7b1a")
_RIGHT_ANGLE = 1e-4
_LPS = np.array([-1.0, -1.0, 1.0])
_KINDS = {"CT": CTImageStorage, "MR": MRImageStorage}
_EMPTY = ("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName", "PatientBirthDate")


def uid_of(candidate_id: str, what: str) -> UID:
    """The UID of a part of a question's DICOM: always the same one (ISO/IEC 9834-8, under 2.25)."""
    return UID(f"2.25.{uuid5(_NAMESPACE, f'{candidate_id} {what}').int}")


def dicom_series(image_CZYX: npt.NDArray[Any], grid: Grid, *, task: Task, name: str, volume: Volume) -> list[Dataset]:
    """The slices of a patch, first to last, called ``name``.

    Slices lie along the array's first axis or, where only another is one voxel thick, along that. Whole numbers
    that fit into 16 bits are stored as they are, others over their range. DataError where DICOM has no such image:
    colours, and axes that are not at right angles.
    """
    if len(image_CZYX) > 1:
        raise DataError(f"the image has {len(image_CZYX)} channels, and a DICOM series of slices has one")
    directions_33 = np.asarray(grid.direction, dtype=float)
    if np.abs(directions_33.T @ directions_33 - np.eye(3)).max() > _RIGHT_ANGLE:
        raise DataError("the image's axes are not at right angles, and a DICOM series' are")
    order = _slicing(grid)
    stored, slope, intercept = _sixteen_bits(image_CZYX[0].transpose(order))
    common = _common(task.candidate_id, name, volume)
    common.RescaleSlope, common.RescaleIntercept = _decimal(slope), _decimal(intercept)
    _describe_pixels(common, stored)
    _describe_place(common, grid, order)
    return [_slice(common, plane, _position(grid, order[0], place), place) for place, plane in enumerate(stored)]


def dicom_draft(series: Sequence[Dataset], grid: Grid, *, task: Task) -> Dataset | None:
    """The draft as a DICOM segmentation of ``series``, a named segment for each class; None where it draws nothing."""
    draft_ZYX: LabelMap | None = task.draft_label_map_zyx
    if draft_ZYX is None or not draft_ZYX.any():
        return None
    seen = f"draft {hashlib.sha256(draft_ZYX.tobytes()).hexdigest()}"
    return drawn_segmentation(
        series,
        draft_ZYX.transpose(_slicing(grid)),
        task.class_names,
        algorithm=("hilum draft", version("hilum")),
        uids=(uid_of(task.candidate_id, f"series of {seen}"), uid_of(task.candidate_id, seen)),
        label="DRAFT",
    )


def dicom_bytes(dataset: Dataset) -> bytes:
    """A DICOM file."""
    sink = io.BytesIO()
    with quietly():
        dataset.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def _slicing(grid: Grid) -> tuple[int, int, int]:
    """The patch's axes in the order slices, rows, columns."""
    thin = [axis for axis, size in enumerate(grid.shape_zyx) if size == 1]
    slices = thin[0] if thin else 0
    rows, columns = (axis for axis in range(3) if axis != slices)
    return slices, rows, columns


def _sixteen_bits(image_ZYX: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float, float]:
    """Stored values, slope and intercept."""
    low, high = float(image_ZYX.min()), float(image_ZYX.max())
    whole = np.array_equal(image_ZYX, np.rint(image_ZYX))
    for dtype in (np.dtype("<i2"), np.dtype("<u2")):
        if whole and np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return image_ZYX.astype(dtype), 1.0, 0.0
    if not np.isfinite([low, high]).all():
        raise DataError("the image has values that are not finite")
    slope = (high - low) / 65_535 or 1.0
    return np.rint((image_ZYX.astype(np.float64) - low) / slope).astype("<u2"), slope, low


def _common(candidate_id: str, name: str, volume: Volume) -> Dataset:
    """What all slices say."""
    common = Dataset()
    common.SOPClassUID = _KINDS.get(volume.modality, SecondaryCaptureImageStorage)
    common.Modality = volume.modality if volume.modality in _KINDS else "OT"
    common.SpecificCharacterSet = UTF8
    common.PatientID, common.PatientName = name, f"{name}^"
    common.PatientSex, common.PatientIdentityRemoved, common.DeidentificationMethod = "", "YES", "hilum ingest"
    for keyword in _EMPTY:
        setattr(common, keyword, "")
    common.StudyInstanceUID = uid_of(candidate_id, "study")
    common.SeriesInstanceUID = uid_of(candidate_id, "series")
    common.FrameOfReferenceUID = uid_of(candidate_id, "frame of reference")
    common.PositionReferenceIndicator = ""
    common.SeriesNumber, common.SeriesDescription, common.Manufacturer = 1, "image", "hilum"
    common.ImageType, common.ConversionType = ["DERIVED", "SECONDARY"], "WSD"
    common.WindowCenter = _decimal((volume.low + volume.high) / 2)
    common.WindowWidth = _decimal(max(volume.high - volume.low, 1.0))
    return common


def _describe_pixels(common: Dataset, stored_ZYX: npt.NDArray[Any]) -> None:
    common.SamplesPerPixel, common.PhotometricInterpretation = 1, "MONOCHROME2"
    _, common.Rows, common.Columns = stored_ZYX.shape
    common.BitsAllocated, common.BitsStored, common.HighBit = 16, 16, 15
    common.PixelRepresentation = int(stored_ZYX.dtype.kind == "i")


def _describe_place(common: Dataset, grid: Grid, order: tuple[int, int, int]) -> None:
    slices, rows, columns = order
    lps_33 = _LPS[:, np.newaxis] * np.asarray(grid.direction, dtype=float)
    common.ImageOrientationPatient = [_decimal(v) for v in (*lps_33[:, columns], *lps_33[:, rows])]
    common.PixelSpacing = [_decimal(grid.spacing_mm_zyx[axis]) for axis in (rows, columns)]
    common.SliceThickness = common.SpacingBetweenSlices = _decimal(grid.spacing_mm_zyx[slices])


def _position(grid: Grid, slices: int, place: int) -> list[DSfloat]:
    index = [0.0, 0.0, 0.0]
    index[slices] = place
    return [_decimal(v) for v in _LPS * grid.index_to_world(index)]


def _slice(common: Dataset, plane_YX: npt.NDArray[Any], position: list[DSfloat], place: int) -> Dataset:
    one = Dataset()
    one.update(common)
    one.InstanceNumber, one.ImagePositionPatient = place + 1, position
    one.SOPInstanceUID = uid_of(str(common.SeriesInstanceUID), f"slice {place}")
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID, one.file_meta.MediaStorageSOPInstanceUID = (
        one.SOPClassUID,
        one.SOPInstanceUID,
    )
    one.PixelData = plane_YX.tobytes()
    return one


def _decimal(value: float) -> DSfloat:
    """A DICOM number in the 16 characters that it may have."""
    return DSfloat(float(value) + 0.0, auto_format=True)
