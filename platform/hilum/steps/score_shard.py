"""What one worker does of a score run: read patches, have the model look, write a part of the answer.

Shape letters: M = members, N = candidates, C = channels in and classes out, D = embedding,
Z, Y, X = space.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hilum.core.errors import HilumError
from hilum.core.imaging import Volume
from hilum.core.ports import Counts
from hilum.core.recipes import ScoreRecipe
from hilum.core.registry import PredictedLossParams, scorers
from hilum.core.resources import Resources
from hilum.nn.views import images_of_views
from hilum.select import builtin  # noqa: F401 (registers our scorers)
from hilum.select.pixels import pixel_embedding
from hilum.select.reduce import reduction
from hilum.steps.atlas import load_atlas
from hilum.steps.foreground import by_atlas, by_model
from hilum.steps.patch_images import Floats, Places, batches, places_of, read_images
from hilum.steps.pool import pool_by_volume
from hilum.steps.predictor import load_encoder, load_predictor
from hilum.store.columns import lists
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.store.score_parts import part_name
from hilum.store.tables import read_table, scores_schema, write_table
from hilum.store.volumes import VolumeReader, open_volume, volumes_of

Strings = npt.NDArray[np.str_]
Columns = dict[str, npt.NDArray[Any]]
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

    @property
    def keeps_views(self) -> bool:
        """Whether views are embedded too: only before there is a model."""
        return self.recipe.num_views > 0 and self.checkpoint_id == NONE

    def part_name(self, number: int) -> str:
        return part_name(number)

    def part_url(self, number: int) -> str:
        return f"{self.run_url}/{self.part_name(number)}"


def score_shard(number: int, *, plan: ScorePlan) -> Counts:
    """Score one shard and write its part, whole or not at all. Candidates that cannot be scored are told apart."""
    answers: list[Columns] = []
    unscored: dict[str, str] = {}
    readers: dict[str, VolumeReader] = {}
    for batch in batches(_places(plan, number), plan.resources.score_batch_size):
        ids, images_NCZYX = _readable(plan, batch, readers, unscored)
        if len(ids):
            answers += _answers(plan, ids, images_NCZYX, unscored)
    known = plan.recipe.foreground
    if known is not None and known.atlas is not None:
        atlas, volumes = load_atlas(plan.store, known.atlas), _volumes(plan.store, plan.ingest_id)
        places = _places(plan, number)
        for columns in answers:
            columns["foreground"] = by_atlas(atlas, places.of(columns["candidate_id"]), volumes)
    num_scored = _write(plan, number, answers, unscored)
    return {"shard": number, "num_scored": num_scored, "num_quarantined": len(unscored)}


@lru_cache(maxsize=2)
def _volumes(store: Store, ingest_id: str) -> dict[str, Volume]:
    return volumes_of(store, ingest_id)


def _places(plan: ScorePlan, number: int) -> Places:
    size = plan.candidates_per_shard
    return places_of(pool_by_volume(plan.store, plan.pool_id).slice(number * size, size))


def _readable(
    plan: ScorePlan, batch: Places, readers: dict[str, VolumeReader], unscored: dict[str, str]
) -> tuple[Strings, Floats]:
    """The candidates of a batch that have an image, and the images (N, C, Z, Y, X); others go to ``unscored``."""
    images: list[Floats] = []
    is_read = np.zeros(batch.num, bool)
    row = 0
    for code in np.unique(batch.codes):
        starts = batch.starts_zyx[batch.codes == code]
        for num, image in _images(plan, batch.volume_ids[code], starts, batch.shapes_zyx[0], readers):
            if isinstance(image, str):
                unscored.update(dict.fromkeys(batch.candidate_ids[row : row + num].tolist(), image))
            else:
                images.append(image)
                is_read[row : row + num] = True
            row += num
    return batch.candidate_ids[is_read], np.concatenate(images) if images else np.empty(0, np.float32)


def _images(
    plan: ScorePlan,
    volume_id: str,
    starts_N3: npt.NDArray[np.int32],
    shape_zyx: npt.NDArray[np.int32],
    readers: dict[str, VolumeReader],
) -> Iterator[tuple[int, Floats | str]]:
    """Runs of a volume's patches with the length of each, or the reason why they are not there."""
    if volume_id not in readers:
        readers.clear()  # batches come volume by volume
        try:
            readers[volume_id] = open_volume(plan.store, _volumes(plan.store, plan.ingest_id)[volume_id])
        except (HilumError, OSError, ValueError) as error:
            yield len(starts_N3), str(error)
            return
    yield from read_images(readers[volume_id], starts_N3, shape_zyx)


