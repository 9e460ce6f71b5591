"""Colours that colour-blind people tell apart (https://jfly.uni-koeln.de/color/), in light and in dark.

The page names colours by CSS variable, so that one drawing serves both. Random is always grey:
it is what the others are measured against.
"""

from collections.abc import Sequence

from hilum.loop.curves import RANDOM

LIGHT = ("#0072b2", "#d55e00", "#00795a", "#b0508a", "#8a6d00", "#3a7ca5")
DARK = ("#56b4e9", "#ff8c42", "#35c79a", "#e49ac7", "#f0c945", "#9ecbe6")
OVERLAYS = ("#56b4e9", "#e69f00", "#00d49a", "#f07ac0", "#f0e442", "#ff6a3d", "#9d8cff", "#b5e853")
"""Fills over grey images: bright, the same in light and dark. Background has none."""

MARKERS = ("o", "s", "^", "D", "v", "P")


def strategy_class(name: str, names: Sequence[str]) -> str:
    """The colour slot of a strategy: 'c0', 'c1', … or 'cr' for random."""
    if name == RANDOM:
        return "cr"
    return f"c{[n for n in names if n != RANDOM].index(name) % len(LIGHT)}"


def marker(slot: str) -> str:
    return "." if slot == "cr" else MARKERS[int(slot[1:]) % len(MARKERS)]


def overlay(class_id: int) -> str:
    """The overlay colour of a class (1 upwards)."""
    return OVERLAYS[(class_id - 1) % len(OVERLAYS)]
