"""What people said in Label Studio, as it stands there now.

The tasks' ids, times and annotation ids are listed every time, which is cheap; answers are fetched only of tasks
that are not as they were when last looked at. An answer that was deleted is therefore gone, a changed one is a
new revision, and no clock and no webhook is relied on.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hilum.adapters.label_studio.answers import Answer, read_answer
from hilum.adapters.label_studio.asked import ASKED_KEY, Asked, asked_from_json
from hilum.adapters.label_studio.connection import Connection
from hilum.adapters.label_studio.rows import Row, key_of, rows_of
from hilum.core.asking import Annotation, Task
from hilum.core.errors import DataError

_FETCHED_AT_ONCE = 100
SKIPPED, UNUSABLE, REJECTED = "skipped", "called unusable", "rejected in its review"


@dataclass
class Said:
    """What is said of tasks: answers, those that cannot be used and why, and what nobody will answer and why."""

    answers: list[Annotation] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)


class Listener:
    """Looks at one project again and again, and remembers what it saw of each task."""

    def __init__(self, connection: Connection, project_id: int, other_controls: Collection[str]) -> None:
        self._connection, self._project_id, self._other_controls = connection, project_id, other_controls
        self._seen: dict[int, tuple[tuple[Any, ...], list[Any]]] = {}

    def said_of(self, tasks: Sequence[Task], known: Mapping[str, Mapping[str, str]]) -> Said:
        """What is said of these tasks now. ``known``: selection id -> candidate id -> a task that was published."""
        said = Said()
        for selection_id in sorted({task.selection_id for task in tasks}):
            rows = rows_of(self._connection, self._project_id, selection_id)
            annotations = self._annotations(rows)
            by_key: dict[str, list[Row]] = {}
            for row in rows:
                by_key.setdefault(row.key, []).append(row)
            for task in (task for task in tasks if task.selection_id == selection_id):
                of_task = by_key.get(key_of(selection_id, task.candidate_id), [])
                if of_task:
                    self._judge(task, [(row, a) for row in of_task for a in annotations.get(row.task_id, [])], said)
                elif task.candidate_id in known.get(selection_id, {}):
                    said.refused[task.candidate_id] = (
                        "its task was deleted in Label Studio; `hilum label reconcile` asks again"
                    )
        return said

    def _annotations(self, rows: Sequence[Row]) -> dict[int, list[Any]]:
        """Task id -> its annotations, fetched where something changed."""
        marks = {row.task_id: (row.updated_at, row.annotation_ids) for row in rows if row.annotation_ids}
        changed = [task_id for task_id, mark in marks.items() if self._seen.get(task_id, (None,))[0] != mark]
        for start in range(0, len(changed), _FETCHED_AT_ONCE):
            chosen = changed[start : start + _FETCHED_AT_ONCE]
            for task in self._connection.tasks_numbered(self._project_id, chosen):
                self._seen[task["id"]] = (marks[task["id"]], task.get("annotations") or [])
        return {task_id: self._seen[task_id][1] for task_id in marks if task_id in self._seen}

    def _judge(self, task: Task, annotations: Iterable[tuple[Row, Any]], said: Said) -> None:
        answers: list[Annotation] = []
        refusals: list[str] = []
        declined: list[str] = []
        for row, annotation in annotations:
            try:
                answer = read_answer(annotation, _asked(row, task), other_controls=self._other_controls)
            except DataError as error:
                refusals.append(str(error))
                continue
            if answer.review == "rejected":
                refusals.append(REJECTED)
            elif (told := answer.annotation(task.chosen.candidate.patch)) is not None:
                answers.append(told)
            else:
                declined.append(_why(answer))
        said.answers += answers
        if refusals:
            said.refused[task.candidate_id] = "; ".join(sorted(set(refusals)))
        elif declined and not answers:
            said.declined[task.candidate_id] = "; ".join(sorted(set(declined)))


def _asked(row: Row, task: Task) -> Asked:
    """What the task showed and asked, as it was published; DataError when it is not about this candidate."""
    asked = asked_from_json(row.data.get(ASKED_KEY))
    is_class = asked.kind == "classify"
    if (
        asked.pages.patch != task.chosen.candidate.patch
        or asked.class_names != task.class_names
        or is_class != (task.question == "classify")
    ):
        raise DataError("the task's data were changed in Label Studio and ask something else than hilum did")
    return asked


def _why(answer: Answer) -> str:
    return f"{SKIPPED if answer.verdict == 'skipped' else UNUSABLE} by {answer.annotator}"
