"""Finding what to ingest: a folder with an index, a folder of images and labels, or any files.

``index.csv`` has a column `image` and, each optional, `label`, `class`, `patient`, `side`.
Without an index, ``images/`` and ``labels/`` (or ``imagesTr/`` and ``labelsTr/``) pair files of the
same name; else every file is an image without labels, but for text and the like. Zip archives
are looked into, DICOM series and pairs of files put together (``adapters/grouping.py``).
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from fsspec.implementations.local import LocalFileSystem

from hilum.adapters import endings
from hilum.adapters.endings import ENDINGS, ending
from hilum.adapters.grouping import group, lies_beside, voxels_of
from hilum.adapters.payloads import opened, split
from hilum.core.errors import DataError, NotFoundError, unknown_name
from hilum.core.imaging import Side
from hilum.core.sources import Source, SourceItem
from hilum.store.layout import filesystem, is_local

INDEX = "index.csv"
CLASS_NAMES = "labels.json"
COLUMNS = ("image", "label", "class", "patient", "side")
_PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
_GLOB = frozenset("*?[")


def find_source(where: str) -> Source:
    """The files at ``where``: a folder, a file, or a pattern such as ``scans/**/*.nii.gz``; any fsspec URL."""
    names: tuple[str, ...] = ()
    if _GLOB & set(where):
        root, files = _matching(where)
        items = group(root, files)
    else:
        root, items, names = _folder_or_file(where)
    if not items:
        raise NotFoundError(f"There is nothing to ingest at '{where}'. Readable: {', '.join(ENDINGS)}.")
    if is_local(root):
        root = str(filesystem(root)[1])  # from the top: workers have another current folder
    return Source(root, tuple(items), names or _drawn_names(root, items), _digests(root, items))


def _folder_or_file(where: str) -> tuple[str, list[SourceItem], tuple[str, ...]]:
    fs, path = filesystem(where)
    if fs.isfile(path):
        parent, _, name = where.rstrip("/").rpartition("/")
        parent = parent or ("/" if where.startswith("/") else ".")
        return parent, group(parent, [name]), ()
    if not fs.isdir(path):
        raise NotFoundError(f"There is no file or folder '{where}'.")
    declared = _declared_names(fs, f"{path}/{CLASS_NAMES}")
    if fs.exists(f"{path}/{INDEX}"):
        items, names = _indexed(bytes(fs.cat_file(f"{path}/{INDEX}")))
        return where, [_with_parts(fs, where, item) for item in items], declared or names
    for images, labels in _PAIRS:
        if fs.isdir(f"{path}/{images}"):
            return where, _paired(fs, where, images, labels), declared
    return where, group(where, _below(fs, path)), declared


def _matching(pattern: str) -> tuple[str, list[str]]:
    fs, path = filesystem(pattern)
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if _GLOB & set(part))
    root = "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else ".")
    _, root_path = filesystem(root)
    found = sorted(str(file) for file in fs.glob(path) if not fs.isdir(file))
    return root, [file.removeprefix(root_path.rstrip("/") + "/") for file in found]


def _below(fs: Any, folder: str) -> list[str]:
    """Every file below ``folder``, relative to it; on a disk also links that leave it, which reading refuses."""
    if not isinstance(fs, LocalFileSystem):
        found = sorted(str(file) for file in fs.find(folder))
        return [file.removeprefix(folder.rstrip("/") + "/") for file in found]
    files: list[Path] = []
    unreadable: list[Path] = []
    for here, folders, names in os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename))):
        files += [Path(here, name) for name in names]
        # Links to folders are not followed, so that none leads round in a circle; those out of here are told.
        files += [link for name in folders if _is_link_out(link := Path(here, name), folder)]
    return sorted(file.relative_to(folder).as_posix() for file in [*files, *unreadable])


def _is_link_out(path: Path, folder: str) -> bool:
    return path.is_symlink() and not path.resolve().is_relative_to(Path(folder).resolve())


def _paired(fs: Any, where: str, images: str, labels: str) -> list[SourceItem]:
    """Images and labels of the same name, of the same name but for the ending, or of a series' folder."""
    root = filesystem(where)[1].rstrip("/")
    found = _below(fs, f"{root}/{labels}") if fs.isdir(f"{root}/{labels}") else []
    label_files = [file for file in found if not lies_beside(file) and ending(file) not in endings.PARTS]
    same_name = {file: file for file in label_files}
    same_stem = {file.removesuffix(ending(file)) if ending(file) else file: file for file in label_files}
    items = []
    for item in group(where, [f"{images}/{file}" for file in _below(fs, f"{root}/{images}")]):
        file = item.image.removeprefix(f"{images}/")
        stem = file[: len(file) - len(ending(file))]
        label = same_name.get(file) or same_stem.get(stem)
        if label is None and ending(file) in ("", *endings.DICOM):
            label = same_stem.get(PurePosixPath(file).parent.as_posix())
        items.append(item if label is None else _with_parts(fs, where, replace(item, label=f"{labels}/{label}")))
    return items


