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

    def add(self, other: "Said") -> None:
        self.answers += other.answers
        self.refused |= other.refused
        self.declined |= other.declined


class Listener:
    """Looks at one project again and again, and remembers what it saw of each task."""

    def __init__(
        self, connection: Connection, project_id: int, other_controls: Collection[str], *, num_annotators: int = 1
    ) -> None:
        self._connection, self._project_id = connection, project_id
        self._other_controls, self._num_annotators = other_controls, num_annotators
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
                    told = [(row, a) for row in of_task for a in annotations.get(row.task_id, [])]
                    said.add(self._judged(task, told))
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

    def _judged(self, task: Task, told: Iterable[tuple[Row, Any]]) -> Said:
        return judge(task, told, other_controls=self._other_controls, num_annotators=self._num_annotators)


def judge(
    task: Task, told: Iterable[tuple[Row, Any]], *, other_controls: Collection[str] = (), num_annotators: int = 1
) -> Said:
    """What is said of one task. ``told``: the row it stands in and an annotation as the API gives it.

    Nothing of it counts before ``num_annotators`` people have answered or declined. Whoever had answered before it
    was asked again (`Chosen.answered_by`) is none of them: their answer is refused, and their skipping says nothing.
    """
    answers: list[Annotation] = []
    refusals: set[str] = set()
    declined: dict[str, str] = {}
    for row, annotation in told:
        try:
            answer = read_answer(annotation, _asked(row, task), other_controls=other_controls)
            said = _checked(answer, task)
        except DataError as error:
            refusals.add(str(error))
            continue
        if said is not None:
            answers.append(said)
        elif answer.annotator not in task.chosen.answered_by:
            declined[answer.annotator] = _why(answer)
    num_people = len({answer.annotator for answer in answers} | set(declined))
    is_complete = num_people >= num_annotators
    if num_people and not is_complete:
        refusals.add(f"{num_people} of {num_annotators} annotators have answered so far")
    refused = {task.candidate_id: "; ".join(sorted(refusals))} if refusals else {}
    if not is_complete:
        return Said(refused=refused)
    if answers or refused:
        return Said(answers, refused)
    return Said(declined={task.candidate_id: "; ".join(sorted(declined.values()))})


def _checked(answer: Answer, task: Task) -> Annotation | None:
    """The answer as the core keeps it, None where people declined; DataError when it must not be used."""
    if answer.review == "rejected":
        raise DataError(REJECTED)
    annotation = answer.annotation(task.chosen.candidate.patch)
    if annotation is not None and answer.annotator in task.chosen.answered_by:
        raise DataError(
            f"'{answer.annotator}' has answered this before, and somebody else is asked now: let another person answer"
        )
    return annotation


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
