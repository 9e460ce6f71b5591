"""Images that inference answers later: how many, and how long the oldest has waited."""

import time
from collections import Counter
from collections.abc import Callable
from typing import get_args

from hilum.core.errors import NotFoundError
from hilum.core.ports import Meter
from hilum.store.inference_jobs import Status, jobs
from hilum.store.layout import Store


class Jobs:
    """A part of an `Observer`. The service bounds how many there are."""

    what = "jobs"

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._over: dict[str, Status] = {}
        self._told: tuple[Counter[str], float | None] = Counter(), None

    def look(self) -> None:
        found: Counter[str] = Counter()
        since: list[float] = []
        over: dict[str, Status] = {}
        for job in jobs(self._store):
            try:
                status = self._over.get(job.job_id) or job.state().status
                if status in ("waiting", "running"):
                    since.append(float(job.asked().get("since", self._clock())))
                else:
                    over[job.job_id] = status
            except NotFoundError:
                continue  # forgotten meanwhile
            found[status] += 1
        self._over, self._told = over, (found, min(since, default=None))

    def tell(self, meter: Meter) -> None:
        found, oldest = self._told
        for status in get_args(Status):
            meter.set("hilum_inference_jobs", found[status], status=status)
        age = 0.0 if oldest is None else max(0.0, self._clock() - oldest)
        meter.set("hilum_inference_job_waiting_seconds", age)
