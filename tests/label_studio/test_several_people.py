"""Several people at one task of a real Label Studio: all are heard, all are waited for, nobody answers twice."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from tests.label_studio.people import People, middle_of
from tests.label_studio.servers import Server
from tests.unit.steps.test_collect import Asked, selected

from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.core.asking import Task
from hilum.core.errors import WaitingForPeople
from hilum.steps import collect
from hilum.steps.publish import tasks_of
from hilum.store.labels import read_answers, read_everybodys_answers
from hilum.testing.phantoms import Phantom

pytestmark = pytest.mark.usefixtures("as_hilum")


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return selected(tmp_path / "store", Phantom("segment", 2), num=3)


@pytest.fixture
def tasks(asked: Asked) -> list[Task]:
    return tasks_of(asked.store, asked.selection_id, "segment")


@pytest.fixture
def others(as_hilum: Server) -> list[int]:
    """The numbers of two more accounts."""
    mails = [f"{uuid4().hex[:12]}@example.com" for _ in range(2)]
    return [
        as_hilum.connection.ask(lambda sdk, mail=mail: sdk.users.create(username=mail, email=mail)).id for mail in mails
    ]


def annotator_for(asked: Asked, title: str, **params: int) -> LabelStudio:
    ingest_id = next(path.name for path in Path(asked.store.url, "runs", "ingest").iterdir())
    return LabelStudio(asked.store, ingest_id, project=title, **params)


def new_title() -> str:
    return f"Several {uuid4().hex[:12]}"


def outlined_by(people: People, tasks: Sequence[Task], person: int) -> None:
    for task in tasks:
        people.outline(task, middle_of(task), completed_by=person)


def test_all_who_are_asked_are_waited_for_and_what_they_agree_on_is_learned(
    asked: Asked, tasks: list[Task], others: list[int]
) -> None:
    annotator = annotator_for(asked, new_title(), num_annotators=3)
    recipe, inputs = collect.CollectRecipe(question="segment"), {"select": asked.selection_id, "labels": "none"}
    annotator.publish(tasks)
    people = People(annotator)
    people.answer(tasks)
    outlined_by(people, tasks, others[0])
    people.outline(tasks[0], np.ones_like(middle_of(tasks[0])), completed_by=others[1])
    assert len(annotator.collect(tasks)) == 3
    assert annotator.refused(tasks) == {
        task.candidate_id: "2 of 3 annotators have answered so far" for task in tasks[1:]
    }
    with pytest.raises(WaitingForPeople, match="waiting for 2 of 3"):
        collect.run(recipe, inputs, store=asked.store, annotator=annotator)
    outlined_by(people, tasks[1:], others[1])
    labels = collect.run(recipe, inputs, store=asked.store, annotator=annotator).run_id
    everybodys = read_everybodys_answers(asked.store, labels)
    assert {name: len(answers) for name, answers in everybodys.items()} == {task.candidate_id: 3 for task in tasks}
    assert len({answer.annotator for answer in everybodys[tasks[0].candidate_id]}) == 3
    for answer in read_answers(asked.store, labels):
        np.testing.assert_array_equal(answer.label_map_zyx, middle_of(tasks[0]))


def test_a_project_that_is_there_is_told_to_ask_more_people(asked: Asked, tasks: list[Task]) -> None:
    title = new_title()
    once = annotator_for(asked, title)
    once.publish(tasks[:1])
    annotator_for(asked, title, num_annotators=2).publish(tasks)
    project = once.connection.ask(lambda sdk: sdk.projects.get(once.project_id))
    assert project.maximum_annotations == 2
    people = People(once)
    first = people.row(tasks[0])
    people.answer(tasks[:1])
    (task,) = once.connection.tasks_numbered(once.project_id, [first.task_id])
    assert task["overlap"] == 2
    assert not task["is_labeled"]


def test_an_answer_by_whoever_answered_before_is_refused(asked: Asked, tasks: list[Task], others: list[int]) -> None:
    annotator = annotator_for(asked, new_title())
    again = [replace(task, chosen=replace(task.chosen, answered_by=("label-studio-1",))) for task in tasks]
    annotator.publish(again)
    people = People(annotator)
    people.answer(again[:1])
    people.skip(again[1])
    assert annotator.collect(again) == []
    assert list(annotator.refused(again)) == [again[0].candidate_id]
    assert "has answered this before" in annotator.refused(again)[again[0].candidate_id]
    assert annotator.declined(again) == {}
    outlined_by(people, again, others[0])
    assert {answer.annotator for answer in annotator.collect(again)} == {f"label-studio-{others[0]}"}
    assert len(annotator.collect(again)) == 3


def test_a_skipped_task_goes_to_another(asked: Asked, tasks: list[Task]) -> None:
    """What the guide tells people to do with a task that they have answered before."""
    annotator = annotator_for(asked, new_title())
    annotator.publish(tasks)
    people = People(annotator)
    row = people.row(tasks[0])
    people.skip(tasks[0])
    (task,) = annotator.connection.tasks_numbered(annotator.project_id, [row.task_id])
    assert not task["is_labeled"]
