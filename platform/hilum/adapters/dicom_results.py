"""A model's label map as a DICOM segmentation of the very files that the model was asked about.

Patient and study are theirs, for whoever sent them; nothing here is kept. Shape letters: Z, Y, X = the image's grid.
"""

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from hilum.adapters.dicom_header import open_dataset, text, whole
from hilum.adapters.dicom_patches import dicom_bytes
from hilum.adapters.dicom_planes import planes_of
from hilum.adapters.dicom_segments import drawn_segmentation
from hilum.adapters.dicom_series import lay_out
from hilum.adapters.dicom_slides import is_slide
from hilum.adapters.hostile import refusing
from hilum.core.asking import LabelMap
from hilum.core.errors import DataError

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NEEDED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""What every image has, if only empty (PS3.3 C.7.1.1 and C.7.2.1); not all that are sent do."""
_MOST_CLASSES = 255
_ELSE = "Ask for another format."


class SourceImages:
    """The DICOM files of one image, in the order of its slices, without their voxels."""

    def __init__(self, payloads: Sequence[bytes], *, max_bytes: int) -> None:
        """In any order. DataError for what no segmentation can refer to: slides, films, files of many frames."""
        with refusing("DICOM"):
            datasets = [_header(payload, max_bytes) for payload in payloads]
            planes = [plane for place, one in enumerate(datasets) for plane in planes_of(one, place)]
            stack = lay_out(planes)[0].planes if planes else ()
            if not stack and (is_slide(datasets[0]) or (whole(datasets[0], "NumberOfFrames") or 1) > 1):
                raise DataError(f"No DICOM segmentation is made of slides, nor of films without a place. {_ELSE}")
        if len(datasets) > 1 and len(stack) != len(datasets):
            raise DataError("A DICOM segmentation refers to one file of many frames, or to files of one slice each.")
        is_series = len(datasets) > 1
        self._images = [datasets[plane.file] for plane in stack] if is_series else datasets
        # Frames of one file stay in its order; where each lies in the label map is their place in the stack.
        self._frames = None if is_series or not stack else np.argsort([plane.frame for plane in stack])

    def segmentation(self, label_map_ZYX: LabelMap, class_names: Sequence[str], *, checkpoint_id: str) -> bytes:
        """The file, by the algorithm hilum of the version ``checkpoint_id``. DataError where DICOM cannot say it."""
        if len(class_names) > _MOST_CLASSES:
            raise DataError(f"A DICOM segmentation has at most {_MOST_CLASSES} classes; this has {len(class_names)}.")
        label_map_FYX = label_map_ZYX if self._frames is None else label_map_ZYX[self._frames]
        try:
            made = drawn_segmentation(
                self._images,
                label_map_FYX.astype(np.uint8),
                class_names,
                algorithm=("hilum", checkpoint_id),
                uids=(generate_uid(prefix=None), generate_uid(prefix=None)),
                label="HILUM",
            )
            return dicom_bytes(made)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # highdicom quotes what it does not like, and that may be a name.
            raise DataError(
                "No DICOM segmentation can refer to these files: their headers are not whole "
                f"({type(error).__name__}). {_ELSE}"
            ) from None


def _header(payload: bytes, max_bytes: int) -> Dataset:
    dataset = open_dataset(payload, max_bytes=max_bytes)
    for keyword in _PIXELS:
        dataset.pop(keyword, None)
    for keyword in _NEEDED:
        if not text(dataset, keyword):
            setattr(dataset, keyword, "")
    return dataset
