"""finetune: from answers to a checkpoint.

inputs: ``labels`` (label set), ``start`` (checkpoint or "none"), ``ingest``; with ``data`` other than
'all' also ``previous`` (label set or "none"): an answer that it does not hold is new.
files: ``history.json``, the loss curve; ``taught.json``, the answers, unless all are taught.
The checkpoint has the run's id. Beside them, and not part of the result, ``timing.json`` says
how long the training waited for data.
"""

import threading
from collections import Counter
from collections.abc import Mapping
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
from hilum.nn.lesson import Lesson
from hilum.nn.losses import default_loss, losses
from hilum.nn.normalise import normalise
from hilum.nn.readers import Readers
from hilum.nn.supervised import train_on_answers
from hilum.steps.held_out_answers import split_off
from hilum.steps.predictor import load_predictor
from hilum.steps.progress_file import told_in
from hilum.steps.starting import account_of, held_by, licence_of, started
from hilum.steps.teaching import (
    TAUGHT,
    known_before,
    misclassified,
    previous_labels,
    reuse_of,
    shards_of,
    taught,
    write_taught,
)
from hilum.steps.training_run import RunFolder, counts_of, publish_training
from hilum.store import checkpoints
from hilum.store.labels import NONE, read_answers
from hilum.store.layout import Store, exists
from hilum.store.manifest import Manifest, Run, read_manifest
from hilum.store.volumes import VolumeReader, open_volume, volumes_of

STEP_VERSION = 1
PRUNED_FROM = "pruned_from"
_CACHE_BYTES = 2 << 30
_LEAST_SHARE = 1e-4


def run(
    recipe: FinetuneRecipe, inputs: Mapping[str, str], *, store: Store, executor: Executor, resources: Resources
) -> Manifest:
    """Train on the answers of a label set; the checkpoint appears when training has ended."""
    this = Run(store, "finetune", STEP_VERSION, recipe, inputs)
    before = this.finished()
    if before is not None:
        return before
    card = card_of(recipe, inputs, store)
    reuse = _settled(this.url, recipe, inputs, store=store, executor=executor, resources=resources)
    card["num_answers"] = reuse["num_new"] + reuse["num_reused"]
    work = partial(
        train_worker, store=store, run_url=this.url, recipe=recipe, card=card, num_readers=resources.num_readers
    )
    files = [] if recipe.data == "all" else [TAUGHT]
    results = {"reuse": reuse, **({"transfer": card["transfer"]} if "transfer" in card else {})}
    return publish_training(
        this,
        work,
        recipe,
        card,
        store=store,
        executor=executor,
        resources=resources,
        files=files,
        results=results,
    )


def train_worker(
    context: TrainContext,
    *,
    store: Store,
    run_url: str,
    recipe: FinetuneRecipe,
    card: Mapping[str, Any],
    num_readers: int = 0,
    stop_at: int | None = None,
) -> Counts:
    """One worker of the training. Only ids, the recipe and the card came here; images are read from the store."""
    volumes = volumes_of(store, card["inputs"]["ingest"])
    answers = taught(recipe, usable_answers(store, card["inputs"]["labels"]), run_url)
    learnt, kept_apart = split_off(recipe, answers, volumes)
    network, transfer = started(card, recipe, store)
    examples = AnsweredPatches(store, learnt, volumes)
    held_out = AnsweredPatches(store, kept_apart, volumes) if kept_apart else None
    lesson = Lesson(card["question"], examples, _zyx(card["patch_shape_zyx"]), held_out)
    weighted = with_rare_classes_weighed(recipe, learnt, num_classes=card["num_classes"])
    readers, memory = Readers(num_readers), RunFolder(run_url)
    with told_in(run_url, context, num_steps=recipe.num_steps) as told:
        history = train_on_answers(
            weighted,
            network,
            lesson,
            context=told,
            memory=memory,
            readers=readers,
            stop_at=stop_at,
            held=held_by(recipe, transfer),
        )
    counts = counts_of(
        recipe,
        history,
        context,
        readers,
        stop_at=stop_at,
        num_answers=len(answers),
        num_parameters=num_parameters(network),
    )
    return counts if recipe.early_stop is None else {**counts, "num_held_out_answers": len(kept_apart)}


def judge_shard(places: range, *, store: Store, recipe: FinetuneRecipe, inputs: Mapping[str, str]) -> Counts:
    """Which answers, of those at ``places`` of the label set, the model that training goes on from gets wrong."""
    answers = usable_answers(store, inputs["labels"])
    known = known_before(answers, inputs["previous"], store)
    examples = AnsweredPatches(store, answers, volumes_of(store, inputs["ingest"]))
    # Full precision whatever the resources say: an answer must not change sides with the machine.
    predictor = load_predictor(store, inputs["start"])
    old = [place for place in places if known[place]]
    return {"wrong": misclassified(recipe.misclassified, examples, old, predictor, seed=recipe.seed)}


