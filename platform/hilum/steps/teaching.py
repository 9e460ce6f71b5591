"""Which answers a training is taught, and how much of what was there before it uses again.

Active, continual fine-tuning (https://doi.org/10.1016/j.media.2021.101997) goes on from a model M
and teaches it what is new (Q), all there is (L ∪ Q), or what is new with what M gets wrong (H ∪ Q).

Shape letters: N = answers, C = channels in and classes out, Z, Y, X = space.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.agreement import answered_dice
from hilum.core.asking import Annotation
from hilum.core.errors import DataError
from hilum.core.recipes import FinetuneRecipe, MisclassifiedRecipe
from hilum.nn.batches import Example, Examples
from hilum.nn.predictor import Predictor
from hilum.store import checkpoints
from hilum.store.labels import NONE, read_answers
from hilum.store.layout import Store
from hilum.store.manifest import read_json, read_manifest, write_json

TAUGHT = "taught.json"
_ANSWERS_PER_SHARD = 256
"""Answers a worker judges in one go. Fixed, so that shards do not change with the machine."""

_TOGETHER = 32
_VOXELS_TOGETHER = 1_000_000


@dataclass(frozen=True)
class Reuse:
    """What one training used of the rounds before it.

    ``num_reused`` of ``num_old`` answers were taught again (``label_reuse`` is that share);
    ``data_reuse`` is their share of all that was taught. ``num_misclassified`` of the old ones
    were got wrong by the model gone on from; None where nobody looked.
    """

    num_labels: int
    num_new: int
    num_old: int
    num_reused: int
    num_misclassified: int | None
    label_reuse: float | None
    data_reuse: float
    model_reuse: bool
    num_steps: int


def inputs_of(recipe: FinetuneRecipe, *, labels: str, start: str, ingest: str, store: Store) -> dict[str, str]:
    """The inputs of one training. What decides which answers are taught is among them."""
    inputs = {"labels": labels, "start": start, "ingest": ingest}
    if recipe.data != "all":
        inputs["previous"] = previous_labels(recipe, inputs, store)
    return inputs


def previous_labels(recipe: FinetuneRecipe, inputs: Mapping[str, str], store: Store) -> str:
    """The label set that was there before: an answer that it does not hold is new.

    It is the last round's. The champion may be older than that, and what rounds whose
    model was rejected have asked is new to it: then it is the one that the champion learnt from.
    """
    if "previous" in inputs:
        return inputs["previous"]
    if recipe.start == "champion" and inputs["start"] != NONE:
        return str(checkpoints.trained_card(store, inputs["start"])["inputs"]["labels"])
    return read_manifest(store.label_set(inputs["labels"])).inputs["parent"]


def known_before(answers: Sequence[Annotation], previous: str, store: Store) -> list[bool]:
    """Of each answer whether the previous label set holds it, in this revision."""
    before = {(a.annotation_id, a.revision) for a in read_answers(store, previous)}
    return [(answer.annotation_id, answer.revision) in before for answer in answers]


def write_taught(run_url: str, answers: Sequence[Annotation], known: Sequence[bool], wrong: Sequence[bool]) -> None:
    """Write down, once, which answers are taught and why: those that are new, and those that are got wrong."""
    why = ["new" if not is_known else "misclassified" for is_known in known]
    rows = [
        {"candidate_id": a.patch.candidate_id, "annotation_id": a.annotation_id, "revision": a.revision, "why": reason}
        for a, reason, is_known, is_wrong in zip(answers, why, known, wrong, strict=True)
        if is_wrong or not is_known
    ]
    # The first to write stands: workers, and whoever goes on after a kill, are taught the same.
    write_json(f"{run_url}/{TAUGHT}", {"answers": rows}, only_if_absent=True)


def taught(recipe: FinetuneRecipe, answers: list[Annotation], run_url: str) -> list[Annotation]:
    """Those of the answers that this run trains on."""
    if recipe.data == "all":
        return answers
    wanted = {(row["annotation_id"], row["revision"]) for row in read_json(f"{run_url}/{TAUGHT}")["answers"]}
    found = [answer for answer in answers if (answer.annotation_id, answer.revision) in wanted]
    if not found:
        raise DataError(
            "There is no answer to train on: the label set adds none to what the model that training goes on from "
            "already knows, and none of those is got wrong. Collect some first, or train with data: all."
        )
    return found


def reuse_of(recipe: FinetuneRecipe, start: str, *, known: Sequence[bool], is_taught: Sequence[bool]) -> dict[str, Any]:
    """The account of one training, as its manifest holds it."""
    num_old = sum(known)
    num_reused = sum(old and used for old, used in zip(known, is_taught, strict=True))
    account = Reuse(
        num_labels=len(known),
        num_new=len(known) - num_old,
        num_old=num_old,
        num_reused=num_reused,
        num_misclassified=num_reused if recipe.data == "new_and_misclassified" else None,
        label_reuse=num_reused / num_old if num_old else None,
        data_reuse=num_reused / sum(is_taught),
        # The first model stands for the one that everything begins with: starting from it again reuses nothing.
        model_reuse=start != NONE and recipe.goes_on and recipe.start != "first",
        num_steps=recipe.num_steps,
    )
    return asdict(account)


def shards_of(num_answers: int) -> list[range]:
    """The places of a label set's answers, in shards of bounded size."""
    starts = range(0, num_answers, _ANSWERS_PER_SHARD)
    return [range(start, min(start + _ANSWERS_PER_SHARD, num_answers)) for start in starts]


def misclassified(
    recipe: MisclassifiedRecipe, examples: Examples, places: Sequence[int], predictor: Predictor, *, seed: int
) -> list[int]:
    """The places of those examples whose answer is not what the model says of them."""
    found = []
    for batch in _batches(examples, places):
        images = np.stack([example.image_CZYX for _, example in batch])
        mean_NC = predictor.predict(images, members=recipe.members, seed=seed).mean(axis=0)
        said = mean_NC.argmax(axis=1)
        found += [
            place for (place, example), answer in zip(batch, said, strict=True) if _is_wrong(recipe, example, answer)
        ]
    return sorted(found)


def _is_wrong(recipe: MisclassifiedRecipe, example: Example, said: npt.NDArray[Any]) -> bool:
    if example.label_map_ZYX is None:
        return int(said) != example.class_id
    return answered_dice(example.label_map_ZYX, said) < recipe.min_dice


def _batches(examples: Examples, places: Sequence[int]) -> Iterator[list[tuple[int, Example]]]:
    """Examples of one shape, a few at a time, each with its place."""
    for shape, alike in groupby(
        sorted((examples.read(place).image_CZYX.shape, place) for place in places), key=lambda pair: pair[0]
    ):
        of_shape = [place for _, place in alike]
        together = max(1, min(_TOGETHER, _VOXELS_TOGETHER // math.prod(shape)))
        for at in range(0, len(of_shape), together):
            yield [(place, examples.read(place)) for place in of_shape[at : at + together]]
