"""publish: put the chosen candidates before people, each with the model's first draft if there is a model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.asking import Annotation, LabelMap, Task
from hilum.core.candidates import as_image, from_image
from hilum.core.geometry import Patch, Zyx
from hilum.core.ports import Annotator
from hilum.core.recipes import Choice, Question, Recipe
from hilum.core.resources import Resources
from hilum.store.labels import NONE, read_annotations, write_annotations
from hilum.store.layout import Store, exists
from hilum.store.manifest import Manifest, Run, read_manifest
from hilum.store.selections import read_selection
from hilum.store.volumes import open_volume, volumes_of

STEP_VERSION = 1
DRAFTS_FILE = "drafts.parquet"
"""What people were shown, to be compared with what they made of it."""

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class PublishRecipe(Recipe):
    """What is asked, and of whom."""

    question: Question
    annotator: Choice


def run(
    recipe: PublishRecipe, inputs: Mapping[str, str], *, store: Store, annotator: Annotator, resources: Resources
) -> Manifest:
    """Ask about every candidate of ``inputs['select']``, drafted by ``inputs['checkpoint']``.

    Asking twice asks once, so a publish that was cut short is simply run again.
    """
    this = Run(store, "publish", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    tasks = tasks_of(store, inputs["select"], recipe.question)
    if inputs["checkpoint"] != NONE:
        tasks = drafted(tasks, inputs["checkpoint"], store=store, resources=resources)
    annotator.publish(tasks)
    drafts = [_as_answer(task, inputs["checkpoint"]) for task in tasks if _has_draft(task)]
    if drafts:
        write_annotations(this.path(DRAFTS_FILE), drafts)
    return this.commit(files=[DRAFTS_FILE] if drafts else [], num_tasks=len(tasks))


def read_drafts(store: Store, publish_id: str) -> list[Annotation]:
    """What people were shown as drafts, each as the answer of its checkpoint; empty where there was no model."""
    url = f"{store.run('publish', publish_id)}/{DRAFTS_FILE}"
    return read_annotations(url) if exists(url) else []


def tasks_of(store: Store, selection_id: str, question: Question) -> list[Task]:
    """The tasks of a selection in rank order, without drafts."""
    class_names = tuple(read_manifest(store.run("ingest", ingest_of(store, selection_id))).results["class_names"])
    return [Task(selection_id, chosen, question, class_names) for chosen in read_selection(store, selection_id)]


def ingest_of(store: Store, selection_id: str) -> str:
    """The ingest whose volumes a selection is about."""
    pool_id = read_manifest(store.run("select", selection_id)).inputs["pool"]
    return read_manifest(store.run("pool", pool_id)).inputs["ingest"]


def drafted(tasks: Sequence[Task], checkpoint_id: str, *, store: Store, resources: Resources) -> list[Task]:
    """The same tasks, each with what the checkpoint would answer."""
    # Late import: a campaign that has no model yet must not load torch to ask its first questions.
    from hilum.steps.predictor import load_predictor

    if not tasks:
        return []
    predictor = load_predictor(store, checkpoint_id, precision=resources.precision)
    drafts: dict[str, Task] = {}
    for images_NCZYX, batch in _batches(tasks, store, resources.score_batch_size):
        probs_MNC = predictor.predict(images_NCZYX, members=Choice(kind="single"), seed=0)
        for task, probs_C in zip(batch, probs_MNC.mean(axis=0), strict=True):
            drafts[task.candidate_id] = replace(with_draft(task, probs_C), draft_by=checkpoint_id)
    return [drafts[task.candidate_id] for task in tasks]


def with_draft(task: Task, probs_C: npt.NDArray[np.floating[Any]]) -> Task:
    """The task with the likeliest class of the whole, or of every voxel, as its draft."""
    draft = _likeliest(probs_C, task.chosen.candidate.patch.shape_zyx)
    draft_class, draft_map = (None, draft) if isinstance(draft, np.ndarray) else (draft, None)
    return replace(task, draft_class=draft_class, draft_label_map_zyx=draft_map)


def _has_draft(task: Task) -> bool:
    return task.draft_class is not None or task.draft_label_map_zyx is not None


def _as_answer(task: Task, checkpoint_id: str) -> Annotation:
    return Annotation(
        annotation_id=f"draft-{task.candidate_id}",
        revision=1,
        patch=task.chosen.candidate.patch,
        annotator=checkpoint_id,
        answered_at=_NO_TIME,
        seconds=0.0,
        class_id=task.draft_class,
        label_map_zyx=task.draft_label_map_zyx,
    )


def draft_of(patch: Patch, checkpoint_id: str, ingest_id: str, *, store: Store) -> int | LabelMap:
    """What a checkpoint would answer about one patch: a class, or the class of every voxel."""
    from hilum.nn.normalise import normalise
    from hilum.steps.predictor import load_predictor

    image_CZYX = _image(store, volumes_of(store, ingest_id), patch, normalise)
    probs_MNC = load_predictor(store, checkpoint_id).predict(image_CZYX[None])
    return _likeliest(probs_MNC.mean(axis=0)[0], patch.shape_zyx)


def _likeliest(probs_C: npt.NDArray[np.floating[Any]], shape_zyx: Zyx) -> int | LabelMap:
    likeliest = probs_C.argmax(axis=0)
    return int(likeliest) if probs_C.ndim == 1 else from_image(likeliest.astype(np.uint16), shape_zyx)


def _batches(
    tasks: Sequence[Task], store: Store, size: int
) -> Iterator[tuple[npt.NDArray[np.float32], Sequence[Task]]]:
    """Normalised images of tasks with patches of one shape, read volume by volume."""
    from hilum.nn.normalise import normalise

    volumes = volumes_of(store, ingest_of(store, tasks[0].selection_id))

    def shape_then_volume(task: Task) -> tuple[Any, ...]:
        patch = task.chosen.candidate.patch
        return patch.shape_zyx, patch.volume_id, patch.start_zyx

    ordered = sorted(tasks, key=shape_then_volume)
    for _, same_shape in groupby(ordered, key=lambda task: task.chosen.candidate.patch.shape_zyx):
        alike = list(same_shape)
        for start in range(0, len(alike), size):
            batch = alike[start : start + size]
            patches = [task.chosen.candidate.patch for task in batch]
            yield np.stack([_image(store, volumes, patch, normalise) for patch in patches]), batch


def _image(store: Store, volumes: Mapping[str, Any], patch: Patch, normalise: Any) -> npt.NDArray[np.float32]:
    volume = volumes[patch.volume_id]
    image: npt.NDArray[np.float32] = normalise(open_volume(store, volume).read_CZYX(patch), volume.low, volume.high)
    return as_image(image)