def card_of(recipe: FinetuneRecipe, inputs: Mapping[str, str], store: Store) -> dict[str, Any]:
    """Everything needed to build the network again, checked against the answers and the starting weights."""
    ingest = read_manifest(store.run("ingest", inputs["ingest"]))
    class_names = list(ingest.results["class_names"])
    answers = usable_answers(store, inputs["labels"])
    question = _question(answers, inputs["labels"])
    _check_classes(answers, len(class_names))
    shape_zyx = trained_shape(recipe, _commonest_shape(answers), question)
    volumes = volumes_of(store, inputs["ingest"])
    card: dict[str, Any] = {
        "question": question,
        "architecture": resolved(recipe.architecture).model_dump(mode="json"),
        "in_channels": _num_channels(answers, volumes),
        "spatial_dims": 2 if shape_zyx[0] == 1 else 3,
        "num_classes": len(class_names),
        "class_names": class_names,
        "patch_shape_zyx": list(shape_zyx),
        "crop_shape_zyx": None if recipe.patch_shape_zyx is None else list(recipe.patch_shape_zyx),
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "inputs": dict(inputs),
        "num_answers": len(answers),
        "hilum_version": version("hilum"),
    }
    if recipe.learning_loss is not None:
        card["learning_loss"] = {"width": recipe.learning_loss.width}
    start = None if inputs["start"] == NONE else checkpoints.read_card(store, inputs["start"])
    card["licence"] = licence_of(start)
    if start is not None and recipe.checkpoint is None:
        if start["architecture"].get(PRUNED_FROM) is not None:
            # A pruned network goes on seeing the borders that it was trained with.
            card["architecture"] = {**card["architecture"], PRUNED_FROM: start["architecture"][PRUNED_FROM]}
        _check_start(start, card, inputs["start"])
    transfer = started(card, recipe, store)[1]
    if transfer is not None:
        card["transfer"] = account_of(transfer, inputs["start"], store)
    return card


def trained_shape(recipe: FinetuneRecipe, answered_zyx: Zyx, question: Question) -> Zyx:
    """The shape of a training's patches: the recipe's, or that in which most answers are seen."""
    shape_zyx = recipe.patch_shape_zyx
    if shape_zyx is None:
        return answered_zyx
    if question == "classify":
        raise RecipeError(
            "finetune.patch_shape_zyx cuts crops out of answered label maps, and a class answers a whole patch. "
            "Leave it out."
        )
    if (shape_zyx[0] == 1) != (answered_zyx[0] == 1):
        raise RecipeError(
            f"finetune.patch_shape_zyx {list(shape_zyx)} and the answers of {list(answered_zyx)} voxels (Z, Y, X) are "
            "not both images or both blocks; give Z = 1 for images, more than 1 for blocks."
        )
    return shape_zyx


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


class AnsweredPatches:
    """Answered patches as training examples, kept in memory once read, up to two gigabytes."""

    def __init__(self, store: Store, answers: list[Annotation], volumes: Mapping[str, Volume]) -> None:
        self._store, self._answers, self._volumes = store, answers, volumes
        self.classes = [_classes_in(answer) for answer in answers]
        self._readers: dict[str, VolumeReader] = {}
        self._kept: dict[int, Example] = {}
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def read(self, index: int) -> Example:
        """Answer number ``index`` with its normalised image."""
        if index in self._kept:
            return self._kept[index]
        answer = self._answers[index]
        label_map = None if answer.label_map_zyx is None else as_image(answer.label_map_zyx)
        example = Example(as_image(self._image(answer)), answer.class_id, label_map)
        size = example.image_CZYX.nbytes + (0 if answer.label_map_zyx is None else answer.label_map_zyx.nbytes)
        with self._lock:
            if index not in self._kept and self._kept_bytes + size <= _CACHE_BYTES:
                self._kept[index] = example
                self._kept_bytes += size
            return self._kept.get(index, example)

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


def _settled(
    run_url: str,
    recipe: FinetuneRecipe,
    inputs: Mapping[str, str],
    *,
    store: Store,
    executor: Executor,
    resources: Resources,
) -> dict[str, Any]:
    """Settle which answers are taught, once for all workers and restarts, and account for them."""
    answers = usable_answers(store, inputs["labels"])
    known = known_before(answers, previous_labels(recipe, inputs, store), store)
    if recipe.data != "all" and not exists(f"{run_url}/{TAUGHT}"):
        wrong: set[int] = set()
        if recipe.data == "new_and_misclassified":
            judge = partial(judge_shard, store=store, recipe=recipe, inputs=inputs)
            shards, workers = shards_of(len(answers)), resources.num_score_workers
            judged = executor.map_shards(judge, shards, label="judge", resources=resources, num_workers=workers)
            wrong = {place for counts in judged for place in counts["wrong"]}
        write_taught(run_url, answers, known, [place in wrong for place in range(len(answers))])
    used = {answer.annotation_id for answer in taught(recipe, answers, run_url)}
    is_taught = [answer.annotation_id in used for answer in answers]
    return reuse_of(recipe, inputs["start"], known=known, is_taught=is_taught)


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
    # What a parameter that is younger than the checkpoint would have been, is its default.
    known = resolved(Choice.model_validate(start["architecture"])).model_dump(mode="json")
    start = {**start, "architecture": known}
    for name in ("question", "architecture", "spatial_dims", "in_channels", "num_classes", "learning_loss"):
        if start.get(name) != card.get(name):
            raise RecipeError(
                f"Cannot go on from checkpoint {checkpoint_id}: its {name} is {start.get(name)}, this recipe's is "
                f"{card.get(name)}. Use the same, or train with from: scratch."
            )


def _classes_in(answer: Annotation) -> tuple[int, ...]:
    """The classes an answer names, sorted."""
    if answer.label_map_zyx is None:
        return () if answer.class_id is None else (answer.class_id,)
    return tuple(int(value) for value in np.unique(answer.label_map_zyx) if value != IGNORE)


def _zyx(sizes: list[int]) -> Zyx:
    z, y, x = sizes
    return z, y, x
