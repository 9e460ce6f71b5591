"""What one worker does of a score run: read patches, have the model look, write a part of the answer.

Shape letters: M = members, N = candidates, C = channels in and classes out, D = embedding,
Z, Y, X = space.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from hilum.core.candidates import as_image
from hilum.core.errors import HilumError
from hilum.core.geometry import Patch
from hilum.core.imaging import Volume
from hilum.core.ports import Counts
from hilum.core.recipes import ScoreRecipe
from hilum.core.registry import scorers
from hilum.core.resources import Resources
from hilum.nn.normalise import normalise
from hilum.select import builtin  # noqa: F401 (registers our scorers)
from hilum.select.pixels import pixel_embedding
from hilum.select.reduce import reduction
from hilum.steps.pool import patches_of, pool_by_volume
from hilum.steps.predictor import load_encoder, load_predictor
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.store.score_parts import part_name
from hilum.store.tables import read_table, scores_schema, write_rows
from hilum.store.volumes import VolumeReader, open_volume, volumes_of

Floats = npt.NDArray[np.float32]
Rows = dict[str, list[Any]]
_UNSCORED = b"hilum_unscored"


@dataclass(frozen=True)
class ScorePlan:
    """Everything a worker must know beside its shard's number: names and recipes, no arrays."""

    store: Store
    recipe: ScoreRecipe
    resources: Resources
    pool_id: str
    ingest_id: str
    checkpoint_id: str
    candidates_per_shard: int
    run_url: str

    @property
    def score_names(self) -> list[str]:
        """The scorers that are run: none before there is a model."""
        return [] if self.checkpoint_id == NONE else [scorer.kind for scorer in self.recipe.scorers]

    @property
    def keeps_members(self) -> bool:
        """Whether every member's probabilities are kept: not before there is a model."""
        return self.recipe.keep_members and self.checkpoint_id != NONE

    def part_name(self, number: int) -> str:
        return part_name(number)

    def part_url(self, number: int) -> str:
        return f"{self.run_url}/{self.part_name(number)}"


def score_shard(number: int, *, plan: ScorePlan) -> Counts:
    """Score one shard and write its part, whole or not at all. Candidates that cannot be scored are told apart."""
    scored: Rows = {}
    unscored: dict[str, str] = {}
    volumes = _volumes(plan.store, plan.ingest_id)
    readers: dict[str, VolumeReader] = {}
    for batch in _batches(_shard_patches(plan, number), plan.resources.score_batch_size):
        images = [(p, _read(plan.store, volumes[p.volume_id], p, readers)) for p in batch]
        unscored.update({p.candidate_id: image for p, image in images if isinstance(image, str)})
        readable = [(p.candidate_id, image) for p, image in images if not isinstance(image, str)]
        if readable:
            ids, arrays = zip(*readable, strict=True)
            _answer(plan, list(ids), np.stack(arrays), scored, unscored)
    _write(plan, number, scored, unscored)
    return {"shard": number, "num_scored": len(scored.get("candidate_id", [])), "num_quarantined": len(unscored)}


@lru_cache(maxsize=2)
def _volumes(store: Store, ingest_id: str) -> dict[str, Volume]:
    return volumes_of(store, ingest_id)


def _shard_patches(plan: ScorePlan, number: int) -> list[Patch]:
    size = plan.candidates_per_shard
    return patches_of(pool_by_volume(plan.store, plan.pool_id).slice(number * size, size))


def _batches(patches: Sequence[Patch], size: int) -> Iterator[list[Patch]]:
    """Patches of one shape, at most ``size`` of them, those of one place together."""
    ordered = sorted(patches, key=lambda p: (p.shape_zyx, p.volume_id, p.start_zyx))
    for _, same_shape in groupby(ordered, key=lambda p: p.shape_zyx):
        alike = list(same_shape)
        yield from (alike[i : i + size] for i in range(0, len(alike), size))


def _read(store: Store, volume: Volume, patch: Patch, readers: dict[str, VolumeReader]) -> Floats | str:
    """The normalised patch (C, Z, Y, X) as networks see it, or the reason why there is none."""
    try:
        if volume.volume_id not in readers:
            readers.clear()  # batches come volume by volume
            readers[volume.volume_id] = open_volume(store, volume)
        image = readers[volume.volume_id].read_CZYX(patch)
        if not np.isfinite(image).all():
            return "Its voxels are not all finite numbers."
        return as_image(normalise(image, volume.low, volume.high))
    except (HilumError, OSError, ValueError) as error:
        return str(error)


