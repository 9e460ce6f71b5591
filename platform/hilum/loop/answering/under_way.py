"""What is on its way to an answer: passes through networks that go to an engine together, and end together."""

from collections.abc import Sequence

from hilum.nn.engine import Engine
from hilum.nn.passes import Pass


class UnderWay:
    """Its ``passes`` are answered by an engine, in whatever order; who made them puts together what is said."""

    passes: list[Pass]

    @property
    def progress(self) -> float:
        """The share of all windows that were seen, 0 to 1."""
        num = sum(one.num_windows for one in self.passes)
        return sum(one.progress * one.num_windows for one in self.passes) / num

    def submit(self, engine: Engine, *, seconds: float | None = None) -> None:
        """Have all of it answered; BusyError, and nothing is, when there is no room."""
        for place, one in enumerate(self.passes):
            try:
                engine.submit(one, seconds=seconds)
            except Exception:
                self.cancel(self.passes[:place])
                raise

    def cancel(self, passes: Sequence[Pass] | None = None) -> None:
        """Nobody waits any more."""
        for one in self.passes if passes is None else passes:
            one.done.cancel()
