"""What the bridge is asked, counted by what it is about: never by address, for addresses are signed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hilum.adapters.label_studio.links import IMAGES
from hilum.core.ports import Meter
from hilum_services.bridge.webhooks import WEBHOOKS

_ROUTES = {IMAGES: "images", WEBHOOKS: "webhooks", "/ml": "drafts"}
_WATCHING = ("/metrics", "/health", "/ready")
_FAILED = 500


@dataclass
class Line:
    """One request. It failed, until it is known that it did not."""

    status: int = _FAILED


@contextmanager
def counted(meter: Meter, path: str) -> Iterator[Line]:
    """Count one request and its time, whatever becomes of it; not those of who only watches."""
    line, began = Line(), time.perf_counter()
    try:
        yield line
    finally:
        if path not in _WATCHING:
            route = next((route for begins, route in _ROUTES.items() if path.startswith(begins)), "other")
            meter.count("hilum_bridge_requests_total", route=route, status=str(line.status))
            meter.observe("hilum_bridge_seconds", time.perf_counter() - began, route=route)
