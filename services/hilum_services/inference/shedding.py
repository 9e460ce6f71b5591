"""How deep to answer when many images wait: shallower answers come sooner, and more are given."""

import threading
import time
from collections.abc import Callable

from hilum.loop.answering.shelf import Quality

CALM_SECONDS = 2.0
_QUALITIES: tuple[Quality, ...] = ("accurate", "balanced", "fast")


class Shedding:
    """Balanced while more than ``above`` images wait, fast while more than twice as many do; None: always accurate.

    It goes back by one for every two seconds in which no more waited than half of what each began at, so that it does
    not change from one request to the next. Called by several threads at a time.
    """

    def __init__(self, above: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._above, self._clock = above, clock
        self._level = 0
        self._loaded_at = clock()
        self._lock = threading.Lock()

    @property
    def never(self) -> bool:
        """Whether it is always accurate."""
        return self._above is None

    def quality(self, num_waiting: int) -> Quality:
        """How to answer who leaves it to us, when so many images wait."""
        if self._above is None:
            return "accurate"
        with self._lock:
            now, reached = self._clock(), sum(num_waiting > times * self._above for times in (1, 2))
            num_calm = int((now - self._loaded_at) / CALM_SECONDS)
            if max(reached, 2 * num_waiting / self._above) > self._level:
                self._level, self._loaded_at = max(self._level, reached), now
            elif num_calm:
                self._level, self._loaded_at = max(0, self._level - num_calm), now
            return _QUALITIES[self._level]