def _with_parts(fs: Any, where: str, item: SourceItem) -> SourceItem:
    """The item with every further file that its image and its label need; a folder is the one series in it."""
    root = filesystem(where)[1].rstrip("/")
    if not split(item.image)[1] and fs.isdir(f"{root}/{item.image}"):
        files = [f"{item.image.rstrip('/')}/{file}" for file in _below(fs, f"{root}/{item.image}")]
        series = group(where, files)
        if len(series) == 1:
            drawn = item if item.label else series[0]
            item = replace(item, image=series[0].image, parts=series[0].parts)
            item = replace(item, label=drawn.label, older_labels=drawn.older_labels)
    beside = [voxels_of(where, path) for path in (item.image, *filter(None, [item.label]))]
    return replace(item, parts=tuple(dict.fromkeys([*item.parts, *filter(None, beside)])))


def _indexed(payload: bytes) -> tuple[list[SourceItem], tuple[str, ...]]:
    try:
        rows = list(csv.DictReader(io.StringIO(payload.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{INDEX} is not CSV in UTF-8 ({type(error).__name__}).") from None
    if not rows:
        raise DataError(f"{INDEX} has no rows: give a header ({', '.join(COLUMNS)}) and a row for every image.")
    for column in rows[0]:
        if column not in COLUMNS:
            raise DataError(f"{INDEX}: " + unknown_name("column", str(column), COLUMNS))
    if "image" not in rows[0]:
        raise DataError(f"{INDEX} needs a column 'image'; it has {', '.join(rows[0])}.")
    items = [_row(number, row) for number, row in enumerate(rows, start=2)]
    classes = {item.class_name for item in items if item.class_name is not None}
    return items, tuple(sorted(classes, key=_numbers_first))


def _row(number: int, row: dict[str, Any]) -> SourceItem:
    cells = {column: (row.get(column) or "").strip() for column in COLUMNS}
    for column in ("image", "label"):
        path = PurePosixPath(cells[column])
        if path.is_absolute() or ".." in path.parts or "\\" in cells[column] or "://" in cells[column]:
            raise DataError(f"{INDEX}, line {number}: '{column}' must be a path inside the folder of the index.")
    if not cells["image"]:
        raise DataError(f"{INDEX}, line {number}: 'image' is empty.")
    side: Side | None = next((s for s in get_args(Side) if s == cells["side"]), None)
    if cells["side"] and side is None:
        raise DataError(f"{INDEX}, line {number}: " + unknown_name("side", cells["side"], get_args(Side)))
    return SourceItem(cells["image"], cells["label"] or None, cells["class"] or None, cells["patient"] or None, side)


def _declared_names(fs: Any, path: str) -> tuple[str, ...]:
    """Class names from ``labels.json``: a list, or an object from each value to its name."""
    if not fs.exists(path):
        return ()
    try:
        content = json.loads(bytes(fs.cat_file(path)))
        if isinstance(content, dict):
            content = [content[str(value)] for value in range(len(content))]
        if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
            raise ValueError
    except (ValueError, KeyError):
        raise DataError(f'{CLASS_NAMES} must be {{"0": "background", "1": …}} without gaps, or a list.') from None
    return tuple(content)


def _drawn_names(root: str, items: Sequence[SourceItem]) -> tuple[str, ...]:
    """The names that DICOM labels give to what they draw: one list, so that a value means the same in every image."""
    drawn = [item for item in items if item.label is not None and ending(item.label) in ("", *endings.DICOM)]
    if not drawn:
        return ()
    from hilum.adapters.dicom_labels import label_names

    return label_names(root, drawn)


def _digests(root: str, items: Sequence[SourceItem]) -> tuple[str, ...]:
    """The SHA-256 of every file; of an archive's member, that of the archive and its place in it."""
    paths = [split(path) for item in items for path in item.files]
    files = list(dict.fromkeys(file for file, _ in paths))
    with ThreadPoolExecutor(max_workers=8) as pool:
        of_file = dict(zip(files, pool.map(lambda file: _sha256(root, file), files), strict=True))
    return tuple(f"{of_file[file]}!/{inside}" if inside else of_file[file] for file, inside in paths)


def _sha256(root: str, path: str) -> str:
    """'missing' for a file that cannot be read: ingest will quarantine it and go on."""
    try:
        with opened(root, path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (DataError, OSError):
        return "missing"


def _numbers_first(name: str) -> tuple[bool, int, str]:
    """'2' before '10', and numbers before words."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
