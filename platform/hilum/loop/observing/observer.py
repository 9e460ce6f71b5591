"""A store and its ledger, looked at now and then by parts; what was seen is told from memory, however often."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from hilum.core.ports import Meter

_log = logging.getLogger("hilum.services")


class Part(Protocol):
    """One thing that is looked at."""

    @property
    def what(self) -> str:
        """Its name, as the counter of errors has it."""
        ...

    def look(self) -> None:
        """Read what is new since the last time. What was seen is replaced as a whole, for `tell` runs beside it."""
        ...

    def tell(self, meter: Meter) -> None:
        """Tell what was seen, from memory."""
        ...


class Observer:
    """All parts, looked at in their order. One that fails is counted and keeps what it knew; the rest goes on."""

    def __init__(self, name: str, parts: Sequence[Part], *, clock: Callable[[], float] = time.time) -> None:
        self.name, self._parts, self._clock = name, parts, clock
        self._errors: Counter[str] = Counter({part.what: 0 for part in parts})
        self._looked, self._seconds = 0.0, 0.0

    @property
    def has_looked(self) -> bool:
        return self._looked > 0

    def look(self) -> None:
        """Look at every part once."""
        began = time.perf_counter()
        for part in self._parts:
            try:
                part.look()
            except Exception as error:
                # Not only ours: every object store has errors of its own, and whoever watches must not die of one.
                _log.error("%s could not be looked at: %s: %s", part.what, type(error).__name__, error)
                self._errors[part.what] += 1
        self._seconds, self._looked = time.perf_counter() - began, self._clock()

    def tell(self, meter: Meter) -> None:
        """Tell all that was seen."""
        for part in self._parts:
            part.tell(meter)
        for what, num in self._errors.items():
            meter.count("hilum_control_errors_total", num, what=what)
        meter.set("hilum_control_looked_timestamp_seconds", self._looked, look=self.name)
        meter.set("hilum_control_look_seconds", self._seconds, look=self.name)


class Rising:
    """A meter whose counters are given as totals and never fall: runs may be removed, and a ledger put back."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._inner: Meter | None = None

    def onto(self, meter: Meter) -> "Rising":
        """The same totals, told to another meter from now on."""
        self._inner = meter
        return self

    def count(self, metric: str, value: float = 1, /, **labels: str) -> None:
        """Tell a counter's total."""
        key = metric, tuple(sorted(labels.items()))
        self._highest[key] = max(value, self._highest.get(key, 0.0))
        self._meter.count(metric, self._highest[key], **labels)

    def observe(self, metric: str, value: float, /, **labels: str) -> None:
        self._meter.observe(metric, value, **labels)

    def set(self, metric: str, value: float, /, **labels: str) -> None:
        self._meter.set(metric, value, **labels)

    @property
    def _meter(self) -> Meter:
        assert self._inner is not None, "say onto which meter"
        return self._inner