def _answers(plan: ScorePlan, ids: Strings, images_NCZYX: Floats, unscored: dict[str, str]) -> list[Columns]:
    """The answers for a batch; candidates without a finite one go to ``unscored``."""
    try:
        columns = _columns(plan, images_NCZYX)
    except RuntimeError as error:
        if len(ids) == 1:
            unscored[str(ids[0])] = f"The model failed on it: {str(error).splitlines()[0]}"
            return []
        # One candidate that the model cannot take must not cost the others theirs: find it by halves.
        half = len(ids) // 2
        first = _answers(plan, ids[:half], images_NCZYX[:half], unscored)
        return first + _answers(plan, ids[half:], images_NCZYX[half:], unscored)
    finite_N = np.ones(len(ids), bool)
    for values in columns.values():
        finite_N &= np.isfinite(values).reshape(len(ids), -1).all(axis=1)
    unscored.update(dict.fromkeys(ids[~finite_N].tolist(), "The model's answer is not a finite number."))
    return [{"candidate_id": ids[finite_N], **{name: values[finite_N] for name, values in columns.items()}}]


def _columns(plan: ScorePlan, images_NCZYX: Floats) -> Columns:
    """Every column of the part but the id, one row a candidate."""
    num = len(images_NCZYX)
    columns = _foreground(plan, images_NCZYX)
    if plan.checkpoint_id == NONE:
        return columns | {
            "predicted_class": np.full(num, -1, np.int32),
            "class_fractions": np.empty((num, 0), np.float32),
            "embedding": _embedding_before_a_model(plan, images_NCZYX).astype(np.float16),
            **({"view_embedding": _view_embedding(plan, images_NCZYX)} if plan.keeps_views else {}),
        }
    predictor = load_predictor(plan.store, plan.checkpoint_id, precision=plan.resources.precision)
    probs, embedding_ND, predicted_N = predictor.look(images_NCZYX, members=plan.recipe.members, seed=plan.recipe.seed)
    mean_NC = probs.mean(axis=0)
    for scorer in plan.recipe.scorers:
        reads_loss = issubclass(scorers.params_of(scorer.kind), PredictedLossParams)
        values = scorers.bind(scorer)(predicted_N if reads_loss else np.swapaxes(probs, 1, 2))
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


def _view_embedding(plan: ScorePlan, images_NCZYX: Floats) -> npt.NDArray[np.float16]:
    """(N, V·D): the embedding of every view, one after the other."""
    views = images_of_views(images_NCZYX, plan.recipe.num_views, seed=plan.recipe.seed)
    return np.concatenate([_embedding_before_a_model(plan, view).astype(np.float16) for view in views], axis=1)


def _foreground(plan: ScorePlan, images_NCZYX: Floats) -> Columns:
    """The column that a model of the recipe's makes; that of an atlas needs no image."""
    known = plan.recipe.foreground
    if known is None or known.checkpoint is None:
        return {}
    model = load_predictor(plan.store, known.checkpoint, precision=plan.resources.precision)
    return {"foreground": by_model(model, images_NCZYX)}


def _predicted_class(mean_NC: Floats) -> npt.NDArray[np.int32]:
    """The likeliest class; of a label map the commonest foreground class, 0 when there is none."""
    likeliest = _likeliest(mean_NC)
    if likeliest.ndim == 1:
        return likeliest.astype(np.int32)
    num_classes = mean_NC.shape[1]
    counts_NC: npt.NDArray[np.int64] = np.stack([np.bincount(one.ravel(), minlength=num_classes) for one in likeliest])
    counts_NC[:, 0] = 0
    commonest: npt.NDArray[np.int64] = counts_NC.argmax(axis=1)
    return commonest.astype(np.int32)


def _likeliest(mean_NC: Floats) -> npt.NDArray[np.int64]:
    """`argmax` over classes, of equals the first; a map's classes lie far apart, and pass by pass it is faster."""
    highest, likeliest = mean_NC[:, 0].copy(), np.zeros_like(mean_NC[:, 0], np.int64)
    for class_id in range(1, mean_NC.shape[1]):
        is_higher = mean_NC[:, class_id] > highest
        np.copyto(highest, mean_NC[:, class_id], where=is_higher)
        np.copyto(likeliest, class_id, where=is_higher)
    return likeliest


def unscored_of(part_url: str) -> dict[str, str]:
    """The candidates of a part that could not be scored, each with the reason."""
    metadata = read_table(part_url, scores_schema([]), columns=["candidate_id"]).schema.metadata
    unscored: dict[str, str] = json.loads(metadata[_UNSCORED])
    return unscored


def _write(plan: ScorePlan, number: int, answers: Sequence[Columns], unscored: dict[str, str]) -> int:
    """Write the part, sorted by candidate id; returns how many were scored."""
    schema = scores_schema(
        plan.score_names,
        keep_members=plan.keeps_members,
        keep_views=plan.keeps_views,
        knows_foreground=plan.recipe.foreground is not None,
    )
    # In the part itself, so that they and the scores appear together or not at all.
    schema = schema.with_metadata({**schema.metadata, _UNSCORED: json.dumps(unscored, sort_keys=True)})
    table = schema.empty_table()
    if answers:
        columns = {name: np.concatenate([answer[name] for answer in answers]) for name in schema.names}
        order = np.argsort(columns["candidate_id"])
        table = pa.Table.from_arrays([_arrow(columns[name][order]) for name in schema.names], schema=schema)
    write_table(plan.part_url(number), table)
    return int(table.num_rows)


def _arrow(values: npt.NDArray[Any]) -> pa.Array:
    return lists(values) if values.ndim == 2 else pa.array(values)
