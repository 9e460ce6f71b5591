"""Batches read ahead in threads, in order: the device need not wait, and results stay what they were.

Threads and not processes: tensorstore, numpy and torch let go of Python's lock while they
work, and a batch that comes from another process has to be copied.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Place = TypeVar("Place")
Batch = TypeVar("Batch")

_AHEAD_PER_READER = 2


class Readers:
    """``num`` reading threads (0: none, a batch is read when it is asked for), and how long was waited for them."""

    def __init__(self, num: int = 0, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.num = num
        self._clock = clock
        self._seconds_waited = 0.0
        self._seconds_used = 0.0
        self._num_used = 0

    @property
    def wait_share(self) -> float:
        """Share of the time that went by waiting for a batch."""
        seconds = self._seconds_waited + self._seconds_used
        return self._seconds_waited / seconds if seconds else 0.0

    @property
    def batches_per_second(self) -> float:
        """How many batches a second were asked for and used."""
        seconds = self._seconds_waited + self._seconds_used
        return self._num_used / seconds if seconds else 0.0

    @contextmanager
    def ahead(self, read: Callable[[Place], Batch], places: Iterable[Place]) -> Iterator[Iterator[Batch]]:
        """``read`` of every place, in order. What was read too far ahead is let go."""
        if self.num == 0:
            yield self._timed(map(read, places))
            return
        pool = ThreadPoolExecutor(self.num, thread_name_prefix="hilum-reader", initializer=_use_one_core)
        try:
            yield self._timed(_in_order(pool, read, places, num_ahead=_AHEAD_PER_READER * self.num))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        asked = self._clock()
        for batch in batches:
            given = self._clock()
            self._seconds_waited += given - asked
            yield batch
            asked = self._clock()
            self._seconds_used += asked - given
            self._num_used += 1


def _in_order(
    pool: Executor, read: Callable[[Place], Batch], places: Iterable[Place], *, num_ahead: int
) -> Iterator[Batch]:
    pending: deque[Future[Batch]] = deque()
    for place in places:
        pending.append(pool.submit(read, place))
        if len(pending) > num_ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _use_one_core() -> None:
    # torch's number of threads is each thread's own, and sums depend on it.
    torch.set_num_threads(1)
