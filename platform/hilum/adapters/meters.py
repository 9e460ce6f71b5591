"""What `core.telemetry` declares, counted: for a Prometheus that asks this process, or through Ray's own exporter."""

from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from hilum.core.telemetry import METRICS

# When a counter was made: a second series of each that nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

BY_NAME = {metric.name: metric for metric in METRICS}
_KINDS = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}


class PrometheusMeter:
    """Counts in this process; `exposition` is what a Prometheus reads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._made: dict[str, Any] = {}

    def count(self, metric: str, value: float = 1, /, **labels: str) -> None:
        self._of(metric, labels).inc(value)

    def observe(self, metric: str, value: float, /, **labels: str) -> None:
        self._of(metric, labels).observe(value)

    def set(self, metric: str, value: float, /, **labels: str) -> None:
        self._of(metric, labels).set(value)

    def exposition(self) -> bytes:
        """All series, in Prometheus's text format."""
        text: bytes = generate_latest(self._registry)
        return text

    def _of(self, name: str, labels: dict[str, str]) -> Any:
        if name not in self._made:
            declared = BY_NAME[name]
            more: dict[str, Any] = {"buckets": declared.buckets} if declared.kind == "histogram" else {}
            kind: Any = _KINDS[declared.kind]
            self._made[name] = kind(
                declared.name.removesuffix("_total"), declared.help, declared.labels, registry=self._registry, **more
            )
        made = self._made[name]
        return made.labels(**labels) if labels else made


class RayMeter:
    """Counts in a worker of Ray, which exports them on every node, with ``ray_`` before their names."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def count(self, metric: str, value: float = 1, /, **labels: str) -> None:
        if value > 0:  # Ray refuses to add nothing
            self._of(metric).inc(value, tags=labels)

    def observe(self, metric: str, value: float, /, **labels: str) -> None:
        self._of(metric).observe(value, tags=labels)

    def set(self, metric: str, value: float, /, **labels: str) -> None:
        self._of(metric).set(value, tags=labels)

    def _of(self, name: str) -> Any:
        if name not in self._made:
            from ray.util import metrics

            declared = BY_NAME[name]
            kind: Any = {"counter": metrics.Counter, "gauge": metrics.Gauge, "histogram": metrics.Histogram}
            more: dict[str, Any] = {"boundaries": list(declared.buckets)} if declared.kind == "histogram" else {}
            # Ray adds _total to a counter's name.
            short = declared.name.removesuffix("_total")
            self._made[name] = kind[declared.kind](short, declared.help, tag_keys=declared.labels, **more)
        return self._made[name]
