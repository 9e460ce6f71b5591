"""What may be asked about, as a selection sees it: the pool's rows that are left, and what is said of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hilum.core.asking import IGNORE, Annotation
from hilum.core.geometry import Patch
from hilum.core.recipes import SelectRecipe
from hilum.select.costs import Doubles, Rates, per_second
from hilum.select.overlap import Boxes
from hilum.select.scored import ScoredPool
from hilum.steps.constraints import Volumes, check_exclusions, check_slices, excluded
from hilum.steps.costs import seconds_of
from hilum.steps.open_rows import are_declined, boxes_of, unanswered
from hilum.steps.pool import read_pool
from hilum.steps.score_parts import Columns, Parts, ScoreParts, row_of
from hilum.store.columns import matrix, strings
from hilum.store.layout import Store
from hilum.store.manifest import Manifest


@dataclass(frozen=True)
class Opened:
    """The rows that are left, with their scores and places.

    ``labelled_ids`` name the rows of the pool's labelled embedding; ``seconds`` are what each row is expected to
    take, where the recipe predicts it.
    """

    rows: pa.Table
    scored: ScoredPool
    boxes: Boxes
    labelled_ids: tuple[str, ...]
    seconds: Doubles | None = None


def opened_rows(
    store: Store,
    scores: Manifest,
    parts: Parts,
    answers: Sequence[Annotation],
    num_classes: int,
    *,
    declined: Sequence[Patch],
    recipe: SelectRecipe,
    volumes: Volumes,
) -> Opened:
    """All rows of the scored pool that are neither answered, declined, excluded nor too near to an answer."""
    pool = read_pool(store, scores.inputs["pool"])
    check_exclusions(recipe.exclude, pool, volumes)
    check_slices(recipe, pool, volumes)
    boxes = partial(boxes_of, min_slices_apart=recipe.min_slices_apart, volumes=volumes)
    ids = strings(pool["candidate_id"])
    rows = ScoreParts(parts, ids)
    closed = are_declined(pool, declined) | excluded(recipe.exclude, pool)
    is_open = unanswered(pool, answers, boxes=boxes) & ~closed & rows.is_scored
    labelled = {
        a.patch.candidate_id: (row, _fractions_of(a, num_classes))
        for a in answers
        if (row := row_of(ids, a.patch.candidate_id)) is not None and rows.is_scored[row]
    }
    open_rows = np.flatnonzero(is_open)
    said = rows.read(np.concatenate([open_rows, np.array([row for row, _ in labelled.values()], np.int64)]))
    num = len(open_rows)
    scored = ScoredPool(
        candidate_ids=ids[is_open],
        scores={name: said[f"score_{name}"][:num] for name in scores.results["scores"]},
        predicted_class=said["predicted_class"][:num].astype(np.int64),
        class_fractions=said["class_fractions"][:num],
        embedding=said["embedding"][:num],
        labelled_fractions=np.array([f for _, f in labelled.values()], np.float32).reshape(len(labelled), num_classes),
        labelled_embedding=said["embedding"][num:],
        member_probs=_member_probs(said, num),
        view_embedding=_view_embedding(said, num),
        foreground=said["foreground"][:num] if "foreground" in said else None,
        weight=said["weight"][:num] if "weight" in said else None,
    )
    left = pool.take(open_rows) if num < len(ids) else pool
    return Opened(left, scored, boxes(left), tuple(labelled))


def priced(opened: Opened, rates: Rates | None, answers: Sequence[Annotation]) -> Opened:
    """The same, with every row's predicted seconds and every score for each of them."""
    if rates is None:
        return opened
    seconds = seconds_of(
        rates, matrix(opened.rows["shape_zyx"]).astype(np.int64), opened.scored.class_fractions, answers
    )
    scored = opened.scored.with_scores(per_second(opened.scored.scores, seconds))
    return replace(opened, scored=scored, seconds=seconds)


def _fractions_of(answer: Annotation, num_classes: int) -> npt.NDArray[np.float32]:
    """Each class's share of the answered voxels; of a class for the whole candidate, 1 in that class."""
    if answer.class_id is not None:
        answered = np.array([answer.class_id])
    else:
        assert answer.label_map_zyx is not None, "an annotation is a class or a label map"
        answered = answer.label_map_zyx[answer.label_map_zyx != IGNORE]
    shares = np.bincount(answered, minlength=num_classes)[:num_classes] / max(1, answered.size)
    return shares.astype(np.float32)


def _member_probs(said: Columns, num: int) -> npt.NDArray[np.float16] | None:
    """Every member's probabilities (N, M, C) of the first ``num`` candidates, if the score run kept them."""
    if "member_probs" not in said:
        return None
    return said["member_probs"][:num].reshape(num, -1, said["class_fractions"].shape[1])


def _view_embedding(said: Columns, num: int) -> npt.NDArray[np.float16] | None:
    """The embedding of every view (N, V, D) of the first ``num`` candidates, if the score run kept them."""
    if "view_embedding" not in said:
        return None
    return said["view_embedding"][:num].reshape(num, -1, said["embedding"].shape[1])
