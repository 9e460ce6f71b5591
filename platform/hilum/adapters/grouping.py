"""Which files make one image: headers with their voxels, slices with their series, members with their archive.

Nothing is refused here. What cannot be understood becomes an item of its own and gets its
reason when it is read, so that one bad file never hides the others.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from hilum.adapters.endings import DICOM, ending
from hilum.adapters.payloads import exists, is_archive, member_names, read_start
from hilum.core.errors import DataError
from hilum.core.sources import SourceItem

NUM_THREADS = 8
SNIFFED_BYTES = 1024
HEADER_BYTES = 64 << 10
_VOXELS_OF = {".hdr": (".img", ".img.gz"), ".hdr.gz": (".img.gz", ".img")}
_NAMED_INSIDE = (".mhd", ".nhdr")
_BESIDE = frozenset((
    ".bval", ".bvec", ".cfg", ".csv", ".doc", ".docx", ".htm", ".html", ".ini", ".json", ".log", ".md", ".md5", ".pdf",
    ".py", ".rst", ".rtf", ".sha1", ".sha256", ".sh", ".sql", ".toml", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml",
    ".yml",
))  # fmt: skip
"""Files that lie beside images everywhere and are none."""
_BESIDE_NAMES = frozenset((
    "authors", "changes", "citation", "copying", "licence", "license", "md5sums", "notice", "readme", "sha256sums",
))  # fmt: skip
_BESIDE_NAMES_OF_SYSTEMS = frozenset(("thumbs.db", "desktop.ini", "ehthumbs.db"))


def group(root: str, paths: Sequence[str]) -> list[SourceItem]:
    """One item for every image among ``paths`` (relative to ``root``), sorted; archives are looked into."""
    files = [inner for path in paths for inner in _inside(root, path) if not lies_beside(inner)]
    voxels = {path: voxels_of(root, path) for path in files if ending(path) in (*_VOXELS_OF, *_NAMED_INSIDE)}
    taken = {name for name in voxels.values() if name is not None}
    alone = [path for path in files if path not in taken]
    dicom = _dicom(root, alone)
    items = [
        SourceItem(path, parts=(part,) if (part := voxels.get(path)) is not None else ())
        for path in alone
        if path not in dicom
    ]
    return sorted([*items, *_series(root, sorted(dicom))], key=lambda item: item.image)


def voxels_of(root: str, path: str) -> str | None:
    """The file beside a header that has its voxels: by its name for .hdr, by the header's word for .mhd and .nhdr."""
    kind = ending(path)
    if kind in _VOXELS_OF:
        stem = path[: -len(kind)]
        candidates = [stem + other for other in _VOXELS_OF[kind]] + [stem + other.upper() for other in _VOXELS_OF[kind]]
        return next((other for other in candidates if exists(root, other)), None)
    if kind not in _NAMED_INSIDE:
        return None
    from hilum.adapters.itk_formats import data_file

    try:
        name = data_file(read_start(root, path, HEADER_BYTES), kind)
    except DataError:
        return None
    if name is None:
        return None
    beside = path[: -len(PurePosixPath(path).name)] + name
    return beside if exists(root, beside) else None


def lies_beside(path: str) -> bool:
    """True for text, tables, checksums and what operating systems leave behind: no images, and no reason to say so."""
    parts = PurePosixPath(path).parts
    name = parts[-1].lower() if parts else ""
    hidden = name.startswith(".") and not name.startswith("..")
    if hidden or name in _BESIDE_NAMES_OF_SYSTEMS or "__MACOSX" in parts:
        return ".." not in parts
    return PurePosixPath(name).suffix in _BESIDE or name in _BESIDE_NAMES


def _inside(root: str, path: str) -> list[str]:
    """A file itself, or the members of an archive; the archive itself where it holds nothing or is damaged."""
    if not is_archive(path):
        return [path]
    try:
        names = member_names(root, path)
    except DataError:
        return [path]
    return names if any(not lies_beside(name) for name in names) else [path]


def _dicom(root: str, paths: Sequence[str]) -> set[str]:
    """The DICOM files among ``paths``: by their ending, or by their first bytes where the ending says nothing."""
    known = {path for path in paths if ending(path) in DICOM}
    unknown = [path for path in paths if not ending(path)]
    if not unknown:
        return known
    with ThreadPoolExecutor(max_workers=NUM_THREADS) as pool:
        return known | {
            path for path, is_one in zip(unknown, pool.map(partial(_is_dicom, root), unknown), strict=True) if is_one
        }


def _is_dicom(root: str, path: str) -> bool:
    from hilum.adapters.dicom_header import is_dicom

    try:
        return is_dicom(read_start(root, path, SNIFFED_BYTES))
    except DataError:
        return False


def _series(root: str, files: Sequence[str]) -> list[SourceItem]:
    if not files:
        return []
    # pydicom takes half a second to import, so only where there is such a file.
    from hilum.adapters.dicom_discovery import group_series
    from hilum.adapters.dicom_labels import labels_of_series

    images = [replace(item, label=None) for item in group_series(root, files)]
    return labels_of_series(root, images, files)
