"""finetune: from answers to a checkpoint.

inputs: ``labels`` (label set), ``start`` (checkpoint or "none"), ``ingest``.
files: ``history.json``, the loss curve. The checkpoint has the run's id.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.asking import IGNORE, Annotation
from hilum.core.candidates import as_image, image_shape
from hilum.core.errors import DataError, RecipeError
from hilum.core.geometry import Zyx
from hilum.core.imaging import Volume
from hilum.core.ports import Counts, Executor, TrainContext
from hilum.core.recipes import Choice, FinetuneRecipe, Question
from hilum.core.resources import Resources
from hilum.nn.batches import Example
from hilum.nn.heads import num_parameters, resolved
from hilum.nn.losses import default_loss, losses
from hilum.nn.normalise import normalise
from hilum.nn.predictor import load_weights, network_of_card
from hilum.nn.train_loop import Lesson, network_tensors, train
from hilum.store import checkpoints
from hilum.store.labels import NONE, read_answers
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, Run, read_manifest, write_json
from hilum.store.volumes import VolumeReader, open_volume, volumes_of

STEP_VERSION = 1
HISTORY = "history.json"
_CACHE_BYTES = 2 << 30
_LEAST_SHARE = 1e-4


def run(
    recipe: FinetuneRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Train on every answer of a label set; the checkpoint appears when training has ended."""
    this = Run(store, "finetune", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    card = card_of(recipe, inputs, store)
    work = partial(train_worker, store=store, run_url=this.url, recipe=recipe, card=card)
    counts = executor.train(work, name=f"finetune-{this.run_id}", resources=workable(resources, recipe))
    before = this.finished()
    if before is not None:  # another process overtook this one, and has cleared the training state away
        return before
    state = checkpoints.load_state(this.url)
    assert state is not None, "a training that ended has saved its last state"
    tensors, _, notes = state
    checkpoints.save(store, this.run_id, network_tensors(tensors), card)
    write_json(this.path(HISTORY), notes["history"])
    manifest = this.commit(files=[HISTORY], checkpoint=this.run_id, **counts)
    checkpoints.remove_state(this.url)
    return manifest


def train_worker(
    context: TrainContext,
    *,
    store: Store,
    run_url: str,
    recipe: FinetuneRecipe,
    card: Mapping[str, Any],
    stop_at: int | None = None,
) -> Counts:
    """One worker of the training. Only ids, the recipe and the card came here; images are read from the store."""
    answers = usable_answers(store, card["inputs"]["labels"])
    examples = AnsweredPatches(store, answers, volumes_of(store, card["inputs"]["ingest"]))
    network = network_of_card(card, seed=recipe.seed)
    if card["inputs"]["start"] != NONE:
        load_weights(network, checkpoints.load(store, card["inputs"]["start"])[0])
    lesson = Lesson(card["question"], examples, _zyx(card["patch_shape_zyx"]))
    weighted = with_rare_classes_weighed(recipe, answers, num_classes=card["num_classes"])
    history = train(weighted, network, lesson, context=context, memory=RunFolder(run_url), stop_at=stop_at)
    return {
        "num_steps": recipe.num_steps,
        "num_answers": len(answers),
        "num_parameters": num_parameters(network),
        "loss": history[-1]["loss"],
    }


def card_of(recipe: FinetuneRecipe, inputs: Mapping[str, str], store: Store) -> dict[str, Any]:
    """Everything needed to build the network again, checked against the answers and the starting weights."""
    ingest = read_manifest(store.run("ingest", inputs["ingest"]))
    class_names = list(ingest.results["class_names"])
    answers = usable_answers(store, inputs["labels"])
    question = _question(answers, inputs["labels"])
    _check_classes(answers, len(class_names))
    shape_zyx = _commonest_shape(answers)
    volumes = volumes_of(store, inputs["ingest"])
    card = {
        "question": question,
        "architecture": resolved(recipe.architecture).model_dump(mode="json"),
        "in_channels": _num_channels(answers, volumes),
        "spatial_dims": 2 if shape_zyx[0] == 1 else 3,
        "num_classes": len(class_names),
        "class_names": class_names,
        "patch_shape_zyx": list(shape_zyx),
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "inputs": dict(inputs),
        "num_answers": len(answers),
        "hilum_version": version("hilum"),
        "licence": "that of the images it was trained on",
    }
    if inputs["start"] != NONE:
        _check_start(checkpoints.read_card(store, inputs["start"]), card, inputs["start"])
    network_of_card(card)
    return card


def usable_answers(store: Store, label_set_id: str) -> list[Annotation]:
    """The answers that say something: a class, or at least one answered voxel."""
    answers = [answer for answer in read_answers(store, label_set_id) if _classes_in(answer)]
    if not answers:
        raise DataError(f"Label set {label_set_id} holds no answer to train on; collect some first.")
    return answers


def with_rare_classes_weighed(recipe: FinetuneRecipe, answers: list[Annotation], *, num_classes: int) -> FinetuneRecipe:
    """The recipe with class weights in its loss, from the classes' shares of the answered voxels.

    A loss that has no class weights, or was given its own, is left as it is; so are classes
    per patch, whose batches are balanced already.
    """
    maps = [answer.label_map_zyx for answer in answers if answer.label_map_zyx is not None]
    loss = recipe.loss or default_loss("segment")
    weighable = "class_weights" in losses.params_of(loss.kind).model_fields and "class_weights" not in loss.params
    if not (maps and weighable and recipe.rare_class_exponent):
        return recipe
    counts = np.sum([np.bincount(m[m != IGNORE], minlength=num_classes) for m in maps], axis=0)
    shares = counts / counts.sum() + _LEAST_SHARE
    weights = (shares / shares[0]) ** -recipe.rare_class_exponent
    chosen = Choice(kind=loss.kind, **loss.params, class_weights=[float(weight) for weight in weights])
    return recipe.model_copy(update={"loss": chosen})


def workable(resources: Resources, recipe: FinetuneRecipe) -> Resources:
    """As many workers as can share the chunks equally, and no more than were given."""
    given = resources.num_train_workers
    workers = max((n for n in range(1, given + 1) if recipe.num_chunks % n == 0), default=0)
    return resources.model_copy(update={"num_train_workers": workers})


class AnsweredPatches:
    """Answered patches as training examples, kept in memory once read, up to two gigabytes."""

    def __init__(self, store: Store, answers: list[Annotation], volumes: Mapping[str, Volume]) -> None:
        self._store, self._answers, self._volumes = store, answers, volumes
        self.classes = [_classes_in(answer) for answer in answers]
        self._readers: dict[str, VolumeReader] = {}
        self._kept: dict[int, Example] = {}
        self._kept_bytes = 0

    def read(self, index: int) -> Example:
        """Answer number ``index`` with its normalised image."""
        if index in self._kept:
            return self._kept[index]
        answer = self._answers[index]
        label_map = None if answer.label_map_zyx is None else as_image(answer.label_map_zyx)
        example = Example(as_image(self._image(answer)), answer.class_id, label_map)
        size = example.image_CZYX.nbytes + (0 if answer.label_map_zyx is None else answer.label_map_zyx.nbytes)
        if self._kept_bytes + size <= _CACHE_BYTES:
            self._kept[index] = example
            self._kept_bytes += size
        return example

    def _image(self, answer: Annotation) -> npt.NDArray[np.float32]:
        volume = self._volumes[answer.patch.volume_id]
        if volume.volume_id not in self._readers:
            self._readers[volume.volume_id] = open_volume(self._store, volume)
        image_CZYX = normalise(self._readers[volume.volume_id].read_CZYX(answer.patch), volume.low, volume.high)
        if not np.isfinite(image_CZYX).all():
            raise DataError(
                f"Candidate {answer.patch.candidate_id} of volume {volume.volume_id} has voxels that are not finite; "
                "ingest the volume again without them."
            )
        return image_CZYX


@dataclass(frozen=True)
class RunFolder:
    """The training loop's memory in a run's own folder."""

    url: str

    def load(self) -> tuple[checkpoints.Tensors, int, dict[str, Any]] | None:
        return checkpoints.load_state(self.url)

    def save(self, tensors: Mapping[str, npt.NDArray[Any]], *, step: int, notes: Mapping[str, Any]) -> None:
        checkpoints.save_state(self.url, tensors, step=step, notes=notes)


def _question(answers: list[Annotation], label_set_id: str) -> Question:
    questions: set[Question] = {"segment" if answer.class_id is None else "classify" for answer in answers}
    if len(questions) > 1:
        raise DataError(f"Label set {label_set_id} mixes classes and label maps; a campaign asks one question.")
    return questions.pop()


def _check_classes(answers: list[Annotation], num_classes: int) -> None:
    for answer in answers:
        highest = max(_classes_in(answer))
        if highest >= num_classes:
            raise DataError(
                f"Annotation {answer.annotation_id} answers class {highest}; there are {num_classes} classes, "
                f"0 to {num_classes - 1}. Correct the answer, or ingest with all class_names."
            )


def _commonest_shape(answers: list[Annotation]) -> Zyx:
    """The shape in which most answered patches are seen; the largest of several that are equally common."""
    shapes = Counter(image_shape(answer.patch.shape_zyx) for answer in answers)
    return max(shapes, key=lambda shape: (shapes[shape], np.prod(shape), shape))


def _num_channels(answers: list[Annotation], volumes: Mapping[str, Volume]) -> int:
    missing = [a.patch.volume_id for a in answers if a.patch.volume_id not in volumes]
    if missing:
        raise DataError(f"The answers are about volume {missing[0]}, which this ingest does not hold.")
    channels = sorted({volumes[answer.patch.volume_id].num_channels for answer in answers})
    if len(channels) > 1:
        raise DataError(f"The answered volumes have {channels} channels; train on volumes that have equally many.")
    return channels[0]


def _check_start(start: Mapping[str, Any], card: Mapping[str, Any], checkpoint_id: str) -> None:
    for name in ("question", "architecture", "spatial_dims", "in_channels", "num_classes"):
        if start[name] != card[name]:
            raise RecipeError(
                f"Cannot go on from checkpoint {checkpoint_id}: its {name} is {start[name]}, this recipe's is "
                f"{card[name]}. Use the same, or train with from: scratch."
            )


def _classes_in(answer: Annotation) -> tuple[int, ...]:
    """The classes an answer names, sorted."""
    if answer.label_map_zyx is None:
        return () if answer.class_id is None else (answer.class_id,)
    return tuple(int(value) for value in np.unique(answer.label_map_zyx) if value != IGNORE)


def _zyx(sizes: list[int]) -> Zyx:
    z, y, x = sizes
    return z, y, x
