"""A person draws in the real web interface, and the next label set holds exactly what was drawn."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image
from tests.label_studio.browser import Person
from tests.label_studio.people import middle_of
from tests.label_studio.servers import Server, free_port
from tests.unit.steps.test_collect import Asked, selected

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.label_studio import local_bridge, local_server
from hilum.adapters.label_studio.annotator import LabelStudio
from hilum.adapters.label_studio.local_access import local_access
from hilum.adapters.label_studio.rows import CANDIDATE
from hilum.core.asking import Task
from hilum.core.resources import Resources
from hilum.steps import collect, finetune
from hilum.steps.predictor import load_predictor
from hilum.steps.publish import tasks_of
from hilum.steps.teaching import inputs_of
from hilum.store.labels import NONE, read_answers
from hilum.store.layout import Store
from hilum.store.volumes import open_volume, volumes_of
from hilum.testing.campaigns import tiny_recipe
from hilum.testing.phantoms import Phantom

PHANTOM = Phantom("segment", 2, size=64)
SCALE = 8
"""A voxel of 64 is 8 pixels of the 512 that a page is drawn with."""


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return selected(tmp_path / "store", PHANTOM, num=4)


@pytest.fixture
def annotator(as_hilum: Server, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabelStudio]:
    known = local_access(as_hilum.folder)
    assert known is not None
    known = local_bridge.up(as_hilum.folder, known, asked.store, port=free_port(), say=print)
    monkeypatch.setenv("HILUM_BRIDGE_URL", known["bridge_url"])
    monkeypatch.setenv("HILUM_BRIDGE_KEY", known["bridge_key"])
    monkeypatch.setenv("HILUM_WEBHOOK_SECRET", known["webhook_secret"])
    ingest_id = next(path.name for path in Path(asked.store.url, "runs", "ingest").iterdir())
    try:
        yield LabelStudio(asked.store, ingest_id, project=f"Drawn {uuid4().hex[:12]}")
    finally:
        local_bridge.down(known)
        assert local_server.is_up(as_hilum.folder, known)


@pytest.mark.timeout(1200)
def test_what_is_drawn_in_the_browser_is_what_is_trained_on(
    annotator: LabelStudio, asked: Asked, label_studio: Server, tmp_path: Path
) -> None:
    tasks = tasks_of(asked.store, asked.selection_id, "segment")
    brushed, boxed, drafted, skipped = tasks
    annotator.publish([replace(task, draft_label_map_zyx=middle_of(task), draft_by="c1c1c1c1c1c1") for task in tasks])
    project_id = annotator.project_id
    row_of = {row["data"][CANDIDATE]: row["id"] for row in annotator.connection.tasks(project_id)}
    drawn = {}
    with Person(label_studio) as person:
        for task in tasks:
            assert person.open_next(project_id) == row_of[task.candidate_id]
            person.look(tmp_path / f"{task.chosen.rank}-opened.png")
            assert [region["origin"] for region in person.regions()] == ["prediction"]
            if task is brushed:
                person.brush("lesion", _to_and_fro(0.7))
            if task is boxed:
                person.rectangle("lesion", (0.1, 0.6), (0.4, 0.95))
            if task is drafted:
                person.erase(0, _to_and_fro(0.3))
            person.look(tmp_path / f"{task.chosen.rank}-drawn.png")
            drawn[task.candidate_id] = person.skip() if task is skipped else person.submit()
        assert person.errors == []
    manifest = collect.run(
        collect.CollectRecipe(question="segment"),
        {"select": asked.selection_id, "labels": "none"},
        store=asked.store,
        annotator=annotator,
    )
    assert list(manifest.results["declined"]) == [skipped.candidate_id]
    answers = {answer.patch.candidate_id: answer for answer in read_answers(asked.store, manifest.run_id)}
    assert sorted(answers) == sorted(task.candidate_id for task in (brushed, boxed, drafted))
    for task in (brushed, boxed, drafted):
        expected = _voxels(drawn[task.candidate_id]["result"])
        found = answers[task.candidate_id].label_map_zyx
        assert found is not None
        np.testing.assert_array_equal(found[0], expected)
        assert np.any(found != middle_of(task))
    _check_pictures(asked.store, annotator, tasks)
    _check_that_it_is_learned(asked.store, annotator, manifest.run_id, drawn)


def _check_that_it_is_learned(store: Store, annotator: LabelStudio, labels: str, drawn: dict[str, dict]) -> None:
    """The next round trains on this label set; what it is given of every answer is what was drawn, voxel for voxel."""
    recipe = tiny_recipe("segment").finetune
    inputs = inputs_of(recipe, labels=labels, start=NONE, ingest=annotator._ingest_id, store=store)
    trained = finetune.run(recipe, inputs, store=store, executor=InlineExecutor(), resources=Resources())
    assert trained.inputs["labels"] == labels
    assert trained.results["reuse"]["num_labels"] == 3
    load_predictor(store, trained.run_id)  # refuses what is no checkpoint
    answers = finetune.usable_answers(store, labels)
    examples = finetune.AnsweredPatches(store, answers, volumes_of(store, annotator._ingest_id))
    for place, answer in enumerate(answers):
        given = examples.read(place).label_map_ZYX
        np.testing.assert_array_equal(np.squeeze(given), _voxels(drawn[answer.patch.candidate_id]["result"]))


def _to_and_fro(top: float) -> list[tuple[float, float]]:
    """A stroke that fills about four voxels down and thirty across."""
    ends = (0.35, 0.8)
    return [(x, top + row / 100) for row in range(6) for x in (ends if row % 2 == 0 else ends[::-1])]


def _voxels(result: list[dict]) -> npt.NDArray[np.uint16]:
    """What was submitted, by other means than hilum's: the SDK's decoder, and corners of a rectangle."""
    voxels = np.zeros((64, 64), np.uint16)
    for region in result:
        value = region["value"]
        if region["type"] == "brushlabels":
            rgba = np.asarray(decode_rle(value["rle"])).reshape(512, 512, 4)
            pixels = rgba[..., 3] >= 128
        else:
            rows, columns = np.mgrid[:512, :512] + 0.5
            left, top = value["x"] * 5.12, value["y"] * 5.12
            right, bottom = left + value["width"] * 5.12, top + value["height"] * 5.12
            pixels = (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)
        blocks = pixels.reshape(64, SCALE, 64, SCALE).sum(axis=(1, 3))
        voxels[blocks * 2 >= SCALE * SCALE] = 1
    return voxels


def _check_pictures(store: Store, annotator: LabelStudio, tasks: list[Task]) -> None:
    """The image that the person saw is the patch, windowed and upright."""
    import io

    import requests

    for task in tasks[:1]:
        patch = task.chosen.candidate.patch
        volume = volumes_of(store, annotator._ingest_id)[patch.volume_id]
        picture = requests.get(annotator.data(task)["pages"][0], timeout=60)
        shown = np.asarray(Image.open(io.BytesIO(picture.content)))
        grey = open_volume(store, volume).read_CZYX(patch)[0, 0].astype(np.float32)
        expected = np.rint(np.clip((grey - volume.low) / (volume.high - volume.low), 0, 1) * 255)
        assert np.abs(shown[::SCALE, ::SCALE].astype(float) - expected).max() <= 1
