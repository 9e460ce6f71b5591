"""What `hilum doctor` looks at."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hilum.cli.progress import counted
from hilum.store.inspection import Damage, damages, finished_places
from hilum.store.layout import Store

PACKAGES = ("hilum", "ray", "torch", "zarr", "tensorstore", "numpy", "pyarrow")
_MEMORY_FILE = Path("/proc/meminfo")


def machine() -> dict[str, str]:
    """Versions, cores and memory of this machine."""
    found = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
    found["cores"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    found["memory"] = _memory()
    return found


def damaged_places(store: Store) -> tuple[int, list[Damage]]:
    """How many finished runs, models and label sets there are, and those whose bytes have changed."""
    places = finished_places(store)
    return len(places), [damage for damage in counted(damages(store), len(places), "checking") if damage]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _memory() -> str:
    if not _MEMORY_FILE.is_file():
        return "unknown"
    fields = dict(line.split(":", 1) for line in _MEMORY_FILE.read_text().splitlines())
    total, available = (int(fields[name].split()[0]) / 2**20 for name in ("MemTotal", "MemAvailable"))
    return f"{total:.1f} GiB, {available:.1f} free"
