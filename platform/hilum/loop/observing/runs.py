"""Runs that belong to no campaign: ingests, and simulations beside random."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.ports import Meter
from hilum.store.layout import Store, names_in
from hilum.store.manifest import Manifest, find_manifest

MOST_SIMULATIONS = 50


class Ingests:
    """A part of an `Observer`: every finished ingest, read once."""

    what = "ingests"

    def __init__(self, store: Store) -> None:
        self._runs = _Runs(store, "ingest")
        self._counts: dict[str, tuple[int, int]] = {}

    def look(self) -> None:
        for manifest in self._runs.new():
            results = manifest.results
            counts = results.get("num_volumes", 0), results.get("num_quarantined", 0)
            self._counts = {**self._counts, manifest.run_id: counts}

    def tell(self, meter: Meter) -> None:
        counts = self._counts.values()
        meter.count("hilum_ingest_volumes_total", sum(num for num, _ in counts))
        meter.count("hilum_ingest_quarantined_total", sum(num for _, num in counts))


@dataclass(frozen=True)
class _Strategy:
    """What one strategy of a simulation saved. None: random's final score was not reached by both."""

    simulation: str
    name: str
    labels_share: float | None
    gain: float


class Simulations:
    """A part of an `Observer`: every finished simulation, compared once."""

    what = "simulations"

    def __init__(self, store: Store) -> None:
        self._runs = _Runs(store, "simulate")
        self._found: tuple[_Strategy, ...] = ()

    def look(self) -> None:
        for manifest in self._runs.new():
            name = str(manifest.inputs["name"])
            others = [one for one in self._found if one.simulation != name]
            self._found = (*others, *_compared(manifest))[-MOST_SIMULATIONS:]

    def tell(self, meter: Meter) -> None:
        for one in self._found:
            labels: dict[str, Any] = {"simulation": one.simulation, "strategy": one.name}
            meter.set("hilum_simulation_gain", one.gain, **labels)
            if one.labels_share is not None:
                meter.set("hilum_simulation_labels_share", one.labels_share, **labels)


class _Runs:
    """The finished runs of a step, each given once."""

    def __init__(self, store: Store, step: str) -> None:
        self._store, self._step = store, step
        self._given: set[str] = set()

    def new(self) -> Iterator[Manifest]:
        """Those that were not given yet. One that cannot be read is told at the end: it keeps back none of the rest."""
        broken: list[HilumError] = []
        for name in sorted(names_in(self._store.path("runs", self._step)) - self._given):
            try:
                manifest = find_manifest(self._store.run(self._step, name))
            except HilumError as error:
                broken.append(error)
                continue
            if manifest is not None:
                self._given.add(name)
                yield manifest
        if broken:
            raise broken[0]


def _compared(manifest: Manifest) -> list[_Strategy]:
    # Late import: it brings torch, which whoever watches campaigns alone need not load.
    from hilum.loop.comparison import RANDOMS_FINAL
    from hilum.loop.simulate import simulation_of

    simulation = simulation_of(manifest)
    found = []
    for result in simulation.comparison.active:
        assert result.difference is not None, "every strategy but random is compared with it"
        saved = result.savings[RANDOMS_FINAL].point
        share = saved.low if saved.exact else None
        found.append(_Strategy(simulation.name, result.name, share, result.difference.interval.mean))
    return found
