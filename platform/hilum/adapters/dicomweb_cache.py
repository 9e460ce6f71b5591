"""A folder for what was fetched from a PACS: nobody else can read it, and it never outlives its use for long."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hilum.core.errors import RequestError

_PREFIX = "hilum-dicomweb-"


@contextmanager
def private_folder(parent: str | None = None) -> Iterator[Path]:
    """An empty folder that only this user can enter, removed in the end, also after an error.

    What a killed process left behind is removed by the next one on the same machine.
    """
    place = Path(parent or tempfile.gettempdir())
    try:
        _sweep(place)
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{_here()}-{os.getpid()}-", dir=place))
    except OSError as error:
        raise RequestError(
            f"No folder can be made for what is fetched ({type(error).__name__}). Set HILUM_DICOMWEB_CACHE to one."
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    start = f"{_PREFIX}{_here()}-"
    for left in place.glob(f"{start}*"):
        owner = left.name.removeprefix(start).split("-")[0]
        if owner.isdecimal() and left.stat().st_uid == os.getuid() and not _runs(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _here() -> str:
    """This machine: a number of another one's process says nothing here."""
    return "".join(c for c in socket.gethostname() if c.isalnum()) or "here"
