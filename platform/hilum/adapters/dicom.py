"""DICOM images: one file or all the files of a series become volumes.

Slices are sorted by geometry, stored values become what they mean (Hounsfield units for
CT), colours become RGB, and LPS+ becomes RAS+. Frames without a place in the patient, such
as those of an ultrasound film, are the items of a stack.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import length_hint
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, RTStructureSetStorage, SegmentationStorage

from hilum.adapters.deidentify import flags_of, kept_tags
from hilum.adapters.dicom_header import first_item, is_dicom, number, numbers, open_dataset, quietly, text, whole
from hilum.adapters.dicom_pixels import Pixels, frames_of, needed_bytes, rescaled, scales_of, stacked
from hilum.adapters.dicom_planes import Plane, planes_of
from hilum.adapters.dicom_series import Stack, lay_out
from hilum.adapters.dicom_slides import check_slide, is_slide, put_together, slide_spacing_mm
from hilum.adapters.dicom_words import CROSS_SECTIONAL, MODALITIES
from hilum.adapters.hostile import MAX_BYTES, in_words, refusing, storable
from hilum.core.errors import DataError
from hilum.core.geometry import Grid
from hilum.core.sources import Intensity, ReadImage

__all__ = ["identity_of", "is_dicom", "read_dicom", "refuse_what_is_no_image"]

_NOT_IMAGES = ("1.2.840.10008.1.3.10",)
_NOT_IMAGE_FAMILIES = (
    "1.2.840.10008.5.1.4.1.1.481.",  # radiotherapy: structures, doses, plans
    "1.2.840.10008.5.1.4.1.1.66",  # raw data, registrations, segmentations, surfaces
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.88.",  # reports
    "1.2.840.10008.5.1.4.1.1.9.",  # waveforms
    "1.2.840.10008.5.1.4.1.1.104.",  # documents
    "1.2.840.10008.5.1.4.1.1.30",  # parametric maps
)
_RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"
_PIXEL_DATA = 0x7FE00010
_CENTIMETRE = 3  # PS3.3 C.8.5.5.1.15


def read_dicom(
    payloads: Iterable[bytes], *, num_files: int | None = None, max_bytes: int = MAX_BYTES
) -> Iterator[ReadImage]:
    """The volumes in the files of one series, given in any order. One that is not whole is refused altogether.

    ``num_files`` is how many there are, where ``payloads`` does not know itself.
    """
    num_files = num_files or length_hint(payloads, 1)
    with refusing("DICOM"), quietly():
        datasets = []
        for place, payload in enumerate(payloads, start=1):
            with _naming(place, num_files):
                datasets.append(open_dataset(payload, max_bytes=max_bytes))
        images = _images(datasets, max_bytes)
    return iter(images)


def identity_of(dataset: Dataset) -> str | None:
    """Whose image it is, for a keyed hash only. Without a patient's number, at least studies stay together.

    Two hospitals may have given one number to two people: who issued it, if the file says so, is part of it.
    """
    number_of_patient = text(dataset, "PatientID")
    if number_of_patient:
        qualifiers = first_item(dataset, "IssuerOfPatientIDQualifiersSequence") or Dataset()
        issuer = text(dataset, "IssuerOfPatientID") or text(qualifiers, "UniversalEntityID")
        return f"{issuer}\n{number_of_patient}".strip()
    study = text(dataset, "StudyInstanceUID")
    return f"study:{study}" if study else None


def refuse_what_is_no_image(dataset: Dataset) -> None:
    """Refuse reports, plans, labels and everything else in DICOM that has no picture, saying what it is."""
    kind = text(dataset, "SOPClassUID")
    not_image = kind in _NOT_IMAGES or any(kind.startswith(family) for family in _NOT_IMAGE_FAMILIES)
    if kind in (SegmentationStorage, RTStructureSetStorage):
        raise DataError("The file holds labels of an image that is not here, or that has newer ones.")
    if not_image and kind != _RT_IMAGE:
        name = UID(kind).name if UID(kind).type else "an object of its own kind"
        raise DataError(f"The file is DICOM but not an image: {name}.")
    if not whole(dataset, "Rows") or not whole(dataset, "Columns"):
        raise DataError("The file is DICOM but not an image: it has no rows and columns.")


@contextmanager
def _naming(place: int, num_files: int) -> Iterator[None]:
    """Say which file of a series is refused; its name is not known here, and not to be told."""
    try:
        with refusing("DICOM"):
            yield
    except DataError as error:
        raise error if num_files == 1 else DataError(f"File {place} of {num_files} of the series: {error}") from None


def _images(datasets: Sequence[Dataset], max_bytes: int) -> list[ReadImage]:
    needed = 0
    for place, dataset in enumerate(datasets, start=1):
        with _naming(place, len(datasets)):
            refuse_what_is_no_image(dataset)
            needed += needed_bytes(dataset, max_bytes)
    _check_one_series(datasets)
    if needed > max_bytes:
        raise DataError(f"The series holds more than the {in_words(max_bytes)} that are read.")
    if len(datasets) == 1 and is_slide(datasets[0]):
        return [_slide(datasets[0], max_bytes)]
    planes = [planes_of(dataset, n) for n, dataset in enumerate(datasets)]
    if all(planes):
        stacks = lay_out([plane for of_file in planes for plane in of_file])
        frames = _Frames(datasets, max_bytes)
        return [_volume(stack, datasets, frames) for stack in stacks]
    if len(datasets) > 1:
        number_without = sum(not of_file for of_file in planes)
        raise DataError(f"{number_without} of {len(datasets)} slices have no position in the patient.")
    return [_frames_as_items(datasets[0], max_bytes)]


def _check_one_series(datasets: Sequence[Dataset]) -> None:
    said: dict[str, list[Hashable]] = {
        "patients": [identity_of(dataset) for dataset in datasets],
        "series": [text(dataset, "SeriesInstanceUID") for dataset in datasets],
        "frames of reference": [text(dataset, "FrameOfReferenceUID") for dataset in datasets],
        "kinds of pixels": [_kind_of_pixels(dataset) for dataset in datasets],
    }
    for what, values in said.items():
        tally = Counter(values)
        if len(tally) > 1:
            odd = values.index(min(values, key=lambda value: tally[value])) + 1
            raise DataError(
                f"The {len(datasets)} files are of {len(tally)} {what}: file {odd}, for one, is not like most. "
                "Give each a series of its own."
            )


def _kind_of_pixels(dataset: Dataset) -> tuple[str, str]:
    return text(dataset, "Modality"), text(dataset, "PhotometricInterpretation")


def _values(dataset: Dataset, max_bytes: int) -> list[Pixels]:
    frames = frames_of(dataset, max_bytes=max_bytes)
    scales = scales_of(dataset)
    if len(scales) != len(frames):
        raise DataError(f"The file has {len(frames)} frames and describes {len(scales)}.")
    return rescaled(frames, scales, dataset)


class _Frames:
    """The frames of all files of a series, each file decoded when one of its frames is asked for.

    A file of one slice gives its compressed pixels away: the memory serves the next slice.
    """

    def __init__(self, datasets: Sequence[Dataset], max_bytes: int):
        self._datasets = datasets
        self._max_bytes = max_bytes
        self._of_file: dict[int, list[Pixels]] = {}

    def of(self, plane: Plane) -> Pixels:
        found = self._of_file.get(plane.file) or self._decoded(plane.file)
        if plane.frame >= len(found):
            raise DataError("The file describes more frames than it has.")
        if len(found) > 1:
            self._of_file[plane.file] = found
        else:
            self._datasets[plane.file].pop(_PIXEL_DATA, None)
        return found[plane.frame]

    def _decoded(self, file: int) -> list[Pixels]:
        with _naming(file + 1, len(self._datasets)):
            return _values(self._datasets[file], self._max_bytes)


def _volume(stack: Stack, datasets: Sequence[Dataset], frames: _Frames) -> ReadImage:
    image = stacked((frames.of(plane) for plane in stack.planes), len(stack.planes))
    flags = (*stack.flags, *(flag for dataset in datasets for flag in flags_of(dataset)))
    return _described(datasets[stack.planes[0].file], image, stack.grid, stack.grid.shape_zyx, flags)


def _frames_as_items(dataset: Dataset, max_bytes: int) -> ReadImage:
    """A picture, or a film whose frames are items: its spacing may be known, its place in the patient is not."""
    values = _values(dataset, max_bytes)
    return _placeless(dataset, stacked(values, len(values)), _spacing_mm(dataset))


def _slide(dataset: Dataset, max_bytes: int) -> ReadImage:
    check_slide(dataset, max_bytes)
    tiles_FYXS = frames_of(dataset, max_bytes=max_bytes)
    whole_FYXS = put_together(tiles_FYXS, dataset)
    return _placeless(dataset, stacked(whole_FYXS, len(whole_FYXS)), slide_spacing_mm(dataset))


def _placeless(dataset: Dataset, image: Pixels, spacing: tuple[float, float] | None) -> ReadImage:
    """Pictures whose place in the patient is not known; each is an item."""
    flags = [*flags_of(dataset), "position_unknown", *([] if spacing else ["spacing_unknown"])]
    y, x = spacing or (1.0, 1.0)
    _, num, rows, columns = image.shape
    grid = Grid((num, rows, columns), (number(dataset, "SliceThickness") or 1.0, y, x))
    return _described(dataset, image, grid, (1, rows, columns), tuple(flags))


def _described(
    dataset: Dataset, image: Pixels, grid: Grid, item_shape_zyx: tuple[int, int, int], flags: tuple[str, ...]
) -> ReadImage:
    modality = text(dataset, "Modality")
    photograph = image.dtype == "uint8" and modality not in CROSS_SECTIONAL
    intensity: Intensity = "photograph" if photograph else "measured"
    return ReadImage(
        storable(image),
        grid,
        item_shape_zyx,
        # Any other word may be a name.
        modality=modality if modality in MODALITIES else "OT",
        intensity=intensity,
        patient=identity_of(dataset),
        study=text(dataset, "StudyInstanceUID") or None,
        tags=kept_tags(dataset),
        flags=tuple(sorted(set(flags))),
    )


def _spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    """Millimetres between the pixels of a picture (Y, X): the file's, the detector's or the ultrasound region's."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = numbers(dataset, keyword, 2)
        if found is not None and min(found) > 0:
            return found[0], found[1]
    region = first_item(dataset, "SequenceOfUltrasoundRegions")
    if region is None or len(dataset.SequenceOfUltrasoundRegions) > 1:
        return None
    y, x = _region_mm(region, "Y"), _region_mm(region, "X")
    return (y, x) if y and x else None


def _region_mm(region: Any, axis: str) -> float | None:
    if whole(region, f"PhysicalUnits{axis}Direction") != _CENTIMETRE:
        return None
    return 10.0 * abs(number(region, f"PhysicalDelta{axis}") or 0.0)
