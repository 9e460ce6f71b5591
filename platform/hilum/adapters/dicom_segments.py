"""Label maps written as DICOM segmentations: a named binary segment for each class.

Shape letters: F = the frames of the image that it is drawn on, in that image's order, Y, X = rows and columns.
"""

import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from hilum.adapters.dicom_header import quietly
from hilum.adapters.dicom_structures import MAX_NAME
from hilum.adapters.planes import rgb_of

UTF8 = "ISO_IR 192"

# It tells the log which image it copies a patient from, by its UID.
_HIGHDICOM = logging.getLogger("highdicom")
_HIGHDICOM.propagate = False
_HIGHDICOM.setLevel(logging.WARNING)


def drawn_segmentation(
    images: Sequence[Dataset],
    label_map_FYX: npt.NDArray[Any],
    class_names: Sequence[str],
    *,
    algorithm: tuple[str, str],
    uids: tuple[str, str],
    label: str,
) -> Dataset:
    """A segmentation of ``images``, to which it refers. Class 0 is background and has no segment.

    ``algorithm`` is its name and version, ``uids`` those of the series and of the segmentation itself.
    """
    series_uid, instance_uid = uids
    with quietly():
        made = hd.seg.Segmentation(
            source_images=images,
            pixel_array=np.ascontiguousarray(label_map_FYX),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(k, name, *algorithm) for k, name in enumerate(class_names) if k > 0],
            series_instance_uid=series_uid,
            series_number=2,
            sop_instance_uid=instance_uid,
            instance_number=1,
            manufacturer="hilum",
            manufacturer_model_name="hilum",
            software_versions=version("hilum"),
            device_serial_number="0",
            content_label=label,
        )
        made.SpecificCharacterSet = UTF8
        made.SeriesDescription = label.lower()
    return made


def _segment(class_id: int, name: str, algorithm: str, algorithm_version: str) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=class_id,
        segment_label=" ".join(name.replace("\\", "/").split())[:MAX_NAME],
        # What a class is to SNOMED nobody said; these two are what 3D Slicer, too, writes of an unknown one.
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm, family=codes.DCM.ArtificialIntelligence, version=algorithm_version
        ),
        display_color=CIELabColor.from_rgb(*rgb_of(class_id)),
    )
