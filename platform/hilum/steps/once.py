"""Something made once for every key, however many threads ask for it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """``make`` of a key, called by whoever asks first; the others wait, and only for their own key.

    What ``make`` raises is raised to all who ask.
    """

    def __init__(self, make: Callable[[str], T]) -> None:
        self._make = make
        self._made: dict[str, Future[T]] = {}
        self._lock = threading.Lock()

    def __call__(self, key: str) -> T:
        with self._lock:
            is_first = key not in self._made
            made = self._made.setdefault(key, Future())
        if is_first:
            try:
                made.set_result(self._make(key))
            except BaseException as error:
                made.set_exception(error)
        return made.result()
