"""A person's answer as a DICOM segmentation: of the series that came with the question, and of no other."""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from hilum.adapters.answer_labels import labels_by_name
from hilum.adapters.dicom_header import open_dataset, quietly, text
from hilum.adapters.dicom_labels import SEGMENTATIONS
from hilum.adapters.dicom_patches import uid_of
from hilum.adapters.dicom_segmentations import read_segmentation
from hilum.adapters.hostile import MAX_BYTES, refusing
from hilum.core.asking import LabelMap
from hilum.core.errors import DataError
from hilum.core.geometry import Grid


def read_dicom_answer(payload: bytes, grid: Grid, *, candidate_id: str, class_names: Sequence[str]) -> LabelMap:
    """The label map that a DICOM segmentation draws on the question's image, by its segments' names.

    DataError where it is none, or refers to another image: a file that was saved into another question's folder
    would fit, because patches are alike in size.
    """
    with refusing("DICOM segmentation"), quietly():
        dataset = open_dataset(payload, max_bytes=MAX_BYTES)
        if text(dataset, "SOPClassUID") not in SEGMENTATIONS:
            raise DataError("it is DICOM but not a segmentation; export the segmentation, not the image")
        if not _is_of(dataset, candidate_id):
            raise DataError(
                "it was drawn on another image than this question's: outline on the series in its folder 'dicom' "
                "(there is one with annotator.dicom: true), and save it beside that folder"
            )
        structures = read_segmentation(dataset, grid)
    return labels_by_name(structures, grid.shape_zyx, class_names)


def _is_of(dataset: Dataset, candidate_id: str) -> bool:
    """Whether it refers to the question's series or, naming no series, lies in its frame of reference."""
    series = {text(one, "SeriesInstanceUID") for one in dataset.get("ReferencedSeriesSequence") or []}
    if series:
        return str(uid_of(candidate_id, "series")) in series
    return text(dataset, "FrameOfReferenceUID") == uid_of(candidate_id, "frame of reference")
