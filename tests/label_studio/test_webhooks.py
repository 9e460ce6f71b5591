"""Webhooks of a real Label Studio, lost, repeated, shuffled and late on their way to a real bridge: what people say is
what Label Studio has, and nothing old lies over what is newer."""

import random
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import requests
from label_studio_sdk.converter.brush import decode_rle
from tests.label_studio.people import People, middle_of
from tests.label_studio.postbox import Letter, Postbox, postbox
from tests.label_studio.servers import BRIDGE_KEY, WEBHOOK_SECRET, Server
from tests.services.own_server import serving
from tests.unit.steps.test_collect import Asked, selected

from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.deliveries import inbox
from hilum.adapters.label_studio.drafts import outline_draft
from hilum.adapters.label_studio.reconciling import reconcile
from hilum.core.asking import Task
from hilum.steps import collect
from hilum.steps.publish import tasks_of
from hilum.store.labels import read_answers, read_declined
from hilum.testing.phantoms import Phantom
from hilum_services.bridge.app import Access, make_app

ON_THE_WAY: dict[str, Callable[[list[Letter]], list[Letter]]] = {
    "dropped": lambda letters: [],
    "five times": lambda letters: [letter for letter in letters for _ in range(5)],
    "shuffled": lambda letters: random.Random(7).sample(letters, len(letters)),
    "five times and shuffled": lambda letters: random.Random(8).sample(letters * 5, 5 * len(letters)),
    "backwards": lambda letters: letters[::-1],
}


@pytest.fixture
def box(as_hilum: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postbox]:
    with postbox() as box:
        monkeypatch.setenv("HILUM_BRIDGE_URL_INSIDE", box.url)
        monkeypatch.setenv("HILUM_WEBHOOK_SECRET", WEBHOOK_SECRET)
        yield box


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return selected(tmp_path / "store", Phantom("segment", 2), num=4)


@pytest.mark.parametrize("how", ON_THE_WAY)
def test_whatever_becomes_of_webhooks_the_label_set_is_what_label_studio_says(
    asked: Asked, box: Postbox, label_studio: Server, how: str
) -> None:
    tasks = tasks_of(asked.store, asked.selection_id, "segment")
    ingest_id = next(path.name for path in Path(asked.store.url, "runs", "ingest").iterdir())
    annotator = LabelStudio(asked.store, ingest_id, project=f"Told {uuid4().hex[:12]}")
    annotator.publish(tasks)
    _said_changed_and_taken_back(annotator, tasks)
    assert len(box.letters) == NUM_SAID
    before = _collected(asked, annotator)
    arriving = ON_THE_WAY[how](box.letters)
    with serving(make_app(asked.store, Access((BRIDGE_KEY.encode(),), (WEBHOOK_SECRET.encode(),), ()))) as bridge:
        assert set(box.hand_on(arriving, bridge)) <= {200}
    assert _collected(asked, annotator) == before
    exported = _exported(label_studio, annotator.project_id)
    _check_the_label_set(asked, before, tasks, exported)
    told = inbox(asked.store, annotator.project_id)
    standing = {a["id"]: datetime.fromisoformat(a["updated_at"]) for task in exported for a in task["annotations"]}
    if how == "dropped":
        assert not told.annotations
    else:
        assert {number: one.updated_at for number, one in told.annotations.items()} == standing
        assert len(told.deleted_annotation_ids) == 1
    assert reconcile(annotator, tasks, asked.store).num_untold == len(standing) - len(told.annotations)


NUM_SAID = 9
"""Five created, one of them as a skip; three changed; one deleted."""


def _said_changed_and_taken_back(annotator: LabelStudio, tasks: list[Task]) -> None:
    people = People(annotator)
    regions = [_outlined(annotator, tasks[0], rows) for rows in (2, 3, 5)]
    first = people.send(tasks[0], regions[0])
    for later in regions[1:]:
        people.change(first.id, later)
    wrong = people.outline(tasks[1], np.ones_like(middle_of(tasks[1])))
    people.delete(wrong.id)
    right = people.outline(tasks[1], middle_of(tasks[1]))
    people.change(right.id, _outlined(annotator, tasks[1], 6))
    people.skip(tasks[2])
    people.outline(tasks[3], middle_of(tasks[3]))


def _outlined(annotator: LabelStudio, task: Task, num_rows: int) -> list[dict[str, Any]]:
    label_map = np.zeros_like(middle_of(task))
    label_map[:, :num_rows] = 1
    regions: list[dict[str, Any]] = outline_draft(annotator.asked(task), label_map, score=0, checkpoint_id="c")[
        "result"
    ]
    return regions


def _collected(asked: Asked, annotator: LabelStudio) -> str:
    recipe, inputs = collect.CollectRecipe(question="segment"), {"select": asked.selection_id, "labels": "none"}
    return collect.run(recipe, inputs, store=asked.store, annotator=annotator).run_id


def _exported(server: Server, project_id: int) -> list[dict[str, Any]]:
    """Everything that the project has, by Label Studio's own export."""
    answer = requests.get(
        f"{server.url}/api/projects/{project_id}/export",
        params={"exportType": "JSON", "download_all_tasks": "true"},
        headers={"Authorization": f"Token {server.token}"},
        timeout=60,
    )
    found: list[dict[str, Any]] = answer.json()
    return found


def _check_the_label_set(asked: Asked, label_set: str, tasks: list[Task], exported: list[dict[str, Any]]) -> None:
    answers = {answer.patch.candidate_id: answer.label_map_zyx for answer in read_answers(asked.store, label_set)}
    by_candidate = {task["data"]["hilum_candidate"]: task["annotations"] for task in exported}
    assert read_declined(asked.store, label_set) == [tasks[2].chosen.candidate.patch]
    for task in (tasks[0], tasks[1], tasks[3]):
        (annotation,) = by_candidate[task.candidate_id]
        (region,) = annotation["result"]
        height, width = region["original_height"], region["original_width"]
        painted = np.asarray(decode_rle(region["value"]["rle"])).reshape(height, width, 4)[..., 3] >= 128
        _, rows, columns = task.chosen.candidate.patch.shape_zyx
        found = answers[task.candidate_id]
        assert found is not None
        np.testing.assert_array_equal(found[0], painted[:: height // rows, :: width // columns])
    assert len(answers) == 3
