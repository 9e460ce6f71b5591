"""What is asked and what comes back: Candidate, Chosen, Task, Annotation."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from hilum.core.errors import DataError
from hilum.core.geometry import Patch

IGNORE = 65_535
"""The label of a voxel nobody has answered. Label maps are uint16, so classes are 0 to 65,534."""

LabelMap = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Candidate:
    """A patch we might ask about."""

    patch: Patch
    patient_id: str

    @property
    def candidate_id(self) -> str:
        return self.patch.candidate_id


@dataclass(frozen=True)
class Chosen:
    """A candidate in a selection: its place, the arm that chose it, and why.

    ``nearest_id`` is the labelled candidate most like it when it was chosen, ``nearest_distance`` how far
    apart their embeddings were (Euclidean); None where nothing was labelled or nothing embedded.
    ``predicted_seconds`` is how long answering is expected to take, if the recipe asks for it. ``answered_by``
    names who has answered already and must not be asked again; empty for what nobody has answered.
    """

    candidate: Candidate
    rank: int
    arm: str
    score: float
    reason: str
    nearest_id: str | None = None
    nearest_distance: float | None = None
    predicted_seconds: float | None = None
    answered_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A candidate as put before an annotator, with the model's first draft of the answer if there is one.

    ``draft_by`` is the checkpoint that drafted it.
    """

    selection_id: str
    chosen: Chosen
    question: str
    class_names: tuple[str, ...]
    draft_class: int | None = None
    draft_label_map_zyx: LabelMap | None = None
    draft_by: str | None = None

    @property
    def candidate_id(self) -> str:
        return self.chosen.candidate.candidate_id


@dataclass(frozen=True)
class Annotation:
    """One answer: a class, or a label map of the patch's shape in which IGNORE means unanswered."""

    annotation_id: str
    revision: int
    patch: Patch
    annotator: str
    answered_at: datetime
    seconds: float
    class_id: int | None = None
    label_map_zyx: LabelMap | None = None

    def __post_init__(self) -> None:
        if (self.class_id is None) == (self.label_map_zyx is None):
            raise DataError(f"Annotation {self.annotation_id} must hold a class or a label map, and not both.")
        if self.label_map_zyx is not None and self.label_map_zyx.shape != self.patch.shape_zyx:
            raise DataError(
                f"Annotation {self.annotation_id} has shape {self.label_map_zyx.shape}; "
                f"its patch is {self.patch.shape_zyx} (Z, Y, X)."
            )
