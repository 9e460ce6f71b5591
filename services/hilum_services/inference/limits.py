"""How much may be asked: of one image, of one caller, and at once."""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

_MOST_CALLERS = 10_000


@dataclass(frozen=True)
class Limits:
    """Bounds of the service. Bodies in bytes, images in voxels (all channels), times in seconds.

    Images of more than ``at_once_voxels`` become jobs. ``largest_bodies`` are all that are held at one time, and
    ``refusals_per_second`` how fast callers are told that they asked wrongly.
    """

    largest_body: int = 512 << 20
    largest_bodies: int = 1 << 30
    refusals_per_second: float = 100.0
    most_voxels: int = 512 * 512 * 2000
    at_once_voxels: int = 4 << 20
    slowest_answer: float = 60.0
    most_waiting: int = 64
    most_read_at_once: int = 4
    most_jobs: int = 16
    keep_jobs: float = 3600.0


class Rates:
    """Requests a minute of each caller: a bucket that fills steadily and holds a minute's worth."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_for(self, caller: str, per_minute: int) -> float:
        """0 if the caller may ask now, which is counted; else after how many seconds it may."""
        if per_minute == 0:
            return 0.0
        now = time.monotonic()
        with self._lock:
            tokens, since = self._buckets.pop(caller, (float(per_minute), now))
            tokens = min(float(per_minute), tokens + (now - since) * per_minute / 60)
            may = tokens >= 1
            self._buckets[caller] = (tokens - 1 if may else tokens, now)
            while len(self._buckets) > _MOST_CALLERS:
                self._buckets.popitem(last=False)
        return 0.0 if may else (1 - tokens) * 60 / per_minute
