"""A person draws on real slices in the real web interface; the next training is given exactly what was drawn.

What is expected is computed from the NIfTI files and with the SDK's decoder, not with hilum's geometry.
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pytest
import requests
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image
from tests.label_studio import brains
from tests.label_studio.browser import Person, Place
from tests.label_studio.people import People
from tests.label_studio.servers import Server, free_port

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.label_studio import local_bridge, local_server
from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.local_access import local_access
from hilum.adapters.label_studio.rows import CANDIDATE
from hilum.adapters.oracle import Oracle
from hilum.core.asking import LabelMap, Task
from hilum.core.errors import WaitingForPeople
from hilum.loop.campaign import Campaign
from hilum.loop.events import history, runs_of
from hilum.loop.stages import Stage
from hilum.steps.finetune import AnsweredPatches, usable_answers
from hilum.steps.publish import tasks_of
from hilum.store.labels import read_answers, read_declined
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.store.manifest import read_manifest
from hilum.store.volumes import volumes_of

Page = npt.NDArray[np.bool_]
CHAMPION = "c1c1c1c1c1c1"


@pytest.fixture
def place(tmp_path: Path) -> tuple[Store, str]:
    return brains.taken_in(tmp_path)


@pytest.fixture
def annotator(as_hilum: Server, place: tuple[Store, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[LabelStudio]:
    known = local_access(as_hilum.folder)
    assert known is not None
    known = local_bridge.up(as_hilum.folder, known, place[0], port=free_port(), say=print)
    monkeypatch.setenv("HILUM_BRIDGE_URL", known["bridge_url"])
    monkeypatch.setenv("HILUM_BRIDGE_KEY", known["bridge_key"])
    monkeypatch.setenv("HILUM_WEBHOOK_SECRET", known["webhook_secret"])
    try:
        yield LabelStudio(*place, project=f"Drawn {uuid4().hex[:12]}")
    finally:
        local_bridge.down(known)
        assert local_server.is_up(as_hilum.folder, known)


@pytest.mark.timeout(1200)
def test_what_is_drawn_on_real_slices_is_what_is_trained_on(
    annotator: LabelStudio, place: tuple[Store, str], label_studio: Server, tmp_path: Path
) -> None:
    store, ingest_id = place
    campaign = Campaign.create(store, "brains", brains.recipe(num=5), ledger=open_ledger(store))
    with pytest.raises(WaitingForPeople, match="waiting for 5 of 5"):
        campaign.run(executor=InlineExecutor(), annotator=annotator)
    tasks = _drafted_with_the_truth(place, _runs(store)["select"])
    assert annotator.publish(tasks) == 0
    by_structures = sorted(tasks, key=lambda task: -np.count_nonzero(_draft(task)))
    erased, brushed, boxed, by_program, skipped = by_structures
    drawn = {by_program.candidate_id: _sent_by_a_program(annotator, by_program)}
    with Person(label_studio) as person:
        for task in (task for task in tasks if task is not by_program):
            assert person.open_next(annotator.project_id) == _number_of(annotator, task)
            _check_what_is_shown(person, annotator, task, tmp_path)
            if task is brushed:
                person.brush("hippocampus", [(0.3, 0.3), (0.6, 0.35), (0.3, 0.4)])
            if task is boxed:
                person.rectangle("thalamus", (0.2, 0.6), (0.4, 0.75))
            if task is erased:
                person.erase(0, _over_the_middle_of(person.regions()[0]))
            person.look(tmp_path / f"{task.chosen.rank}-drawn.png")
            drawn[task.candidate_id] = person.skip() if task is skipped else person.submit()
        assert person.errors == []
    while (event := campaign.advance(executor=InlineExecutor(), annotator=annotator)) and event.stage != Stage.TRAINED:
        pass
    runs = _runs(store)
    assert read_manifest(store.checkpoint(runs["finetune"])).inputs["labels"] == runs["collect"]
    assert read_declined(store, runs["collect"]) == [skipped.chosen.candidate.patch]
    answered = {answer.patch.candidate_id: answer for answer in read_answers(store, runs["collect"])}
    examples = AnsweredPatches(store, usable_answers(store, runs["collect"]), volumes_of(store, ingest_id))
    learned = {
        answer.patch.candidate_id: np.squeeze(examples.read(number).label_map_ZYX)
        for number, answer in enumerate(usable_answers(store, runs["collect"]))
    }
    assert answered.keys() == learned.keys() == drawn.keys() - {skipped.candidate_id}
    for task in (brushed, boxed, erased, by_program):
        expected = _voxels(drawn[task.candidate_id]["result"], _draft(task).shape)
        np.testing.assert_array_equal(np.squeeze(answered[task.candidate_id].label_map_zyx), expected)
        np.testing.assert_array_equal(learned[task.candidate_id], expected)
        assert (task is by_program) == np.array_equal(expected, _draft(task))


def _runs(store: Store) -> dict[str, str]:
    (events,) = history(store, "brains")
    return dict(runs_of(events))


def _drafted_with_the_truth(place: tuple[Store, str], selection_id: str) -> list[Task]:
    tasks = tasks_of(place[0], selection_id, "segment")
    answers = Oracle(*place).collect(tasks)
    return [
        replace(task, draft_label_map_zyx=answer.label_map_zyx, draft_by=CHAMPION)
        for task, answer in zip(tasks, answers, strict=True)
    ]


def _draft(task: Task) -> LabelMap:
    assert task.draft_label_map_zyx is not None
    return task.draft_label_map_zyx[0]


def _sent_by_a_program(annotator: LabelStudio, task: Task) -> dict[str, Any]:
    assert task.draft_label_map_zyx is not None
    sent: dict[str, Any] = People(annotator).outline(task, task.draft_label_map_zyx).model_dump(mode="json")
    return sent


def _number_of(annotator: LabelStudio, task: Task) -> int:
    rows = annotator.connection.tasks(annotator.project_id)
    return next(row["id"] for row in rows if row["data"][CANDIDATE] == task.candidate_id)


def _check_what_is_shown(person: Person, annotator: LabelStudio, task: Task, folder: Path) -> None:
    """The slice upright and windowed as in its file, and on it the draft, where the file has the structures."""
    person.look(folder / f"{task.chosen.rank}-opened.png")
    patch = task.chosen.candidate.patch
    page = Image.open(io.BytesIO(requests.get(annotator.data(task)["pages"][0], timeout=60).content))
    slice_z = patch.start_zyx[0]
    grey = brains.as_radiologists_see(folder, "images", slice_z).astype(np.float64)
    scale = page.height // grey.shape[0]
    assert page.size == (grey.shape[1] * scale, grey.shape[0] * scale)
    volume = annotator._volumes[patch.volume_id]
    windowed = np.rint(np.clip((grey - volume.low) / (volume.high - volume.low), 0, 1) * 255)
    assert np.abs(np.asarray(page)[::scale, ::scale].astype(np.float64) - windowed).max() <= 1
    truth = brains.as_radiologists_see(folder, "labels", slice_z)
    assert not np.array_equal(truth, truth[:, ::-1]) or not truth.any()
    regions = person.regions()
    assert {region["origin"] for region in regions} <= {"prediction"}
    assert len(regions) == len(np.unique(truth)) - 1
    for region in regions:
        (label,) = region["value"]["brushlabels"]
        shown = _pixels(region)[::scale, ::scale]
        np.testing.assert_array_equal(shown, truth == brains.CLASSES.index(label))


def _over_the_middle_of(region: dict[str, Any]) -> list[Place]:
    """To and fro over some of the rows that a region covers, from edge to edge of it."""
    rows, columns = np.nonzero(_pixels(region))
    middle = float(np.median(rows)) / region["original_height"]
    left, right = columns.min() / region["original_width"], columns.max() / region["original_width"]
    return [(x, middle + row / 100) for row in range(-3, 4) for x in ((left, right) if row % 2 else (right, left))]


def _pixels(region: dict[str, Any]) -> Page:
    """What a region covers of its page: read by the SDK, or between the corners of a rectangle."""
    height, width, value = region["original_height"], region["original_width"], region["value"]
    if region["type"] == "brushlabels":
        return np.asarray(decode_rle(value["rle"])).reshape(height, width, 4)[..., 3] >= 128
    rows, columns = np.mgrid[:height, :width] + 0.5
    left, top = value["x"] * width / 100, value["y"] * height / 100
    right, bottom = left + value["width"] * width / 100, top + value["height"] * height / 100
    return (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)


def _voxels(result: list[dict[str, Any]], shape_yx: tuple[int, int]) -> LabelMap:
    """What was submitted as a slice of the file: what people drew lies over what was drafted, half a voxel fills it."""
    voxels = np.zeros(shape_yx, np.uint16)
    for region in sorted(result, key=lambda region: region.get("origin") != "prediction"):
        pixels = _pixels(region)
        scale = len(pixels) // shape_yx[0]
        blocks = pixels.reshape(shape_yx[0], scale, shape_yx[1], scale).sum(axis=(1, 3))
        (label,) = region["value"][region["type"]]
        voxels[(blocks * 2 >= scale * scale)[::-1, ::-1]] = brains.CLASSES.index(label)
    return voxels
