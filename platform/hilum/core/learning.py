"""Split, Checkpoint and Model: who is on which side, and which weights answer."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hilum.core.errors import RecipeError
from hilum.core.ids import content_id
from hilum.core.imaging import Side, Volume
from hilum.core.recipes import SplitRecipe


@dataclass(frozen=True)
class Checkpoint:
    """Weights (safetensors) and their card: recipe, inputs, code version, metrics, licence."""

    checkpoint_id: str
    card: dict[str, Any]


def sides(volumes: Iterable[Volume], split: SplitRecipe) -> dict[str, Side]:
    """The side of every patient. A declared side wins; the rest are dealt by a seeded hash.

    Raises RecipeError when one patient is declared on two sides.
    """
    declared: dict[str, Side | None] = {}
    for volume in volumes:
        patient = volume.study.patient_id
        before = declared.get(patient)
        if before and volume.side and before != volume.side:
            raise RecipeError(
                f"Patient {patient} is declared both '{before}' and '{volume.side}': "
                "a patient is on one side of a split."
            )
        declared[patient] = before or volume.side
    undeclared = sorted((p for p, s in declared.items() if s is None), key=lambda p: content_id([split.seed, p]))
    num_test = _share(len(undeclared), split.test)
    num_validation = _share(len(undeclared) - num_test, split.validation / max(1e-9, 1 - split.test))
    dealt: dict[str, Side] = {p: s for p, s in declared.items() if s is not None}
    for place, patient in enumerate(undeclared):
        in_test, in_validation = place < num_test, place < num_test + num_validation
        dealt[patient] = "test" if in_test else "validation" if in_validation else "pool"
    return dealt


def _share(total: int, fraction: float) -> int:
    """At least one patient for a side that is wanted at all, as long as one is left over."""
    if fraction <= 0 or total < 2:
        return 0
    return min(total - 1, max(1, round(total * fraction)))