def _answer(plan: ScorePlan, ids: list[str], images_NCZYX: Floats, scored: Rows, unscored: dict[str, str]) -> None:
    """Add the answers for a batch to ``scored``; candidates without a finite one go to ``unscored``."""
    try:
        columns = _columns(plan, images_NCZYX)
    except RuntimeError as error:
        if len(ids) == 1:
            unscored[ids[0]] = f"The model failed on it: {str(error).splitlines()[0]}"
            return
        # One candidate that the model cannot take must not cost the others theirs: find it by halves.
        half = len(ids) // 2
        _answer(plan, ids[:half], images_NCZYX[:half], scored, unscored)
        _answer(plan, ids[half:], images_NCZYX[half:], scored, unscored)
        return
    finite_N = np.ones(len(ids), bool)
    for values in columns.values():
        finite_N &= np.isfinite(values).reshape(len(ids), -1).all(axis=1)
    unscored.update({ids[i]: "The model's answer is not a finite number." for i in np.flatnonzero(~finite_N)})
    scored.setdefault("candidate_id", []).extend(ids[i] for i in np.flatnonzero(finite_N))
    for name, values in columns.items():
        scored.setdefault(name, []).extend(values[finite_N])


def _columns(plan: ScorePlan, images_NCZYX: Floats) -> dict[str, npt.NDArray[Any]]:
    """Every column of the part but the id, one row a candidate."""
    num = len(images_NCZYX)
    if plan.checkpoint_id == NONE:
        return {
            "predicted_class": np.full(num, -1, np.int32),
            "class_fractions": np.empty((num, 0), np.float32),
            "embedding": _embedding_before_a_model(plan, images_NCZYX).astype(np.float16),
        }
    predictor = load_predictor(plan.store, plan.checkpoint_id, precision=plan.resources.precision)
    probs, embedding_ND = predictor.predict_and_embed(images_NCZYX, members=plan.recipe.members, seed=plan.recipe.seed)
    mean_NC = probs.mean(axis=0)
    columns: dict[str, npt.NDArray[Any]] = {}
    for scorer in plan.recipe.scorers:
        values = scorers.bind(scorer)(np.swapaxes(probs, 1, 2))
        columns[f"score_{scorer.kind}"] = values if values.ndim == 1 else reduction(plan.recipe.reduce)(values)
    columns["predicted_class"] = _predicted_class(mean_NC)
    columns["class_fractions"] = mean_NC.reshape(*mean_NC.shape[:2], -1).mean(axis=2)
    columns["embedding"] = embedding_ND.astype(np.float16)
    if plan.keeps_members:
        columns["member_probs"] = np.swapaxes(probs, 0, 1).reshape(len(mean_NC), -1).astype(np.float16)
    return columns


def _embedding_before_a_model(plan: ScorePlan, images_NCZYX: Floats) -> Floats:
    if plan.recipe.encoder is None:
        return pixel_embedding(images_NCZYX, seed=plan.recipe.seed)
    return load_encoder(plan.store, plan.recipe.encoder, precision=plan.resources.precision).embed(images_NCZYX)


def _predicted_class(mean_NC: Floats) -> npt.NDArray[np.int32]:
    """The likeliest class; of a label map the commonest foreground class, 0 when there is none."""
    likeliest: npt.NDArray[np.int64] = mean_NC.argmax(axis=1)
    if likeliest.ndim == 1:
        return likeliest.astype(np.int32)
    num_classes = mean_NC.shape[1]
    counts_NC: npt.NDArray[np.int64] = np.stack([np.bincount(one.ravel(), minlength=num_classes) for one in likeliest])
    counts_NC[:, 0] = 0
    commonest: npt.NDArray[np.int64] = counts_NC.argmax(axis=1)
    return commonest.astype(np.int32)


def unscored_of(part_url: str) -> dict[str, str]:
    """The candidates of a part that could not be scored, each with the reason."""
    metadata = read_table(part_url, scores_schema([]), columns=["candidate_id"]).schema.metadata
    unscored: dict[str, str] = json.loads(metadata[_UNSCORED])
    return unscored


def _write(plan: ScorePlan, number: int, scored: Rows, unscored: dict[str, str]) -> None:
    schema = scores_schema(plan.score_names, keep_members=plan.keeps_members)
    # In the part itself, so that they and the scores appear together or not at all.
    schema = schema.with_metadata({**schema.metadata, _UNSCORED: json.dumps(unscored, sort_keys=True)})
    names = scored.get("candidate_id", [])
    order = sorted(range(len(names)), key=names.__getitem__)
    write_rows(plan.part_url(number), schema, [{name: values[i] for name, values in scored.items()} for i in order])
