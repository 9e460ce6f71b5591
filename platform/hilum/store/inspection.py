"""Looking a store over: what is finished in it, and whether its bytes are still those that were written."""

from collections.abc import Iterator
from dataclasses import dataclass

from hilum.core.errors import CorruptionError
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import MANIFEST, read_manifest, verify

PLACES = ("runs/*/*", "checkpoints/*", "labels/*")
"""Where manifests are, below the store."""


@dataclass(frozen=True)
class Damage:
    """One folder whose bytes are not what its manifest says, and what is wrong with each file."""

    place: str
    reasons: tuple[str, ...]


def finished_runs(store: Store, step: str) -> set[str]:
    """The ids of a step's finished runs."""
    return {place.rsplit("/", 1)[-1] for place in _finished(store, f"runs/{step}/*")}


def finished_places(store: Store) -> list[str]:
    """Every finished run, checkpoint and label set, as its path in the store."""
    return [place for pattern in PLACES for place in _finished(store, pattern)]


def damages(store: Store) -> Iterator[Damage | None]:
    """For every finished place in turn: what is damaged there, or None. Reads every byte that a manifest names."""
    for place in finished_places(store):
        url = store.path(place)
        try:
            reasons = verify(url, read_manifest(url))
        except CorruptionError as error:
            reasons = [str(error)]
        yield Damage(place, tuple(reasons)) if reasons else None


def _finished(store: Store, pattern: str) -> list[str]:
    fs, root = filesystem(store.url)
    found = fs.glob(f"{root.rstrip('/')}/{pattern}/{MANIFEST}")
    return sorted(path.removeprefix(root.rstrip("/")).strip("/").removesuffix(f"/{MANIFEST}") for path in found)
