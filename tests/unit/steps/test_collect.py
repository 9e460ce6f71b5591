"""publish and collect: asked once, waited for, and taken in whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hilum.adapters.oracle import Oracle
from hilum.core.asking import IGNORE, Annotation, Task
from hilum.core.errors import DataError, WaitingForPeople
from hilum.core.recipes import Choice, PoolRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.steps import collect, publish
from hilum.steps.publish import tasks_of, with_draft
from hilum.store.labels import read_annotations, read_answers, read_declined
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run
from hilum.store.tables import SELECTION, write_rows
from hilum.testing.phantoms import Phantom, phantom_store, phantom_tasks

CLASSIFY = Phantom("classify", 2)
SEGMENT = Phantom("segment", 2)


@dataclass
class People:
    """Annotators with a will of their own: they answer some tasks, and cannot be understood on others."""

    oracle: Oracle
    num_ready: int = 0
    unusable: dict[str, str] = field(default_factory=dict)
    unwilling: dict[str, str] = field(default_factory=dict)
    change: Mapping[str, object] = field(default_factory=dict)
    asked: list[Sequence[Task]] = field(default_factory=list)

    def publish(self, tasks: Sequence[Task]) -> int:
        self.asked.append(tasks)
        return len(tasks)

    def collect(self, tasks: Sequence[Task]) -> Sequence[Annotation]:
        return [replace(answer, **self.change) for answer in self.oracle.collect(tasks[: self.num_ready])]

    def refused(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        return self.unusable

    def declined(self, tasks: Sequence[Task]) -> Mapping[str, str]:
        return self.unwilling


@dataclass
class Asked:
    store: Store
    selection_id: str
    people: People

    def collect(self, labels: str = "none") -> Manifest:
        inputs = {"select": self.selection_id, "labels": labels}
        recipe = collect.CollectRecipe(question=self.tasks[0].question)
        return collect.run(recipe, inputs, store=self.store, annotator=self.people)

    @property
    def tasks(self) -> list[Task]:
        return tasks_of(self.store, self.selection_id, "segment" if "bac" in self.class_names[0] else "classify")

    @property
    def class_names(self) -> tuple[str, ...]:
        return tasks_of(self.store, self.selection_id, "classify")[0].class_names


def selected(folder: Path, phantom: Phantom, *, num: int = 4) -> Asked:
    """A store in which ``num`` candidates of a phantom were chosen, as if by pool and select."""
    store, ingest_id = phantom_store(str(folder), phantom)
    pool = Run(store, "pool", 1, PoolRecipe(), {"ingest": ingest_id}).commit()
    run = Run(store, "select", 1, SelectRecipe(num=num), {"pool": pool.run_id, "score": "s", "labels": "none"})
    rows = [
        {
            "candidate_id": task.candidate_id,
            "volume_id": task.chosen.candidate.patch.volume_id,
            "start_zyx": list(task.chosen.candidate.patch.start_zyx),
            "shape_zyx": list(task.chosen.candidate.patch.shape_zyx),
            "patient_id": task.chosen.candidate.patient_id,
            "rank": task.chosen.rank,
            "arm": task.chosen.arm,
            "score": task.chosen.score,
            "reason": task.chosen.reason,
        }
        for task in reversed(phantom_tasks(store, ingest_id, phantom, num=num))
    ]
    write_rows(run.path("selection.parquet"), SELECTION, rows)
    run.commit(files=["selection.parquet"])
    return Asked(store, run.run_id, People(Oracle(store, ingest_id), num_ready=num))


def test_tasks_come_in_rank_order_with_the_classes_names(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    tasks = tasks_of(asked.store, asked.selection_id, "classify")
    assert [task.chosen.rank for task in tasks] == [0, 1, 2, 3]
    assert {task.class_names for task in tasks} == {("no lesion", "lesion")}
    assert {task.selection_id for task in tasks} == {asked.selection_id}


def test_a_published_selection_is_not_published_again(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    recipe = publish.PublishRecipe(question="classify", annotator=Choice(kind="oracle"))
    inputs = {"select": asked.selection_id, "checkpoint": "none"}
    for _ in range(2):
        manifest = publish.run(recipe, inputs, store=asked.store, annotator=asked.people, resources=Resources())
        assert manifest.results == {"num_tasks": 4}
    assert [len(tasks) for tasks in asked.people.asked] == [4]


def test_another_annotator_is_another_publish(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    inputs = {"select": asked.selection_id, "checkpoint": "none"}
    for kind in ("oracle", "directory"):
        recipe = publish.PublishRecipe(question="classify", annotator=Choice(kind=kind))
        publish.run(recipe, inputs, store=asked.store, annotator=asked.people, resources=Resources())
    assert len(asked.people.asked) == 2


def test_a_draft_is_the_likeliest_class(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    (task, *_) = tasks_of(asked.store, asked.selection_id, "classify")
    assert with_draft(task, np.array([0.4, 0.6])).draft_class == 1
    probs_CZYX = np.stack([np.full((1, 2, 2), 0.5), np.array([[[0.4, 0.6], [0.7, 0.1]]])])
    drawn = with_draft(replace(task, question="segment"), probs_CZYX).draft_label_map_zyx
    assert drawn is not None
    assert drawn.dtype == np.uint16
    assert drawn.tolist() == [[[0, 1], [1, 0]]]


@pytest.mark.parametrize("phantom", [CLASSIFY, SEGMENT])
def test_every_answer_gets_into_the_label_set(tmp_path: Path, phantom: Phantom) -> None:
    asked = selected(tmp_path, phantom)
    manifest = asked.collect()
    assert manifest.results["num_answers"] == 4
    answers = read_answers(asked.store, manifest.run_id)
    assert sorted(a.patch.candidate_id for a in answers) == sorted(t.candidate_id for t in asked.tasks)


def test_a_round_waits_for_its_last_answer(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    asked.people.num_ready = 3
    with pytest.raises(WaitingForPeople, match="waiting for 1 of 4 annotations. Nothing to do until then"):
        asked.collect()
    assert not (tmp_path / "labels").exists() or not list((tmp_path / "labels").iterdir())
    asked.people.num_ready = 4
    asked.collect()


def test_whoever_waits_is_told_which_answers_cannot_be_used(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    asked.people.num_ready, asked.people.unusable = 2, {"abc": "no such class", "def": "no such class"}
    with pytest.raises(WaitingForPeople, match=r"2 were given but cannot be used: abc \(no such class\), and 1 more"):
        asked.collect()


def test_collecting_the_same_answers_again_is_the_same_label_set(tmp_path: Path) -> None:
    asked = selected(tmp_path, SEGMENT)
    assert asked.collect() == asked.collect()
    assert len(list((tmp_path / "labels").iterdir())) == 1


@pytest.mark.parametrize(
    "change",
    [{"class_id": 0}, {"annotator": "other"}, {"seconds": 9.0}, {"revision": 2}, {"answered_at": datetime.now(UTC)}],
    ids=lambda change: next(iter(change)),
)
def test_an_answer_that_differs_in_anything_is_another_label_set(tmp_path: Path, change: dict[str, object]) -> None:
    asked = selected(tmp_path, CLASSIFY)
    first = asked.collect()
    asked.people.change = change
    assert asked.collect().run_id != first.run_id


def test_a_label_set_adds_to_its_parent(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    parent = asked.collect().run_id
    asked.people.change = {"revision": 2, "class_id": 1}
    child = asked.collect(labels=parent).run_id
    assert [answer.class_id for answer in read_answers(asked.store, child)] == [1, 1, 1, 1]
    assert {answer.revision for answer in read_answers(asked.store, parent)} == {1}


def test_a_crash_before_the_label_set_is_made_good(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    collected = asked.collect()
    Path(asked.store.label_set(collected.run_id), "manifest.json").unlink()
    assert asked.collect() == collected
    assert len(read_answers(asked.store, collected.run_id)) == 4


def test_several_annotators_of_one_task_are_all_heard_and_none_stands_for_another(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    first, second, *_ = asked.people.oracle.collect(asked.tasks)
    ann, ben = (replace(first, annotator=name, annotation_id=name, class_id=1) for name in ("ann", "ben"))
    assert collect.usable_answers([ben, second, ann], asked.tasks) == [ann, ben, second]
    asked.people.num_ready = 1
    with pytest.raises(WaitingForPeople, match="waiting for 3 of 4"):
        asked.collect()


def test_of_two_revisions_the_newest_counts(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY, num=1)
    old = asked.people.oracle.collect(asked.tasks)[0]
    new = replace(old, revision=2, class_id=1 - int(old.class_id or 0))
    for told in ([old, new], [new, old]):
        assert collect.usable_answers(told, asked.tasks) == [new]


def test_an_answer_to_nothing_asked_is_left(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    answers = asked.people.oracle.collect(asked.tasks)
    assert collect.usable_answers(answers, asked.tasks[:1]) == list(answers[:1])


def test_an_answer_outside_the_classes_is_never_trained_on(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    asked.people.change = {"class_id": 2}
    with pytest.raises(DataError, match="classes are 0 to 1"):
        asked.collect()


def test_a_class_is_no_answer_to_where(tmp_path: Path) -> None:
    asked = selected(tmp_path, SEGMENT)
    asked.people.change = {"class_id": 1, "label_map_zyx": None}
    with pytest.raises(DataError, match="the question is 'segment'"):
        asked.collect()


def test_unanswered_voxels_are_an_answer(tmp_path: Path) -> None:
    asked = selected(tmp_path, SEGMENT)
    partly = np.full((1, 16, 16), IGNORE, np.uint16)
    partly[0, 3, 3] = 1
    asked.people.change = {"label_map_zyx": partly}
    run = asked.collect()
    stored = read_annotations(f"{asked.store.run('collect', run.run_id)}/annotations.parquet")
    assert all(np.array_equal(answer.label_map_zyx, partly) for answer in stored)


def test_what_people_decline_is_not_waited_for_and_is_remembered(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    *answered, declined = asked.tasks
    asked.people.num_ready = len(answered)
    asked.people.unwilling = {declined.candidate_id: "skipped", "0" * 12: "nobody asked about this"}
    first = asked.collect()
    assert first.results["declined"] == {declined.candidate_id: "skipped"}
    assert read_declined(asked.store, first.run_id) == [declined.chosen.candidate.patch]
    asked.people.num_ready = len(asked.tasks)
    second = asked.collect()
    assert "declined" not in second.results
    assert second.run_id != first.run_id
    assert read_declined(asked.store, second.run_id) == []


def test_an_answer_counts_more_than_having_declined(tmp_path: Path) -> None:
    asked = selected(tmp_path, CLASSIFY)
    before = asked.collect()
    asked.people.unwilling = {asked.tasks[0].candidate_id: "skipped"}
    assert asked.collect().run_id == before.run_id
