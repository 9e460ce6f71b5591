"""Which DICOM files belong together: found by what their headers say, not by folder, name or DICOMDIR.

Only the start of each file is read. Nothing is refused here: a file that cannot be
understood becomes an item of its own, and gets its reason when it is read.
"""

import io
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial

from hilum.adapters.dicom_header import open_dataset, quietly, text, whole
from hilum.adapters.payloads import read_bytes, read_start
from hilum.core.errors import DataError
from hilum.core.sources import SourceItem

NUM_THREADS = 8
START_BYTES = 64 << 10
FILES_AT_A_TIME = 64
_DICOMDIR = "1.2.840.10008.1.3.10"
_COLUMNS = 0x00280011
_READ = [
    tag_for_keyword(keyword) or 0
    for keyword in (
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "ConcatenationUID",
        "DirectoryRecordSequence",
        "ImagePositionPatient",
        "NumberOfFrames",
        "Columns",
    )
]
_SLICED = tuple(f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130"))
"""CT, MR and PET, plain, enhanced and legacy converted: files of one series are slices."""


@dataclass(frozen=True)
class _Entry:
    """What a header says of the company a file keeps."""

    path: str
    group: Hashable
    instance: str = ""
    is_index: bool = False


def group_series(root: str, files: Sequence[str]) -> list[SourceItem]:
    """One item for each series of slices, film, picture or unreadable file, sorted by path.

    A DICOMDIR is left out: it is a list of files, and may be wrong. Segmentations and structure
    sets are items here; `hilum.adapters.dicom_labels` gives them to their images.
    """
    with quietly(), ThreadPoolExecutor(max_workers=NUM_THREADS) as pool:
        # Threads wait for disks and networks; parsing keeps the interpreter, and threads would only fight over it.
        entries = [_entry(root, path, start) for path, start in _starts(pool, root, sorted(files))]
    groups: dict[Hashable, list[_Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.is_index:
            groups[entry.group].append(entry)
    items = [_item(copy) for group in groups.values() for copy in _copies_apart(group)]
    return sorted(items, key=lambda item: item.image)


def _starts(pool: ThreadPoolExecutor, root: str, files: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The first bytes of each file, those of a few files in memory at a time; none of a file that cannot be read."""

    def start_of(path: str) -> bytes:
        try:
            return read_start(root, path, START_BYTES)
        except DataError:
            return b""

    for begin in range(0, len(files), FILES_AT_A_TIME):
        few = files[begin : begin + FILES_AT_A_TIME]
        yield from zip(few, pool.map(start_of, few), strict=True)


def _entry(root: str, path: str, start: bytes) -> _Entry:
    """Never raises: what a stranger's file makes pydicom do is found out when the file is read."""
    try:
        header = _header(root, path, start)
        kind, series = text(header, "SOPClassUID"), text(header, "SeriesInstanceUID")
        instance = text(header, "SOPInstanceUID")
        group = _company(header, kind, series, path)
    except Exception:
        return _Entry(path, ("file", path))
    return _Entry(path, group, instance, kind == _DICOMDIR or "DirectoryRecordSequence" in header)


def _company(header: Dataset, kind: str, series: str, path: str) -> Hashable:
    """What files of one item have in common."""
    if text(header, "ConcatenationUID"):
        return ("concatenation", series, text(header, "ConcatenationUID"))
    one_slice = (whole(header, "NumberOfFrames") or 1) == 1
    if series and one_slice and (kind in _SLICED or "ImagePositionPatient" in header):
        return ("series", text(header, "StudyInstanceUID"), series)
    return ("file", path)


def _header(root: str, path: str, start: bytes) -> Dataset:
    """The header up to the image's size; the whole file is read only where the start does not reach so far."""
    header: Dataset = read_partial(io.BytesIO(start), _beyond_size, force=True, specific_tags=_READ)
    if whole(header, "Columns") is None:
        payload = bytes(read_bytes(root, path))
        return open_dataset(payload, max_bytes=max(START_BYTES, 64 * len(payload)))
    return header


def _beyond_size(tag: Any, vr: str | None, length: int) -> bool:  # noqa: ARG001 (pydicom's signature)
    return bool(tag > _COLUMNS)


def _copies_apart(group: Sequence[_Entry]) -> list[list[_Entry]]:
    """A series that lies complete in two folders or archives is two items, and ingest keeps one of them.

    A slice that is twice in one folder stays, and the series is refused when it is read.
    """
    if len({entry.instance for entry in group}) == len(group):
        return [list(group)]
    folders: dict[str, list[_Entry]] = defaultdict(list)
    for entry in group:
        folders[str(PurePosixPath(entry.path).parent)].append(entry)
    instances = {frozenset(entry.instance for entry in folder) for folder in folders.values()}
    is_complete = len(instances) == 1 and all(len({e.instance for e in f}) == len(f) for f in folders.values())
    return list(folders.values()) if is_complete else [list(group)]


def _item(group: Sequence[_Entry]) -> SourceItem:
    paths = sorted(entry.path for entry in group)
    return SourceItem(paths[0], parts=tuple(paths[1:]))
