"""What people say, change, take back, skip or spoil in Label Studio, as hilum hears it. No webhook is ever sent."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from tests.label_studio.people import People, middle_of
from tests.label_studio.servers import Server
from tests.label_studio.unruly import unruly
from tests.unit.steps.test_collect import Asked, selected

from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.drafts import outline_draft
from hilum.core.asking import Task
from hilum.core.errors import WaitingForPeople
from hilum.steps import collect
from hilum.steps.publish import tasks_of
from hilum.store.labels import read_answers, read_declined
from hilum.testing.phantoms import Phantom


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return selected(tmp_path / "store", Phantom("segment", 2), num=3)


@pytest.fixture
def tasks(asked: Asked) -> list[Task]:
    return tasks_of(asked.store, asked.selection_id, "segment")


@pytest.fixture
def annotator(as_hilum: Server, asked: Asked) -> LabelStudio:
    ingest_id = next(path.name for path in Path(asked.store.url, "runs", "ingest").iterdir())
    return LabelStudio(asked.store, ingest_id, project=f"Heard {uuid4().hex[:12]}")


def collected(asked: Asked, annotator: LabelStudio) -> str:
    """The label set of what is said now."""
    recipe, inputs = collect.CollectRecipe(question="segment"), {"select": asked.selection_id, "labels": "none"}
    return collect.run(recipe, inputs, store=asked.store, annotator=annotator).run_id


def test_with_every_webhook_lost_the_label_set_is_what_label_studio_says(
    asked: Asked, annotator: LabelStudio, tasks: list[Task]
) -> None:
    annotator.publish(tasks)
    people = People(annotator)
    first = people.outline(tasks[0], middle_of(tasks[0]))
    people.answer(tasks[1:])
    before = collected(asked, annotator)
    everything = np.ones_like(middle_of(tasks[0]))
    people.change(first.id, outline_draft(annotator.asked(tasks[0]), everything, score=0, checkpoint_id="c")["result"])
    after = collected(asked, annotator)
    assert after != before
    assert _map_of(asked, before, tasks[0]).sum() == middle_of(tasks[0]).sum()
    np.testing.assert_array_equal(_map_of(asked, after, tasks[0]), everything)
    people.delete(first.id)
    with pytest.raises(WaitingForPeople, match="waiting for 1 of 3"):
        collected(asked, annotator)


def test_what_is_skipped_is_not_waited_for(asked: Asked, annotator: LabelStudio, tasks: list[Task]) -> None:
    annotator.publish(tasks)
    people = People(annotator)
    people.answer(tasks[:2])
    people.skip(tasks[2])
    label_set = collected(asked, annotator)
    assert read_declined(asked.store, label_set) == [tasks[2].chosen.candidate.patch]
    assert len(read_answers(asked.store, label_set)) == 2
    people.answer(tasks[2:])
    assert annotator.declined(tasks) == {}


def test_what_cannot_be_used_is_waited_for_with_its_reason(
    asked: Asked, annotator: LabelStudio, tasks: list[Task]
) -> None:
    annotator.publish(tasks)
    people = People(annotator)
    people.answer(tasks[1:])
    good = outline_draft(annotator.asked(tasks[0]), middle_of(tasks[0]), score=0, checkpoint_id="c")["result"][0]
    spoilt = people.send(tasks[0], [{**good, "original_width": 100}])
    assert "100" in annotator.refused(tasks)[tasks[0].candidate_id]
    with pytest.raises(WaitingForPeople, match="1 were given but cannot be used"):
        collected(asked, annotator)
    people.change(spoilt.id, [good])
    assert annotator.refused(tasks) == {}
    assert len(read_answers(asked.store, collected(asked, annotator))) == 3


def test_answers_are_collected_through_whatever_is_between(
    asked: Asked, annotator: LabelStudio, tasks: list[Task], as_hilum: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotator.publish(tasks)
    People(annotator).answer(tasks)
    ingest_id = next(path.name for path in Path(asked.store.url, "runs", "ingest").iterdir())
    with unruly(as_hilum.url) as between:
        monkeypatch.setenv("HILUM_LABEL_STUDIO_URL", between.url)
        between.moods.extend(["500", "429", "html", "drop", "503"])
        assert len(LabelStudio(asked.store, ingest_id, project=annotator.named).collect(tasks)) == 3
        assert not between.moods


def test_of_several_answers_the_last_counts(asked: Asked, annotator: LabelStudio, tasks: list[Task]) -> None:
    annotator.publish(tasks)
    people = People(annotator)
    people.answer(tasks)
    later = np.ones_like(middle_of(tasks[0]))
    people.outline(tasks[0], later)
    told = [answer for answer in annotator.collect(tasks) if answer.patch == tasks[0].chosen.candidate.patch]
    assert len(told) == 2
    assert {answer.annotator for answer in told} == {"label-studio-1"}
    if told[0].revision != told[1].revision:
        np.testing.assert_array_equal(_map_of(asked, collected(asked, annotator), tasks[0]), later)


def test_a_task_whose_data_were_changed_is_refused(annotator: LabelStudio, tasks: list[Task]) -> None:
    annotator.publish(tasks)
    people = People(annotator)
    people.answer(tasks)
    row = people.row(tasks[0])
    asked = {**row.data["hilum"], "class_names": ["background", "something else"]}
    annotator.connection.ask(lambda sdk: sdk.tasks.update(id=str(row.task_id), data={**row.data, "hilum": asked}))
    assert "changed" in annotator.refused(tasks)[tasks[0].candidate_id]
    assert len(annotator.collect(tasks)) == 2


def _map_of(asked: Asked, label_set: str, task: Task) -> np.ndarray:
    return next(
        answer.label_map_zyx
        for answer in read_answers(asked.store, label_set)
        if answer.patch == replace(task.chosen.candidate.patch) and answer.label_map_zyx is not None
    )
