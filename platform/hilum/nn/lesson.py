"""What a training is given to learn from."""

from dataclasses import dataclass

from hilum.core.geometry import Zyx
from hilum.core.recipes import Question
from hilum.nn.batches import Examples


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt: labelled patches, their common shape, and the question they answer.

    ``held_out`` patches are never trained on: they tell an early stop when to stop.
    """

    question: Question
    examples: Examples
    patch_shape_zyx: Zyx
    held_out: Examples | None = None

    @property
    def spatial_dims(self) -> int:
        return 2 if self.patch_shape_zyx[0] == 1 else 3
