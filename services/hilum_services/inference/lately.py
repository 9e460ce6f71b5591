"""What was looked up a moment ago, for many callers at once: one looks again, the others go on with what was known."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Lately(Generic[Key, Value]):
    """Values that are looked up again after ``seconds``, by whoever asks first. Of more than ``most`` the oldest
    are forgotten.

    ``look`` is given the key and what was known of it before; what it raises goes to who asked.
    """

    def __init__(self, look: Callable[[Key, Value | None], Value], *, seconds: float, most: int = 1000) -> None:
        self._look, self._seconds, self._most = look, seconds, most
        self._known: OrderedDict[Key, tuple[float, Value]] = OrderedDict()
        self._looking: dict[Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def at_hand(self, key: Key) -> Value | None:
        """What takes no time to say: it is fresh, or somebody else looks it up just now."""
        known = self._known.get(key)
        if known is None or (time.monotonic() - known[0] >= self._seconds and key not in self._looking):
            return None
        return known[1]

    def get(self, key: Key) -> Value:
        """The value. Where somebody looks it up just now it is the one before, and waited for only if there is none."""
        at_hand = self.at_hand(key)
        if at_hand is not None:
            return at_hand
        with self._lock:
            known = self._known.get(key)
            looking = self._looking.setdefault(key, threading.Lock())
            is_mine = looking.acquire(blocking=False)
        if not is_mine:
            if known is not None:
                return known[1]
            with looking:
                pass
            return self.get(key)
        try:
            value = self._look(key, None if known is None else known[1])
            self._keep(key, value)
        finally:
            with self._lock:
                del self._looking[key]
            looking.release()
        return value

    def _keep(self, key: Key, value: Value) -> None:
        with self._lock:
            self._known[key] = time.monotonic(), value
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
