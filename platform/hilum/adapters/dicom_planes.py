"""Where each slice of a DICOM file lies: classic files of one slice, and enhanced ones of many frames.

Positions and directions are DICOM's LPS+ millimetres here (PS3.3 C.7.6.2.1.1); only a
finished stack is turned to RAS+.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset

from hilum.adapters.dicom_header import first_item, number, numbers, present, text, whole
from hilum.core.errors import DataError

Xyz = tuple[float, float, float]

VOLUMES_DIFFER_IN = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "InversionTime",
    "FlipAngle",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "FrameReferenceTime",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "ImageType",
    "FrameType",
)
"""What tells two volumes of one series apart, the most telling first."""

_FRAME_GROUPS = (
    "FrameContentSequence",
    "MREchoSequence",
    "MRDiffusionSequence",
    "CardiacSynchronizationSequence",
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
)
_COSINE_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Plane:
    """One slice: which frame of which file it is, where it lies, and what sets its volume apart."""

    file: int
    frame: int
    shape_yx: tuple[int, int]
    position: Xyz
    along_x: Xyz
    along_y: Xyz
    spacing_mm_yx: tuple[float, float]
    thickness_mm: float
    instance_number: int | None = None
    stack: str = field(default="", repr=False)
    apart: tuple[str, ...] = field(default=(), repr=False)
    tilt_degrees: float = 0.0


def planes_of(dataset: Dataset, file: int) -> list[Plane]:
    """The slices in one file, or none where its frames have no place in the patient."""
    shape_yx = (whole(dataset, "Rows") or 0, whole(dataset, "Columns") or 0)
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if frames:
        shared = first_item(dataset, "SharedFunctionalGroupsSequence") or Dataset()
        found = [_plane(_groups(dataset, shared, frame), file, n, shape_yx) for n, frame in enumerate(frames)]
        planes = [plane for plane in found if plane is not None]
        if planes and len(planes) != len(found):
            raise DataError(f"{len(found) - len(planes)} of {len(found)} frames have no position in the patient.")
        return planes
    if (whole(dataset, "NumberOfFrames") or 1) > 1:
        return []
    plane = _plane([dataset], file, 0, shape_yx)
    return [] if plane is None else [plane]


def _groups(dataset: Dataset, shared: Dataset, frame: Dataset) -> list[Dataset]:
    """Where to look for what is said of one frame: by itself, then by all frames together, then by the file."""
    groups = [
        item
        for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", *_FRAME_GROUPS)
        for item in (first_item(frame, keyword) or first_item(shared, keyword),)
        if item is not None
    ]
    gradient = first_item(first_item(frame, "MRDiffusionSequence"), "DiffusionGradientDirectionSequence")
    return [*groups, *([gradient] if gradient is not None else []), dataset]


def _plane(groups: Sequence[Dataset], file: int, frame: int, shape_yx: tuple[int, int]) -> Plane | None:
    """A plane from the first group that has each element; None where position or orientation is absent."""
    position = _first(groups, "ImagePositionPatient", 3)
    orientation = _first(groups, "ImageOrientationPatient", 6)
    if position is None or orientation is None:
        return None
    spacing = _first(groups, "PixelSpacing", 2)
    if spacing is None or min(spacing) <= 0:
        raise DataError("A slice with a position needs a PixelSpacing above zero; the file has none.")
    along_x, along_y = _directions(orientation)
    thickness = next((v for g in groups for k in _THICKNESS if (v := number(g, k)) is not None), None)
    return Plane(
        file,
        frame,
        shape_yx,
        (position[0], position[1], position[2]),
        along_x,
        along_y,
        (spacing[0], spacing[1]),
        abs(thickness) if thickness else 1.0,
        whole(groups[-1], "InstanceNumber") if frame == 0 else None,
        next((text(g, "StackID") for g in groups if present(g, "StackID")), ""),
        tuple(next((text(g, k) for g in groups if present(g, k)), "") for k in VOLUMES_DIFFER_IN),
        number(groups[-1], "GantryDetectorTilt") or 0.0,
    )


_THICKNESS = ("SpacingBetweenSlices", "SliceThickness")


def _first(groups: Sequence[Dataset], keyword: str, count: int) -> tuple[float, ...] | None:
    return next((found for g in groups if (found := numbers(g, keyword, count)) is not None), None)


def _directions(orientation: Sequence[float]) -> tuple[Xyz, Xyz]:
    """The unit vectors along a row and along a column; refused when they are not at right angles."""
    x, y = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    if max(abs(n - 1) for n in lengths) > _COSINE_TOLERANCE or abs(float(x @ y)) > _COSINE_TOLERANCE:
        raise DataError("ImageOrientationPatient must be two unit vectors at right angles; the file's are not.")
    x, y = x / lengths[0], y / lengths[1]
    return (float(x[0]), float(x[1]), float(x[2])), (float(y[0]), float(y[1]), float(y[2]))
