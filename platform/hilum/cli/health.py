"""What `hilum doctor` looks at."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hilum.cli.composition import ledger_of
from hilum.cli.progress import counted
from hilum.core.errors import CorruptionError, HilumError
from hilum.core.ports import CampaignPlace
from hilum.store.identity import ENVIRONMENT, find_key, fingerprint
from hilum.store.inspection import Damage, damages, finished_places
from hilum.store.layout import Store
from hilum.store.volume_checks import volume_damages, volume_ids

PACKAGES = ("hilum", "ray", "torch", "zarr", "tensorstore", "numpy", "pyarrow")
MOST_REASONS_SHOWN = 20
_MEMORY_FILE = Path("/proc/meminfo")


def machine() -> dict[str, str]:
    """Versions, cores and memory of this machine."""
    found = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
    found["cores"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    found["memory"] = _memory()
    return found


def ledger_places(store: Store) -> tuple[list[CampaignPlace], str]:
    """Where every campaign is, or why that cannot be told: a bucket without a ledger's URL, a read-only disk.

    A damaged ledger is a CorruptionError.
    """
    try:
        return list(ledger_of(store).places()), ""
    except CorruptionError:
        raise
    except HilumError as error:
        return [], str(error)


def key_of_pseudonyms(store: Store) -> tuple[str, list[Damage]]:
    """What is to be said of the store's key, and what is wrong with it."""
    try:
        found = find_key(store)
    except HilumError as error:
        place = ENVIRONMENT if ENVIRONMENT in os.environ else Path(store.identity_file).name
        return "key of the pseudonyms: cannot be used", [Damage(place, (str(error),))]
    if found is None:
        return "key of the pseudonyms: not here; the store can be worked with, and nothing be ingested into it", []
    return f"key of the pseudonyms: sound, fingerprint {fingerprint(found)}", []


def damaged_places(store: Store) -> tuple[int, list[Damage]]:
    """How many finished runs, models and label sets there are, and those whose bytes have changed."""
    places = finished_places(store)
    return len(places), [damage for damage in counted(damages(store), len(places), "checking") if damage]


def damaged_volumes(store: Store) -> tuple[int, list[Damage]]:
    """How many volumes there are, and those with chunks lost or changed, each chunk by name."""
    num = len(volume_ids(store))
    return num, [damage for damage in counted(volume_damages(store), num, "checking volumes") if damage]


def first_reasons(damaged: Sequence[Damage]) -> list[list[str]]:
    """One row a reason, and a count where a place has many; --json has them all."""
    rows = []
    for damage in damaged:
        rows += [[damage.place, reason] for reason in damage.reasons[:MOST_REASONS_SHOWN]]
        if len(damage.reasons) > MOST_REASONS_SHOWN:
            rows.append([damage.place, f"and {len(damage.reasons) - MOST_REASONS_SHOWN} more (--json lists them)"])
    return rows


def advice(*, runs: bool, volumes: bool, key: bool = False) -> str:
    """What to do about damage; empty when there is none."""
    sentences = []
    if key:
        sentences.append("Ingest nothing before the key of the pseudonyms is the store's own again.")
    if runs:
        sentences.append(
            "Put these folders back from a copy (`hilum restore --from BACKUP --to STORE --only FOLDER`), or delete "
            "them and run the same commands again."
        )
    if volumes:
        sentences.append("A damaged volume: restore or delete its folder, then ingest the same files again.")
    return " ".join(sentences)


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
