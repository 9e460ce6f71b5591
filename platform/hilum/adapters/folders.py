"""Finding what to ingest: a folder with an index, a folder of images and labels, or any files.

``index.csv`` has a column `image` and, each optional, `label`, `class`, `patient`, `side`.
Without an index, ``images/`` and ``labels/`` (or ``imagesTr/`` and ``labelsTr/``) pair files of the
same name; else every readable file is an image without labels.
"""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from hilum.adapters.reading import ENDINGS, ending
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
        items = [SourceItem(file) for file in files]
    else:
        root, items, names = _folder_or_file(where)
    if not items:
        raise NotFoundError(f"There is nothing to ingest at '{where}'. Readable: {', '.join(ENDINGS)}.")
    if is_local(root):
        root = str(filesystem(root)[1])  # from the top: workers have another current folder
    _refuse_links_out(root, items)
    return Source(root, tuple(items), names, _digests(root, items))


def _folder_or_file(where: str) -> tuple[str, list[SourceItem], tuple[str, ...]]:
    fs, path = filesystem(where)
    if fs.isfile(path):
        parent, _, name = where.rstrip("/").rpartition("/")
        return parent or ".", [SourceItem(name)], ()
    if not fs.isdir(path):
        raise NotFoundError(f"There is no file or folder '{where}'.")
    declared = _declared_names(fs, f"{path}/{CLASS_NAMES}")
    if fs.exists(f"{path}/{INDEX}"):
        items, names = _indexed(bytes(fs.cat_file(f"{path}/{INDEX}")))
        return where, items, declared or names
    for images, labels in _PAIRS:
        if fs.isdir(f"{path}/{images}"):
            return where, _paired(fs, path, images, labels), declared
    return where, [SourceItem(file) for file in _readable(fs, path)], declared


def _matching(pattern: str) -> tuple[str, list[str]]:
    fs, path = filesystem(pattern)
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if _GLOB & set(part))
    root = "/".join(parts[:fixed]) or ("/" if pattern.startswith("/") else ".")
    _, root_path = filesystem(root)
    found = sorted(str(file) for file in fs.glob(path) if ending(str(file)) and fs.isfile(file))
    return root, [file.removeprefix(root_path.rstrip("/") + "/") for file in found]


def _readable(fs: Any, folder: str) -> list[str]:
    found = sorted(str(file) for file in fs.find(folder) if ending(str(file)))
    return [file.removeprefix(folder.rstrip("/") + "/") for file in found]


def _paired(fs: Any, root: str, images: str, labels: str) -> list[SourceItem]:
    label_files = _readable(fs, f"{root}/{labels}") if fs.isdir(f"{root}/{labels}") else []
    same_name = {file: file for file in label_files}
    same_stem = {file.removesuffix(ending(file)): file for file in label_files}
    items = []
    for file in _readable(fs, f"{root}/{images}"):
        label = same_name.get(file) or same_stem.get(file[: -len(ending(file))])
        items.append(SourceItem(f"{images}/{file}", label=f"{labels}/{label}" if label else None))
    return items


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


def _refuse_links_out(root: str, items: Sequence[SourceItem]) -> None:
    """A link that leaves the folder would bring in files that nobody meant to share."""
    if not is_local(root):
        return
    folder = Path(filesystem(root)[1]).resolve()
    for number, item in enumerate(items):
        for path in item.files:
            if not (folder / path).resolve().is_relative_to(folder):
                raise DataError(f"File {number + 1} of {len(items)} is a link that leaves the folder; copy it inside.")


def _digests(root: str, items: Sequence[SourceItem]) -> tuple[str, ...]:
    fs, folder = filesystem(root)
    files = [path for item in items for path in item.files]
    with ThreadPoolExecutor(max_workers=8) as pool:
        return tuple(pool.map(lambda file: _sha256(fs, f"{folder.rstrip('/')}/{file}"), files))


def _sha256(fs: Any, path: str) -> str:
    """'missing' for a file that is not there: ingest will quarantine it and go on."""
    digest = hashlib.sha256()
    try:
        with fs.open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return "missing"
    return digest.hexdigest()


def _numbers_first(name: str) -> tuple[bool, int, str]:
    """'2' before '10', and numbers before words."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
