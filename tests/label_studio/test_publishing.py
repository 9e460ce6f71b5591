"""Every task is asked once, whatever breaks; drafts follow the model; nothing that people began is touched."""

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from tests.label_studio import publisher
from tests.label_studio.people import People, middle_of
from tests.label_studio.servers import Server
from tests.label_studio.unruly import Mood, Unruly, unruly

from hilum.adapters.label_studio import publishing
from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.reconciling import reconcile
from hilum.core.asking import Task
from hilum.core.errors import DataError, NotFoundError
from hilum.store.layout import Store
from hilum.testing.phantoms import Phantom, phantom_store, phantom_tasks

PHANTOM = Phantom("segment", 2, num_frames=60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return phantom_store(str(tmp_path_factory.mktemp("store")), PHANTOM)


@pytest.fixture
def tasks(place: tuple[Store, str]) -> list[Task]:
    """Tasks of a selection that no other test asks about."""
    return _in_one_selection(phantom_tasks(*place, PHANTOM, num=12))


def _in_one_selection(asked: list[Task]) -> list[Task]:
    selection_id = uuid4().hex[:12]
    return [replace(task, selection_id=selection_id) for task in asked]


@pytest.fixture
def annotator(as_hilum: Server, place: tuple[Store, str]) -> LabelStudio:
    return LabelStudio(*place, project=f"Published {uuid4().hex[:12]}")


@pytest.fixture
def between(as_hilum: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Unruly]:
    with unruly(as_hilum.url) as between:
        monkeypatch.setenv("HILUM_LABEL_STUDIO_URL", between.url)
        yield between


def drafted(tasks: list[Task], checkpoint_id: str) -> list[Task]:
    return [replace(task, draft_label_map_zyx=middle_of(task), draft_by=checkpoint_id) for task in tasks]


def keys_of(annotator: LabelStudio) -> Counter[str]:
    return Counter(row.key for row in People(annotator).rows())


@pytest.mark.parametrize("mood", ["carry out and drop", "carry out and fail", "500", "429", "html", "drop"])
def test_a_lost_answer_makes_no_double_and_loses_nothing(
    annotator: LabelStudio, tasks: list[Task], between: Unruly, mood: Mood, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "BATCH_TASKS", 5)
    annotator.publish(tasks[:1])
    between.only = "POST"
    between.moods.append(mood)
    assert annotator.publish(tasks) == len(tasks) - 1
    assert sorted(keys_of(annotator).values()) == [1] * len(tasks)


def test_drafts_and_their_order_are_shown(annotator: LabelStudio, tasks: list[Task], label_studio: Server) -> None:
    annotator.publish(drafted(tasks, "c1c1c1c1c1c1"))
    project = label_studio.connection.ask(lambda sdk: sdk.projects.get(annotator.project_id))
    assert (project.sampling, project.model_version) == ("Uncertainty sampling", "c1c1c1c1c1c1")
    found = annotator.connection.tasks_numbered(project.id, [row.task_id for row in People(annotator).rows()])
    scores = {task["data"]["hilum_candidate"]: task["predictions"][0]["score"] for task in found}
    assert [task.candidate_id for task in tasks] == sorted(scores, key=scores.__getitem__)


def test_a_new_champions_drafts_reach_what_nobody_has_begun(annotator: LabelStudio, tasks: list[Task]) -> None:
    annotator.publish(drafted(tasks, "c1c1c1c1c1c1"))
    People(annotator).answer(tasks[:2])
    assert annotator.publish(drafted(tasks, "c2c2c2c2c2c2")) == 0
    by_key = {row.key: row.draft_versions for row in People(annotator).rows()}
    versions = [by_key[f"{task.selection_id}/{task.candidate_id}"] for task in tasks]
    assert versions[:2] == [{"c1c1c1c1c1c1"}] * 2
    assert versions[2:] == [{"c1c1c1c1c1c1", "c2c2c2c2c2c2"}] * (len(tasks) - 2)


def test_of_doubles_the_one_that_was_begun_stands(
    annotator: LabelStudio, tasks: list[Task], place: tuple[Store, str]
) -> None:
    annotator.publish(tasks[:2])
    twice = [{"data": annotator.data(task)} for task in tasks[:2]]
    annotator.connection.tell(lambda sdk: sdk.projects.import_tasks(id=annotator.project_id, request=twice))
    people = People(annotator)
    younger = max(row.task_id for row in people.rows() if row.key.endswith(tasks[0].candidate_id))
    asked = annotator.asked(tasks[0])
    people._sdk.annotations.create(id=younger, result=[_nothing_here(asked.pages.shape_yx)])
    found = reconcile(annotator, tasks[:2], place[0])
    assert found.num_doubles == 2
    assert set(keys_of(annotator).values()) == {1}
    (told,) = annotator.collect(tasks[:2])
    assert not np.any(told.label_map_zyx)


def _nothing_here(shape_yx: tuple[int, int]) -> dict[str, object]:
    return {
        "id": "n",
        "from_name": "page",
        "to_name": "image",
        "type": "choices",
        "item_index": 0,
        "original_height": shape_yx[0],
        "original_width": shape_yx[1],
        "value": {"choices": ["nothing here"]},
    }


def test_stale_tasks_are_retired_and_answers_are_not(
    annotator: LabelStudio, tasks: list[Task], place: tuple[Store, str]
) -> None:
    older = _in_one_selection(tasks)
    annotator.publish(older[:4])
    People(annotator).answer(older[:1])
    annotator.publish(tasks[:3])
    found = reconcile(annotator, tasks[:3], place[0], retire_others=True)
    assert found.num_retired == 3
    assert len(annotator.collect(older[:4])) == 1
    assert len(People(annotator).rows()) == 4


def test_a_task_that_was_deleted_is_asked_again(
    annotator: LabelStudio, tasks: list[Task], place: tuple[Store, str]
) -> None:
    annotator.publish(tasks[:3])
    gone = People(annotator).row(tasks[1])
    annotator.connection.ask(lambda sdk: sdk.tasks.delete(str(gone.task_id)))
    assert "was deleted" in annotator.refused(tasks[:3])[tasks[1].candidate_id]
    assert reconcile(annotator, tasks[:3], place[0]).num_asked_again == 1
    assert annotator.refused(tasks[:3]) == {}


def test_links_that_end_soon_are_renewed(annotator: LabelStudio, tasks: list[Task], place: tuple[Store, str]) -> None:
    short = LabelStudio(*place, project=annotator.named, link_days=1)
    short.publish(tasks[:2])
    assert reconcile(annotator, tasks[:2], place[0]).num_links_renewed == 2
    assert reconcile(annotator, tasks[:2], place[0]).num_links_renewed == 0
    assert annotator.refused(tasks[:2]) == {}


def test_two_publishers_and_a_kill_leave_every_task_once(
    annotator: LabelStudio, place: tuple[Store, str], label_studio: Server
) -> None:
    selection_id, title = uuid4().hex[:12], str(annotator.named)
    annotator.publish(publisher.tasks_about(*place, selection_id, 1))

    def started() -> subprocess.Popen[str]:
        return publisher.started(place, title, selection_id, num=60, batch=4, environment=label_studio.environment)

    def wait_for(num: int) -> None:
        while len(publishing.rows_of(annotator.connection, annotator.project_id, selection_id)) < num:
            time.sleep(0.05)

    first = started()
    wait_for(2)
    second = started()
    wait_for(20)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert second.wait(timeout=240) == 0
    counted = keys_of(annotator)
    assert len(counted) == 60
    assert set(counted.values()) == {1}


def test_a_project_that_cannot_ask_is_refused_with_all_that_is_missing(
    annotator: LabelStudio, tasks: list[Task], label_studio: Server
) -> None:
    config = '<View><Image name="image" valueList="$pages"/></View>'
    label_studio.connection.tell(lambda sdk: sdk.projects.create(title=str(annotator.named), label_config=config))
    with pytest.raises(DataError, match=r"brush.*polygon.*rectangle"):
        annotator.publish(tasks)


def test_answers_of_what_was_never_published_are_not_there(annotator: LabelStudio, tasks: list[Task]) -> None:
    with pytest.raises(NotFoundError, match="hilum label publish"):
        annotator.collect(tasks)


def test_no_identity_is_in_a_task(annotator: LabelStudio, tasks: list[Task]) -> None:
    annotator.publish(tasks[:1])
    assert tasks[0].chosen.candidate.patient_id not in str(People(annotator).row(tasks[0]).data)
