"""The bytes of a path below a source's root: a file, or a member of an archive (``a.zip!/inside.dcm``).

Everything that can go wrong here is a DataError without the file's name. Links that leave the
root, and things that are not files (pipes, devices), are never opened.
"""

import errno
import os
from functools import lru_cache
from typing import Any

from hilum.adapters import archives
from hilum.adapters.hostile import MAX_BYTES, check_size
from hilum.core.errors import DataError
from hilum.store.layout import filesystem, is_local

INSIDE = "!/"
_ARCHIVE = ".zip"


def read_bytes(root: str, path: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Everything at ``path``. Refused when it is larger than ``max_bytes`` or empty."""
    archive, inside = split(path)
    fs, where, found = _found(root, archive)
    if inside:
        member = _member(root, archive, inside)
        with _opened(fs, where) as file:
            payload = archives.unpack(file, member, max_bytes=max_bytes)
    else:
        check_size((max(1, int(found.get("size") or 0)),), 1, max_bytes)
        try:
            payload = bytes(fs.cat_file(where))
        except (OSError, ValueError) as error:
            raise _cannot_open(error) from None
    if not payload:
        raise DataError("The file is empty.")
    return payload


def read_start(root: str, path: str, num_bytes: int) -> bytes:
    """The first bytes at ``path``; fewer when it is shorter."""
    archive, inside = split(path)
    fs, where, _ = _found(root, archive)
    with _opened(fs, where) as file:
        if inside:
            return archives.unpack_start(file, _member(root, archive, inside), num_bytes)
        try:
            return bytes(file.read(num_bytes))
        except (OSError, ValueError) as error:
            raise _cannot_open(error) from None


def opened(root: str, path: str) -> Any:
    """The file at ``path``, open for reading; an archive itself, never a member of it."""
    fs, where, _ = _found(root, path)
    return _opened(fs, where)


def size(root: str, path: str) -> int:
    """How many bytes are at ``path`` once unpacked from its archive. Refused when nothing readable is there."""
    archive, inside = split(path)
    _, _, found = _found(root, archive)
    return _member(root, archive, inside).unpacked_bytes if inside else int(found.get("size") or 0)


def exists(root: str, path: str) -> bool:
    """True when something can be read at ``path``."""
    try:
        size(root, path)
    except DataError:
        return False
    return True


def member_names(root: str, archive: str) -> list[str]:
    """The paths of an archive's members, refused ones included, sorted."""
    return sorted(f"{archive}{INSIDE}{name}" for name in _directory_of(root, archive))


def is_archive(path: str) -> bool:
    return INSIDE not in path and path.lower().endswith(_ARCHIVE)


def split(path: str) -> tuple[str, str]:
    """(archive, member) of ``a.zip!/inside``; (path, '') of a file."""
    at = path.lower().find(_ARCHIVE + INSIDE)
    return (path, "") if at < 0 else (path[: at + len(_ARCHIVE)], path[at + len(_ARCHIVE + INSIDE) :])


def _found(root: str, path: str) -> tuple[Any, str, dict[str, Any]]:
    """The filesystem, the path on it and what it knows of the file there."""
    fs, folder = filesystem(root)
    where = f"{folder.rstrip('/')}/{path}"
    try:
        if is_local(root) and _leaves(where, folder):
            raise DataError("It is a link, or a path, that leaves the folder; copy the file inside.")
        found = dict(fs.info(where))
    except (OSError, ValueError) as error:
        raise _cannot_open(error) from None
    if found.get("type") != "file":
        raise DataError("It is not a file, or a link to none; only files are read.")
    return fs, where, found


def _leaves(where: str, folder: str) -> bool:
    """Whether a path ends, links followed, outside of the folder; a thousand slices would feel pathlib here."""
    top = os.path.realpath(folder).rstrip("/")
    return not f"{os.path.realpath(where)}/".startswith(f"{top}/")


def _opened(fs: Any, where: str) -> Any:
    try:
        return fs.open(where, "rb")
    except (OSError, ValueError) as error:
        raise _cannot_open(error) from None


def _member(root: str, archive: str, inside: str) -> archives.Member:
    member = _directory_of(root, archive).get(inside)
    if member is None:
        raise DataError("The archive has no such member.")
    return member


def _directory_of(root: str, archive: str) -> dict[str, archives.Member]:
    _, _, found = _found(root, archive)
    version = str([found.get(key) for key in ("size", "mtime", "ino", "ETag", "LastModified")])
    return _directory(root, archive, version)


@lru_cache(maxsize=8)
def _directory(root: str, archive: str, _version: str) -> dict[str, archives.Member]:
    """Parsed once for all members: a series of a thousand slices is a thousand members."""
    fs, where, _ = _found(root, archive)
    with _opened(fs, where) as file:
        return archives.members(file)


def _cannot_open(error: Exception) -> DataError:
    match error:
        case FileNotFoundError():
            return DataError("The file cannot be opened: it is not there, or it is a link to one that is not there.")
        case PermissionError():
            return DataError("The file cannot be opened: you have no leave to read it.")
        case OSError(errno=errno.ELOOP):
            return DataError("The file cannot be opened: it is a link that leads back to itself.")
    return DataError(f"The file cannot be opened ({type(error).__name__}).")
