"""Caps on one round: no more than so many picks of a patient, of a class, of a machine.

All arms count alike. A candidate whose group is full is skipped and the next best is taken.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hilum.core.errors import RecipeError
from hilum.select.scored import Ints

NO_GROUP = -1
"""The group of a candidate that a cap does not speak of."""


@dataclass(frozen=True)
class Cap:
    """At most ``most`` picks of each group. ``groups`` (one a row of the pool) are numbers from 0, or `NO_GROUP`."""

    name: str
    groups: Ints
    most: int

    def __post_init__(self) -> None:
        if self.most < 1:
            raise RecipeError(f"{self.name} must allow at least 1 pick of each; given {self.most}.")


class Caps:
    """Caps, and how many picks each of their groups has by now. For one round: made anew for the next."""

    def __init__(self, caps: Sequence[Cap]) -> None:
        self._caps = tuple(caps)
        self._counts = [np.zeros(int(cap.groups.max(initial=NO_GROUP)) + 1, np.int64) for cap in caps]

    def take(self, row: int) -> bool:
        """Count ``row`` as picked; False, and nothing is counted, when one of its groups is full."""
        held = [(count, cap.groups[row], cap.most) for cap, count in self._held(row)]
        if any(count[group] >= most for count, group, most in held):
            return False
        for count, group, _ in held:
            count[group] += 1
        return True

    def closed(self, rows: Ints) -> npt.NDArray[np.bool_]:
        """Which of ``rows`` have a group that is full."""
        shut = np.zeros(len(rows), bool)
        for cap, full in zip(self._caps, self._full(), strict=True):
            groups = cap.groups[rows]
            shut[groups >= 0] |= full[groups[groups >= 0]]
        return shut

    def told(self) -> str:
        """Which caps have full groups, and how many."""
        full = [(cap.name, int(shut.sum()), len(shut)) for cap, shut in zip(self._caps, self._full(), strict=True)]
        return "; ".join(f"{name} is reached by {num} of {of}" for name, num, of in full if num)

    def _held(self, row: int) -> list[tuple[Cap, npt.NDArray[np.int64]]]:
        pairs = zip(self._caps, self._counts, strict=True)
        return [(cap, count) for cap, count in pairs if cap.groups[row] != NO_GROUP]

    def _full(self) -> list[npt.NDArray[np.bool_]]:
        return [count >= cap.most for cap, count in zip(self._caps, self._counts, strict=True)]


def most_of_share(num: int, max_share: float) -> int:
    """How many of ``num`` picks one group may have: its share rounded down, and never none."""
    # 0.1 + 0.2 is a little more than 0.3: a share that should be whole must not be floored below it.
    return max(1, math.floor(num * max_share + 1e-9))
