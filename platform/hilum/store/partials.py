"""What is being written beside its place: its name, its lock, and how what killed writers left is swept.

A writer holds a lock (``flock``) on its partial file or folder as long as it lives, and the
kernel lets go of it when it dies. The machine's boot id is in the name, because a lock that
looks free may be held on another machine: what others left is swept by age alone.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

SUFFIX = ".partial"
PARTIAL_SECONDS = 24 * 3600
_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def partial_folder(parent: Path, *, name: str) -> Iterator[Path]:
    """A folder in ``parent`` to fill and rename; gone afterwards if it was not renamed."""
    parent.mkdir(parents=True, exist_ok=True)
    with _held(parent, name, Path.mkdir) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def partial_file(place: Path) -> Iterator[Path]:
    """An empty file beside ``place`` to fill and rename; gone afterwards if it was not renamed."""
    with _held(place.parent, place.name, Path.touch) as file:
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)


def sweep(partials: Iterable[Path], *, older_than_seconds: float = PARTIAL_SECONDS) -> int:
    """Remove those whose writer has died, and those of other machines once they are old. Returns how many went."""
    return sum(_swept(path, time.time() - older_than_seconds) for path in partials)


def _swept(path: Path, before: float) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False  # it was renamed or swept meanwhile
    try:
        if not _is_dead(path, descriptor) and path.stat().st_mtime >= before:
            return False
        # Still holding the lock: a writer that made it this moment sees it gone and makes another.
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _is_dead(path: Path, descriptor: int) -> bool:
    """True when the writer was one of this machine and the kernel has let go of its lock."""
    if not boot_id() or f".{boot_id()}." not in path.name:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # held; or this file system has no locks
    return True


@contextmanager
def _held(parent: Path, name: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """A new entry of ``parent`` with this process's lock on it."""
    while True:
        path = parent / f"{name}.{boot_id() or 'unknown'}.{uuid4().hex}{SUFFIX}"
        make(path)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # swept between making and opening
        with suppress(OSError):  # some file systems have no locks: age decides there
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            break
        os.close(descriptor)
    try:
        yield path
    finally:
        os.close(descriptor)


@cache
def boot_id() -> str:
    """Which boot of which machine this is, in eight hexadecimal digits; empty where nobody can tell."""
    try:
        return _BOOT_ID_FILE.read_text().strip()[:8]
    except OSError:
        return ""
