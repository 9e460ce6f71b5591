"""What every annotator must keep. Subclass `AnnotatorTests` and give it its three fixtures.

``annotator`` is a new one that nobody asked yet, ``tasks`` are three or more tasks that it
can be asked, and ``answer`` makes its people (if it has any) answer some tasks.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hilum.core.asking import IGNORE, Annotation, Task
from hilum.core.ports import Annotator

Answer = Callable[[Sequence[Task]], None]


class AnnotatorTests:
    """The conformance suite: publishing twice asks once, collecting twice tells once."""

    def test_publishing_says_how_many_were_new(self, annotator: Annotator, tasks: Sequence[Task]) -> None:
        assert annotator.publish(tasks[:1]) == 1
        assert annotator.publish(tasks) == len(tasks) - 1

    def test_publishing_twice_asks_once(self, annotator: Annotator, tasks: Sequence[Task]) -> None:
        assert annotator.publish(tasks) == len(tasks)
        assert annotator.publish(tasks) == 0

    def test_asking_nothing_is_allowed(self, annotator: Annotator) -> None:
        assert annotator.publish([]) == 0
        assert list(annotator.collect([])) == []
        assert dict(annotator.refused([])) == {}
        assert dict(annotator.declined([])) == {}

    def test_every_answered_task_has_one_answer(
        self, annotator: Annotator, tasks: Sequence[Task], answer: Answer
    ) -> None:
        annotator.publish(tasks)
        answer(tasks)
        told = annotator.collect(tasks)
        assert sorted(a.patch.candidate_id for a in told) == sorted(t.candidate_id for t in tasks)
        assert len({a.annotation_id for a in told}) == len(tasks)
        assert dict(annotator.refused(tasks)) == {}
        assert dict(annotator.declined(tasks)) == {}

    def test_only_what_is_asked_after_is_told(
        self, annotator: Annotator, tasks: Sequence[Task], answer: Answer
    ) -> None:
        annotator.publish(tasks)
        answer(tasks)
        assert [a.patch.candidate_id for a in annotator.collect(tasks[:1])] == [tasks[0].candidate_id]

    def test_collecting_twice_tells_the_same(self, annotator: Annotator, tasks: Sequence[Task], answer: Answer) -> None:
        annotator.publish(tasks)
        answer(tasks)
        assert _facts(annotator.collect(tasks)) == _facts(annotator.collect(tasks))

    def test_publishing_again_forgets_no_answer(
        self, annotator: Annotator, tasks: Sequence[Task], answer: Answer
    ) -> None:
        annotator.publish(tasks)
        answer(tasks)
        before = _facts(annotator.collect(tasks))
        annotator.publish(tasks)
        assert _facts(annotator.collect(tasks)) == before

    def test_answers_fit_their_questions(self, annotator: Annotator, tasks: Sequence[Task], answer: Answer) -> None:
        annotator.publish(tasks)
        answer(tasks)
        by_candidate = {task.candidate_id: task for task in tasks}
        for told in annotator.collect(tasks):
            task = by_candidate[told.patch.candidate_id]
            assert told.patch == task.chosen.candidate.patch
            assert told.answered_at.tzinfo is not None
            assert told.seconds >= 0
            assert told.revision >= 1
            _assert_fits(told, task)


def _assert_fits(told: Annotation, task: Task) -> None:
    num_classes = len(task.class_names)
    if task.question == "classify":
        assert told.class_id in range(num_classes)
    else:
        labels = told.label_map_zyx
        assert labels is not None
        assert labels.dtype == np.uint16
        assert bool(((labels < num_classes) | (labels == IGNORE)).all())


def _facts(told: Sequence[Annotation]) -> list[tuple[object, ...]]:
    return sorted(
        (
            a.annotation_id,
            a.revision,
            a.annotator,
            a.answered_at,
            a.seconds,
            -1 if a.class_id is None else a.class_id,
            b"" if a.label_map_zyx is None else a.label_map_zyx.tobytes(),
        )
        for a in told
    )
