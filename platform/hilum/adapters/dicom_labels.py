"""Labels in DICOM: segmentations and RT structure sets, found beside images and read onto their voxels.

A label file says itself which series, which slices and which frame of reference it was drawn
on; file names and folders play no part.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydicom.dataset import Dataset

from hilum.adapters.dicom_contours import CLOSED, read_contours
from hilum.adapters.dicom_header import first_item, is_dicom, open_dataset, quietly, text
from hilum.adapters.dicom_segmentations import read_segmentation
from hilum.adapters.dicom_structures import (
    BACKGROUND,
    PLACE_UNKNOWN,
    DrawnLabels,
    Structure,
    draw,
    identity_words,
    structure_name,
)
from hilum.adapters.hostile import MAX_BYTES, refusing
from hilum.adapters.payloads import read_bytes, read_start
from hilum.core.errors import DataError
from hilum.core.sources import ReadImage, SourceItem

SEGMENTATIONS = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_KINDS = SEGMENTATIONS | {STRUCTURE_SET}
_START_BYTES = 4096
_WHEN = (("ContentDate", "StructureSetDate"), ("ContentTime", "StructureSetTime"))


def read_labels(
    payload: bytes | bytearray,
    image: ReadImage,
    *,
    older: Sequence[bytes] = (),
    class_names: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
) -> DrawnLabels:
    """The label map that a segmentation or structure set draws on ``image``.

    ``older`` are further files of the same image, the newest first: what they draw is united
    with it, but for structures that a newer file draws, too. With ``class_names`` (the
    background first) values count in that list and other structures are left out; without,
    in the files' own names, sorted.
    """
    drawn: list[Structure] = []
    for place, one in enumerate((payload, *older), start=1):
        newer = {structure.name for structure in drawn}
        try:
            found = _structures(one, image, max_bytes)
        except DataError as error:
            which = f"Label file {place} of {1 + len(older)}, the newest first: " if older else ""
            raise DataError(f"{which}{error}") from None
        drawn += [structure for structure in found if structure.name not in newer]
    with refusing("DICOM label"):
        return draw(drawn, image.grid.shape_zyx, class_names)


def may_be_labels(start: bytes) -> bool:
    """Whether a file that begins like this can be a segmentation or a structure set."""
    return is_dicom(start) and any(kind.encode() in start for kind in _KINDS)


def labels_of_series(root: str, items: Sequence[SourceItem], files: Sequence[str]) -> list[SourceItem]:
    """``items`` with their labels: every segmentation or structure set among ``files`` goes to the image it names.

    Several for one image are all its own, the newest first. A label file without an image
    here, or all of whose structures newer ones draw, stays an item of its own, which its
    reader will refuse.
    """
    labels = [found for path in sorted(set(files)) if (found := _label(root, path)) is not None]
    if not labels:
        return list(items)
    paths = {label.path for label in labels}
    images = [_Image.of(root, item) for item in items if not paths & {item.image, *item.parts}]
    of_image: dict[str, list[_Label]] = defaultdict(list)
    for label in sorted(labels, key=lambda one: one.when, reverse=True):
        image = _image_of(label, images)
        if image is not None and image.item.label is None and not _is_outdated(label, of_image[image.item.image]):
            of_image[image.item.image].append(label)
    used = {label.path for several in of_image.values() for label in several}
    return [*_with_labels(items, of_image, paths), *(SourceItem(path) for path in sorted(paths - used))]


def label_names(root: str, items: Iterable[SourceItem]) -> tuple[str, ...]:
    """What all DICOM labels of a source draw, the background first; empty when there are none.

    One list for the whole source: the same structure gets the same value in every image.
    """
    found: set[str] = set()
    for path in sorted({label for item in items for label in item.labels}):
        dataset = _opened(root, path)
        if dataset is not None:
            found |= _names(dataset)
    return (BACKGROUND, *sorted(found - {BACKGROUND})) if found else ()


@dataclass(frozen=True)
class _Label:
    """What a label file says about the image it was drawn on."""

    path: str = field(repr=False)
    series: frozenset[str] = field(repr=False)
    instances: frozenset[str] = field(repr=False)
    frames_of_reference: frozenset[str] = field(repr=False)
    when: tuple[str, ...] = field(repr=False)
    names: frozenset[str] = field(repr=False)


@dataclass(frozen=True)
class _Image:
    """One item and where it belongs."""

    root: str = field(repr=False)
    item: SourceItem = field(repr=False)
    series: str = field(repr=False)
    frame_of_reference: str = field(repr=False)

    @classmethod
    def of(cls, root: str, item: SourceItem) -> "_Image":
        dataset = _opened(root, item.image) or Dataset()
        return cls(root, item, text(dataset, "SeriesInstanceUID"), text(dataset, "FrameOfReferenceUID"))

    def num_instances(self, wanted: frozenset[str]) -> int:
        """How many of the wanted slices are in this item. Opens every file: asked only where it decides."""
        headers = (_opened(self.root, path) for path in (self.item.image, *self.item.parts))
        return sum(text(header, "SOPInstanceUID") in wanted for header in headers if header is not None)


def _image_of(label: _Label, images: Sequence[_Image]) -> _Image | None:
    """The image that a label was drawn on: by its series, where that leaves several by slices, else by frame.

    A label that names a series which is not here must not land on a neighbour of the same study.
    """
    candidates = [image for image in images if image.series in label.series] if label.series else list(images)
    if len(candidates) == 1 and label.series:
        return candidates[0]
    if label.instances and candidates:
        counts = [image.num_instances(label.instances) for image in candidates]
        if max(counts) > 0:
            return candidates[counts.index(max(counts))]
    in_frame = [image for image in candidates if image.frame_of_reference in label.frames_of_reference]
    return in_frame[0] if len(in_frame) == 1 else None


def _is_outdated(label: _Label, newer: Sequence[_Label]) -> bool:
    """True when every structure of a label is drawn by newer ones; one without names is kept, to be refused."""
    return bool(label.names) and label.names <= frozenset().union(*(one.names for one in newer))


def _with_labels(
    items: Sequence[SourceItem], labels: Mapping[str, Sequence[_Label]], label_paths: set[str]
) -> Iterator[SourceItem]:
    """Every image, with its label; files that are labels are no images, whichever series they were grouped into."""
    for item in items:
        files = [path for path in (item.image, *item.parts) if path not in label_paths]
        if not files:
            continue
        found = [label.path for label in labels.get(item.image, ())] or list(item.labels)
        own = replace(item, image=files[0], parts=tuple(files[1:]))
        yield replace(own, label=found[0], older_labels=tuple(found[1:])) if found else own


def _label(root: str, path: str) -> _Label | None:
    try:
        if not may_be_labels(read_start(root, path, _START_BYTES)):
            return None
    except DataError:
        return None
    dataset = _opened(root, path)
    if dataset is None or text(dataset, "SOPClassUID") not in _KINDS:
        return None
    with refusing("DICOM label"), quietly():
        return _Label(
            path,
            frozenset(_series(dataset)),
            frozenset(_instances(dataset)),
            frozenset(_frames_of_reference(dataset)),
            tuple(next(filter(None, (text(dataset, keyword) for keyword in either)), "") for either in _WHEN),
            frozenset(_names(dataset)),
        )


def _opened(root: str, path: str) -> Dataset | None:
    """What can be opened; what cannot gets its reason when it is read."""
    try:
        with refusing("DICOM"), quietly():
            return open_dataset(bytes(read_bytes(root, path)), max_bytes=MAX_BYTES)
    except DataError:
        return None


def _names(dataset: Dataset) -> set[str]:
    try:
        with refusing("DICOM label"), quietly():
            identity = identity_words(dataset)
            return {structure_name(name, identity) for name in _texts(dataset)}
    except DataError:
        return set()  # refused when it is read


def _structures(payload: bytes | bytearray, image: ReadImage, max_bytes: int) -> list[Structure]:
    with refusing("DICOM label"), quietly():
        dataset = open_dataset(bytes(payload), max_bytes=max_bytes)
        if text(dataset, "SOPClassUID") == STRUCTURE_SET:
            return read_contours(dataset, image)
        if text(dataset, "SOPClassUID") in SEGMENTATIONS:
            return read_segmentation(dataset, image.grid, is_placed=PLACE_UNKNOWN not in image.flags)
        raise DataError("The label file is DICOM but neither a segmentation nor a structure set.")


def _texts(dataset: Dataset) -> Iterator[object]:
    if text(dataset, "SOPClassUID") == STRUCTURE_SET:
        with_area = {
            drawn.ReferencedROINumber
            for drawn in _items(dataset, "ROIContourSequence")
            if any(contour.get("ContourGeometricType") in CLOSED for contour in _items(drawn, "ContourSequence"))
        }
        yield from (
            roi.get("ROIName") for roi in _items(dataset, "StructureSetROISequence") if roi.ROINumber in with_area
        )
    else:
        yield from (s.get("SegmentLabel") for s in _items(dataset, "SegmentSequence") if s.SegmentNumber)


def _series(dataset: Dataset) -> Iterator[str]:
    places = [dataset, *_items(dataset, "ReferencedFrameOfReferenceSequence")]
    studies = [study for place in places for study in _items(place, "RTReferencedStudySequence")]
    for study in studies:
        yield from (text(series, "SeriesInstanceUID") for series in _items(study, "RTReferencedSeriesSequence"))
    yield from (text(series, "SeriesInstanceUID") for series in _items(dataset, "ReferencedSeriesSequence"))


def _instances(dataset: Dataset) -> Iterator[str]:
    """The slices a label names where it draws, and those it lists."""
    for series in _items(dataset, "ReferencedSeriesSequence"):
        yield from _referenced(series, "ReferencedInstanceSequence")
    for frame in _items(dataset, "PerFrameFunctionalGroupsSequence"):
        derivation = first_item(frame, "DerivationImageSequence")
        if derivation is not None:
            yield from _referenced(derivation, "SourceImageSequence")
    for drawn in _items(dataset, "ROIContourSequence"):
        for contour in _items(drawn, "ContourSequence"):
            yield from _referenced(contour, "ContourImageSequence")
    yield from _referenced(dataset, "SourceImageSequence")


def _referenced(place: Dataset, keyword: str) -> Iterator[str]:
    return (text(item, "ReferencedSOPInstanceUID") for item in _items(place, keyword))


def _frames_of_reference(dataset: Dataset) -> Iterator[str]:
    for place in (dataset, *_items(dataset, "ReferencedFrameOfReferenceSequence")):
        if text(place, "FrameOfReferenceUID"):
            yield text(place, "FrameOfReferenceUID")


def _items(place: Dataset, keyword: str) -> list[Any]:
    return list(place.get(keyword) or [])
