"""What may be kept of a DICOM header, and the warnings that its image must travel with.

A list of what is kept, not of what goes: an attribute that is not in ``KEPT`` is not read,
private ones and free text among them. What is kept is proved harmless value by value: a
number within its physical range, a word of a known vocabulary, a date or an UID. A name that
somebody typed into 'Manufacturer' is none of these. Dates and UIDs are still the scanner's
here; `hilum.store.identity.pseudonymous_tags` shifts and renames them before anything is written.

Actions are those of DICOM PS3.15 Annex E, Basic Profile (code 113100), with the option to retain
longitudinal temporal information with modified dates (113107).
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from hilum.adapters import dicom_words as words

Action = Literal["K", "C", "U"]
"""Keep as it is (not in the profile's table), clean by shifting (dates), or replace by a consistent UID."""

MAX_CHARACTERS = 200
_BINARY = {"FD": "d", "FL": "f", "US": "H", "SS": "h", "UL": "L", "SL": "l"}
_DATE = re.compile(r"(18|19|20|21)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_UID = re.compile(r"[0-2](\.(0|[1-9]\d*)){2,}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?")


@dataclass(frozen=True)
class Kept:
    """One attribute that may be kept: the profile's action, and what its value must be."""

    action: Action
    rule: Literal["number", "word", "pattern", "maker", "model", "date", "uid"]
    words: frozenset[str] = frozenset()
    pattern: str = ""
    low: float = 0.0
    high: float = 0.0


def _number(low: float, high: float) -> Kept:
    return Kept("K", "number", low=low, high=high)


def _word(known: frozenset[str]) -> Kept:
    return Kept("K", "word", words=known)


KEPT: Mapping[str, Kept] = {
    "Modality": _word(words.MODALITIES),
    "Manufacturer": Kept("K", "maker"),
    "ManufacturerModelName": Kept("K", "model"),
    "BodyPartExamined": _word(words.BODY_PARTS),
    "PatientPosition": _word(words.POSITIONS),
    "ViewPosition": _word(words.VIEWS),
    "ImageLaterality": _word(words.SIDES),
    "Laterality": _word(words.SIDES),
    "ScanningSequence": _word(words.SCANNING_SEQUENCES),
    "SequenceVariant": _word(words.SEQUENCE_VARIANTS),
    "MRAcquisitionType": _word(words.ACQUISITIONS),
    "PhotometricInterpretation": _word(words.PHOTOMETRIC),
    "ImageType": _word(words.IMAGE_TYPES),
    "ConvolutionKernel": Kept("K", "pattern", words=words.KERNELS, pattern=words.KERNEL_PATTERN),
    "KVP": _number(1, 500),
    "XRayTubeCurrent": _number(0, 5_000),
    "ExposureTime": _number(0, 100_000),
    "Exposure": _number(0, 100_000),
    "SliceThickness": _number(0, 500),
    "SpacingBetweenSlices": _number(-500, 500),
    "GantryDetectorTilt": _number(-90, 90),
    "ReconstructionDiameter": _number(0, 3_000),
    "MagneticFieldStrength": _number(0, 25),
    "RepetitionTime": _number(0, 100_000),
    "EchoTime": _number(0, 10_000),
    "InversionTime": _number(0, 100_000),
    "FlipAngle": _number(-360, 360),
    "EchoTrainLength": _number(0, 10_000),
    "NumberOfAverages": _number(0, 1_000),
    "DiffusionBValue": _number(0, 50_000),
    "BitsStored": _number(1, 64),
    "StudyDate": Kept("C", "date"),
    "SeriesDate": Kept("C", "date"),
    "AcquisitionDate": Kept("C", "date"),
    "StudyInstanceUID": Kept("U", "uid"),
    "SeriesInstanceUID": Kept("U", "uid"),
    "FrameOfReferenceUID": Kept("U", "uid"),
}
"""By keyword. Everything else of a header, in any group, is treated as action X: it is not read at all."""

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"


def kept_tags(dataset: Dataset) -> dict[str, str]:
    """What may be kept of a header, by keyword, each value checked against its rule."""
    found: dict[str, str] = {}
    for place in _places(dataset):
        for keyword, rule in KEPT.items():
            value = _checked(rule, values_of(place, keyword)) if keyword not in found else None
            if value:
                found[keyword] = value[:MAX_CHARACTERS]
    return found


def flags_of(dataset: Dataset) -> tuple[str, ...]:
    """Warnings from the header: 'burned_in_text' and 'face'. Their absence is no proof that the pixels are clean."""
    flags = []
    if _may_have_text(dataset):
        flags.append("burned_in_text")
    if _may_show_a_face(dataset):
        flags.append("face")
    return tuple(flags)


def values_of(dataset: Dataset, keyword: str) -> list[str]:
    """An attribute's values as text, as its bytes say them; none when absent or not of its type.

    pydicom's own conversion is not asked: its warnings repeat the value that they complain of.
    """
    tag = tag_for_keyword(keyword)
    element = dataset.get_item(tag) if tag is not None and tag in dataset else None
    match element:
        case RawDataElement(value=bytes(payload)):
            vr = element.VR if element.VR in _BINARY or element.VR not in (None, "UN") else dictionary_VR(element.tag)
            return _from_bytes(payload, vr, little_endian=element.is_little_endian)
        case DataElement():
            return _from_value(element.value)
        case _:
            return []


def _places(dataset: Dataset) -> Iterator[Dataset]:
    """The header itself; of a multi-frame image also what all frames share, and the first frame's own."""
    yield dataset
    for keyword in (_SHARED, _PER_FRAME):
        for group in _items(dataset, keyword)[:1]:
            for element in group:
                if element.VR == "SQ" and not element.tag.is_private:
                    yield from list(element.value)[:1]


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in dataset:
        return []
    value = dataset[tag].value
    return list(value) if dataset[tag].VR == "SQ" and value else []


def _from_bytes(payload: bytes, vr: str | None, *, little_endian: bool) -> list[str]:
    if vr in _BINARY:
        code = ("<" if little_endian else ">") + _BINARY[vr]
        size = struct.calcsize(code)
        whole = payload[: len(payload) // size * size]
        return [repr(value) for (value,) in struct.iter_unpack(code, whole)]
    text = payload.decode("ascii", errors="replace")
    return [part.strip(" \0") for part in text.split("\\")]


def _from_value(value: Any) -> list[str]:
    if value is None or isinstance(value, bytes | Dataset):
        return []
    if isinstance(value, str | int | float):
        return [part.strip(" \0") for part in str(value).split("\\")]
    try:
        return [str(part).strip(" \0") for part in value]
    except TypeError:
        return [str(value).strip(" \0")]


def _checked(rule: Kept, values: list[str]) -> str | None:
    match rule.rule:
        case "number":
            numbers = [_in_range(value, rule.low, rule.high) for value in values]
            return numbers[0] if numbers else None
        case "word":
            return "\\".join(value.upper() for value in values if value.upper() in rule.words)
        case "pattern":
            known = [v for v in values if v.upper() in rule.words or re.fullmatch(rule.pattern, v)]
            return "\\".join(known)
        case "maker":
            return words.maker(" ".join(values))
        case "model":
            return words.model(" ".join(values))
        case "date":
            return values[0] if values and _DATE.fullmatch(values[0]) else None
        case "uid":
            return values[0] if values and len(values[0]) <= 64 and _UID.fullmatch(values[0]) else None


def _in_range(text: str, low: float, high: float) -> str | None:
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return f"{number:.6g}" if low <= number <= high else None


def _may_have_text(dataset: Dataset) -> bool:
    """True when the header says so, or, saying nothing, comes from a machine that often writes into its pixels."""
    said = values_of(dataset, "BurnedInAnnotation")[:1]
    if said == ["YES"]:
        return True
    if said == ["NO"]:
        return False
    modality = (values_of(dataset, "Modality") or [""])[0].upper()
    sop_class = (values_of(dataset, "SOPClassUID") or [""])[0]
    return (
        modality in words.MODALITIES_WITH_TEXT
        or sop_class.startswith(words.SECONDARY_CAPTURE)
        or bool(values_of(dataset, "ConversionType"))
        or "SCREEN SAVE" in " ".join(values_of(dataset, "ImageType")).upper()
    )


def _may_show_a_face(dataset: Dataset) -> bool:
    """True for what the header calls a recognizable face, or a cross-sectional scan of the head."""
    if values_of(dataset, "RecognizableVisualFeatures")[:1] == ["YES"]:
        return True
    modality = (values_of(dataset, "Modality") or [""])[0].upper()
    if modality not in words.CROSS_SECTIONAL:
        return False
    part = " ".join(values_of(dataset, "BodyPartExamined")).upper()
    if part:
        return any(name in part for name in words.HEAD_PARTS)
    said = " ".join(text for keyword in words.DESCRIPTIONS for text in values_of(dataset, keyword)).upper()
    return any(re.search(rf"\b{name}", said) for name in words.HEAD_PARTS)
