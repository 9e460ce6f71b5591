"""Opening a DICOM file: from bytes to a header, quietly and within limits.

pydicom quotes values of the header in its warnings and its log, and a value may be a name:
nothing of what it says leaves this module.
"""

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pydicom
from isal import isal_zlib
from pydicom.datadict import dictionary_has_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import VR

from hilum.adapters.hostile import in_words
from hilum.core.errors import DataError

PREAMBLE_BYTES = 128
_MAGIC = b"DICM"
_META_BYTES = 4096
_GROUP_LENGTH = bytes((2, 0, 0, 0)) + b"UL" + bytes((4, 0))
_VRS = frozenset(str(vr).encode() for vr in VR if len(str(vr)) == 2)
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_FIRST_GROUPS = (0x0002, 0x0008)
_LONGEST_FIRST_ELEMENT = 1 << 16

# Else a handler on the root logger would print what pydicom quotes.
logging.getLogger("pydicom").propagate = False


@contextmanager
def quietly() -> Iterator[None]:
    """Run pydicom without its warnings. Not for threads of its own: filters of warnings are the process's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_dicom(start: bytes) -> bool:
    """Whether a file that begins like this (a few hundred bytes are enough) is DICOM, with a preamble or without."""
    if start[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == _MAGIC:
        return True
    return any(_two_elements(start, order) for order in ("little", "big"))


def open_header(file: Any, *, tags: list[str] | None = None) -> Dataset:
    """The header of an open file, without its pixels. ``tags`` names the only keywords wanted."""
    dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
    if not len(dataset):
        raise DataError("Not a DICOM file: its header is empty.")
    return dataset


def open_dataset(payload: bytes, *, max_bytes: int) -> Dataset:
    """Everything in one file. A deflated one is refused beyond ``max_bytes`` before it is unpacked whole."""
    if not is_dicom(payload[:1024]):
        raise DataError("Not a DICOM file: neither its preamble nor its first elements are DICOM's.")
    if DeflatedExplicitVRLittleEndian.encode() in payload[:_META_BYTES]:
        return _inflated(payload, max_bytes)
    dataset = pydicom.dcmread(io.BytesIO(payload), force=True)
    dataset.buffer = None  # nothing is read later, and a series' files would fill the memory a second time
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        plain = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else plain
    return dataset


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """The ``count`` finite numbers of an element; None where it is absent or empty, refused where it is neither."""
    value = _value(dataset, keyword)
    if value is None or value == "":
        return None
    values = value if hasattr(value, "__len__") and not isinstance(value, str) else [value]
    if not len(values):
        return None
    try:
        found = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        found = ()
    if len(found) != count or not all(math.isfinite(v) for v in found):
        raise DataError(
            f"{keyword} must be {count} finite {'number' if count == 1 else 'numbers'}; the file's are not."
        )
    return found


def number(dataset: Dataset, keyword: str) -> float | None:
    """The one finite number of an element, or None where it is absent."""
    found = numbers(dataset, keyword, 1)
    return None if found is None else found[0]


def whole(dataset: Dataset, keyword: str) -> int | None:
    """The one whole number of an element, or None where it is absent."""
    found = number(dataset, keyword)
    return None if found is None else int(found)


def present(dataset: Dataset, keyword: str) -> bool:
    """Whether the element is there, be it empty."""
    return _tag(keyword) in dataset


def text(dataset: Dataset, keyword: str) -> str:
    """The element as text, '' where it is absent. Of a person perhaps: for comparing, never for showing."""
    value = _value(dataset, keyword)
    return "" if value is None else str(value).strip()


def _value(dataset: Dataset, keyword: str) -> Any:
    """The value of an element, or None. Absent ones cost pydicom's ``get`` as much as present ones."""
    tag = _tag(keyword)
    return dataset[tag].value if tag in dataset else None


@lru_cache(maxsize=256)
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def first_item(dataset: Dataset | None, keyword: str) -> Dataset | None:
    """The first item of a sequence, or None where there is none."""
    sequence = None if dataset is None else _value(dataset, keyword)
    return sequence[0] if sequence else None


def _two_elements(start: bytes, order: Any) -> bool:
    """Whether two elements in ascending order stand at the start, in explicit or implicit form."""
    offset, before = 0, -1
    for _ in range(2):
        if len(start) < offset + 8:
            return False
        group = int.from_bytes(start[offset : offset + 2], order)
        tag = group << 16 | int.from_bytes(start[offset + 2 : offset + 4], order)
        length, begins = _length(start, offset, order)
        known = dictionary_has_tag(tag) or not tag & 0xFFFF
        if group not in _FIRST_GROUPS or not known or tag <= before or not 0 <= length < _LONGEST_FIRST_ELEMENT:
            return False
        offset, before = begins + length, tag
    return True


def _length(start: bytes, offset: int, order: Any) -> tuple[int, int]:
    """How long an element's value is, and where it begins."""
    vr = start[offset + 4 : offset + 6]
    if vr in _LONG_VRS:
        return int.from_bytes(start[offset + 8 : offset + 12], order), offset + 12
    if vr in _VRS:
        return int.from_bytes(start[offset + 6 : offset + 8], order), offset + 8
    # Big-endian DICOM is always explicit.
    return (int.from_bytes(start[offset + 4 : offset + 8], "little") if order == "little" else -1), offset + 8


def _inflated(payload: bytes, max_bytes: int) -> Dataset:
    """A deflated file, unpacked here: pydicom would unpack it without a limit."""
    length_element = payload[PREAMBLE_BYTES + 4 : PREAMBLE_BYTES + 16]
    if length_element[:8] != _GROUP_LENGTH:
        raise DataError("The deflated file does not say where its header ends.")
    start = PREAMBLE_BYTES + 16 + int.from_bytes(length_element[8:], "little")
    inflater = isal_zlib.decompressobj(-isal_zlib.MAX_WBITS)
    body = inflater.decompress(payload[start:], max_bytes + 1)
    if len(body) > max_bytes:
        raise DataError(f"The deflated file holds more than the {in_words(max_bytes)} that are read.")
    if not inflater.eof:
        raise DataError("The deflated file is cut short.")
    dataset = read_dataset(io.BytesIO(body), is_implicit_VR=False, is_little_endian=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset
