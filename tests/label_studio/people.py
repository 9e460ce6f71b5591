"""People who answer through Label Studio's own API, as its web interface does."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.drafts import class_draft, outline_draft
from hilum.adapters.label_studio.rows import Row, key_of, rows_of
from hilum.core.asking import LabelMap, Task


class People:
    """Whoever works in one annotator's project."""

    def __init__(self, annotator: LabelStudio) -> None:
        self._annotator = annotator
        self._sdk = annotator.connection._client()

    def rows(self) -> list[Row]:
        return rows_of(self._annotator.connection, self._annotator.project_id)

    def row(self, task: Task) -> Row:
        return next(row for row in self.rows() if row.key == key_of(task.selection_id, task.candidate_id))

    def answer(self, tasks: Sequence[Task]) -> None:
        """Outline the middle of every image, or choose the last class."""
        for task in tasks:
            if task.question == "classify":
                self.choose(task, len(task.class_names) - 1)
            else:
                self.outline(task, middle_of(task))

    def choose(self, task: Task, class_id: int, **more: Any) -> Any:
        asked = self._annotator.asked(task)
        return self.send(task, class_draft(asked, class_id, score=0, checkpoint_id="c")["result"], **more)

    def outline(self, task: Task, label_map: LabelMap, **more: Any) -> Any:
        asked = self._annotator.asked(task)
        return self.send(task, outline_draft(asked, label_map, score=0, checkpoint_id="c")["result"], **more)

    def skip(self, task: Task) -> Any:
        return self.send(task, [], was_cancelled=True)

    def send(self, task: Task, result: list[dict[str, Any]], **more: Any) -> Any:
        row = self.row(task)
        return self._sdk.annotations.create(id=row.task_id, result=result, **{"lead_time": 4.5, **more})

    def change(self, annotation_id: int, result: list[dict[str, Any]]) -> None:
        self._sdk.annotations.update(id=annotation_id, result=result)

    def delete(self, annotation_id: int) -> None:
        self._sdk.annotations.delete(id=annotation_id)


def middle_of(task: Task) -> LabelMap:
    """A label map with its inner half outlined, off the centre so that a flip would show."""
    depth, height, width = task.chosen.candidate.patch.shape_zyx
    outlined: LabelMap = np.zeros((depth, height, width), np.uint16)
    outlined[:, height // 4 : height // 2 + 1, width // 4 : width - 2] = 1
    return outlined
