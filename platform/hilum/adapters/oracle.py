"""An annotator that knows the answers: it reads the truth that came with the images.

For simulation and tests. Its answers depend on nothing but the truth, its parameters and
the candidate's id, so that two simulations of one campaign are told the same.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from pydantic import Field

from hilum.core.asking import IGNORE, Annotation, LabelMap, Task
from hilum.core.errors import DataError, RecipeError
from hilum.core.geometry import Patch
from hilum.core.registry import Params, annotators
from hilum.select.costs import terms
from hilum.store.layout import Store
from hilum.store.volumes import open_volume, volumes_of

NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""An oracle answers outside time: a clock in its answers would make every simulation a different one."""


class OracleParams(Params):
    """``error_rate`` is the share of wrong classes, or of wrong voxels, that it tells on purpose.

    It stands for as many ``annotators``, who err each on their own and share the questions; nobody answers one twice.

    An answer takes ``seconds_per_answer``, and more for each slice and every 1,000 outlined voxels, times a
    log-normal factor of median 1 whose logarithm has the standard deviation ``seconds_spread``.
    """

    error_rate: float = Field(default=0.0, ge=0, le=1)
    annotators: int = Field(default=1, ge=1)
    seconds_per_answer: float = Field(default=0.0, ge=0)
    seconds_per_slice: float = Field(default=0.0, ge=0)
    seconds_per_1000_voxels: float = Field(default=0.0, ge=0)
    seconds_spread: float = Field(default=0.0, ge=0, le=3)
    seed: int = Field(default=0, ge=0)


@annotators.register("oracle", params=OracleParams)
class Oracle:
    """Answers at once, from the classes and label maps that were ingested with the images."""

    def __init__(
        self,
        store: Store,
        ingest_id: str,
        *,
        error_rate: float = 0.0,
        annotators: int = 1,
        seconds_per_answer: float = 0.0,
        seconds_per_slice: float = 0.0,
        seconds_per_1000_voxels: float = 0.0,
        seconds_spread: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._store = store
        self._volumes = volumes_of(store, ingest_id)
        self._error_rate = error_rate
        self._names: list[str] = ["oracle"] if annotators == 1 else [f"oracle-{n + 1}" for n in range(annotators)]
        self._rates_T = np.array([seconds_per_answer, seconds_per_slice, seconds_per_1000_voxels])
        self._seconds_spread = seconds_spread
        self._seed = seed
        self._asked: set[tuple[str, str]] = set()

    def publish(self, tasks: Sequence[Task]) -> int:
        new = {(task.selection_id, task.candidate_id) for task in tasks} - self._asked
        self._asked |= new
        return len(new)

    def collect(self, tasks: Sequence[Task]) -> Sequence[Annotation]:
        return [self._answer(task) for task in tasks]

    def refused(self, tasks: Sequence[Task]) -> Mapping[str, str]:  # noqa: ARG002 (it can use all its own answers)
        return {}

    def declined(self, tasks: Sequence[Task]) -> Mapping[str, str]:  # noqa: ARG002 (it answers everything)
        return {}

    def _answer(self, task: Task) -> Annotation:
        name = self._somebody_for(task)
        # Who answers alone errs as ever; the others err each on their own.
        own = [self._names.index(name)] if len(self._names) > 1 else []
        rng = np.random.default_rng([self._seed, int(task.candidate_id, 16), *own])
        patch = task.chosen.candidate.patch
        is_class = task.question == "classify"
        class_id = self._class_of(task, rng) if is_class else None
        label_map_ZYX = None if is_class else self._label_map_of(task, rng)
        return Annotation(
            annotation_id=f"{name}-{task.candidate_id}",
            revision=1,
            patch=patch,
            annotator=name,
            answered_at=NO_TIME,
            seconds=self._seconds_of(patch, label_map_ZYX, rng),
            class_id=class_id,
            label_map_zyx=label_map_ZYX,
        )

    def _somebody_for(self, task: Task) -> str:
        """Who answers: drawn by the seed, of those who have not answered this candidate yet."""
        order = np.random.default_rng([self._seed, int(task.candidate_id, 16), len(self._names)])
        names: list[str] = [self._names[place] for place in order.permutation(len(self._names))]
        free = [name for name in names if name not in task.chosen.answered_by]
        if not free:
            raise RecipeError(
                f"The oracle's {len(names)} annotators have all answered candidate {task.candidate_id}. Give it as "
                "many annotators as select.relabel.max_annotators."
            )
        return free[0]

    def _seconds_of(self, patch: Patch, label_map_ZYX: LabelMap | None, rng: np.random.Generator) -> float:
        num_outlined = 0 if label_map_ZYX is None else np.count_nonzero((label_map_ZYX > 0) & (label_map_ZYX != IGNORE))
        usual = float((terms(np.array([patch.shape_zyx]), np.array([float(num_outlined)])) @ self._rates_T)[0])
        return usual * float(np.exp(self._seconds_spread * rng.standard_normal())) if self._seconds_spread else usual

    def _class_of(self, task: Task, rng: np.random.Generator) -> int:
        patch = task.chosen.candidate.patch
        volume = self._volumes[patch.volume_id]
        truth = volume.classes[volume.item_index(patch)] if volume.classes else -1
        if truth < 0:
            raise DataError(
                f"The oracle does not know the class of candidate {task.candidate_id}: volume {volume.volume_id} was "
                "ingested without it. Ingest with classes, or ask people (annotator 'directory')."
            )
        if rng.random() >= self._error_rate or len(task.class_names) == 1:
            return truth
        return int((truth + rng.integers(1, len(task.class_names))) % len(task.class_names))

    def _label_map_of(self, task: Task, rng: np.random.Generator) -> LabelMap:
        patch = task.chosen.candidate.patch
        volume = self._volumes[patch.volume_id]
        truth_ZYX = open_volume(self._store, volume).read_label_map_ZYX(patch).astype(np.uint16)
        num_classes = len(task.class_names)
        if self._error_rate == 0 or num_classes == 1:
            return truth_ZYX
        wrong = (rng.random(truth_ZYX.shape) < self._error_rate) & (truth_ZYX < num_classes)
        shifts = rng.integers(1, num_classes, truth_ZYX.shape)
        truth_ZYX[wrong] = (truth_ZYX[wrong] + shifts[wrong]) % num_classes
        return truth_ZYX
