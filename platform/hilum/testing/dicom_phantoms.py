"""DICOM files of nobody, for tests: series, films, pictures and enhanced multi-frame objects."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
Voxels = npt.NDArray[Any]


def uid_of(*words: object) -> UID:
    """An UID that is the same for the same words."""
    return generate_uid(entropy_srcs=[str(word) for word in words])


def ct_slice(
    pixels_YX: Voxels,
    position: Sequence[float],
    *,
    series: str = "one",
    number: int = 1,
    orientation: Sequence[float] = AXIAL,
    spacing_mm_yx: Sequence[float] = (0.5, 0.75),
    **changes: Any,
) -> Dataset:
    """One slice of a CT series at a place in the patient (LPS, mm). ``changes`` are by keyword; None takes away."""
    dataset = _object(CTImageStorage, pixels_YX[np.newaxis], "CT", series, number)
    dataset.ImagePositionPatient = [f"{v:.9g}" for v in position]
    dataset.ImageOrientationPatient = [f"{v:.9g}" for v in orientation]
    dataset.PixelSpacing = list(spacing_mm_yx)
    dataset.SliceThickness = 2.5
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    del dataset.NumberOfFrames
    return changed(dataset, changes)


def ct_series(
    voxels_ZYX: Voxels, *, step: Sequence[float] = (0, 0, 2.5), series: str = "one", **changes: Any
) -> list[Dataset]:
    """The slices of a CT, each ``step`` (LPS, mm) further than the one before."""
    first = np.array([-20.0, -30.0, 40.0])
    return [
        ct_slice(pixels, first + n * np.array(step), series=series, number=n + 1, **changes)
        for n, pixels in enumerate(voxels_ZYX)
    ]


def picture(pixels: Voxels, *, modality: str = "DX", **changes: Any) -> Dataset:
    """One flat image (Y, X) or (Y, X, 3) without a place in a patient."""
    dataset = _object(SecondaryCaptureImageStorage, pixels[np.newaxis], modality, "pictures", 1)
    del dataset.NumberOfFrames
    return changed(dataset, changes)


def film(frames: Voxels, **changes: Any) -> Dataset:
    """An ultrasound film (F, Y, X) or (F, Y, X, 3)."""
    return changed(_object(UltrasoundMultiFrameImageStorage, frames, "US", "films", 1), changes)


def enhanced_mr(frames_FYX: Voxels, per_frame: Sequence[Mapping[str, Any]], **changes: Any) -> Dataset:
    """An enhanced MR object. Of each frame: ``position`` and, each optional, ``echo``, ``stack``, ``slope``."""
    dataset = _object(EnhancedMRImageStorage, frames_FYX, "MR", "enhanced", 1)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=list(AXIAL))]
    shared.PixelMeasuresSequence = [_item(PixelSpacing=[0.5, 0.75], SliceThickness=4.0)]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [_frame(**of_frame) for of_frame in per_frame]
    return changed(dataset, changes)


def as_bytes(dataset: Dataset, *, big_endian: bool = False, preamble: bool = True) -> bytes:
    """The file that a modality would write."""
    if big_endian:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    if big_endian and "PixelData" in dataset and dataset.BitsAllocated == 16:
        dataset = _copy(dataset)
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=preamble)
    return file.getvalue()


def changed(dataset: Dataset, changes: Mapping[str, Any]) -> Dataset:
    """``dataset`` with other values; None takes an element away."""
    for keyword, value in changes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def _copy(dataset: Dataset) -> Dataset:
    copy = Dataset(dataset)
    copy.file_meta = dataset.file_meta
    return copy


def _item(**values: Any) -> Dataset:
    return changed(Dataset(), values)


def _frame(
    position: Sequence[float], *, echo: float | None = None, stack: str | None = None, slope: float | None = None
) -> Dataset:
    frame = Dataset()
    frame.PlanePositionSequence = [_item(ImagePositionPatient=[f"{v:.9g}" for v in position])]
    if echo is not None:
        frame.MREchoSequence = [_item(EffectiveEchoTime=echo)]
    if stack is not None:
        frame.FrameContentSequence = [_item(StackID=stack)]
    if slope is not None:
        frame.PixelValueTransformationSequence = [_item(RescaleSlope=slope, RescaleIntercept=0)]
    return frame


def _object(kind: UID, frames: Voxels, modality: str, series: str, number: int) -> Dataset:
    """What every image object has; ``frames`` are (F, Y, X) or (F, Y, X, 3)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = kind
    dataset.SOPInstanceUID = uid_of(series, number, modality)
    dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid_of("study"), uid_of(series)
    dataset.FrameOfReferenceUID = uid_of("frame of reference")
    dataset.Modality, dataset.PatientID, dataset.PatientName = modality, "P-17", "Nobody^At^All"
    dataset.InstanceNumber = number
    is_colour = frames.ndim == 4
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape[:3]
    dataset.SamplesPerPixel = 3 if is_colour else 1
    dataset.PhotometricInterpretation = "RGB" if is_colour else "MONOCHROME2"
    if is_colour:
        dataset.PlanarConfiguration = 0
    bits = 8 * frames.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(frames.dtype.kind == "i")
    payload = np.ascontiguousarray(frames).tobytes()
    dataset.add_new("PixelData", "OB" if bits == 8 else "OW", payload + b"\0" * (len(payload) % 2))
    return dataset
