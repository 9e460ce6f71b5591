"""What successive models say of the stop set: the candidates that may still be asked about.

The pool was scored anyway, so no model runs here.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from hilum.core.recipes import StopRecipe
from hilum.loop.stopping import CHANGE, KAPPA, UNCERTAINTY, kappa, predicted_change
from hilum.steps.open_rows import are_declined, pool_rows_of, unanswered
from hilum.steps.pool import read_pool
from hilum.steps.score_parts import read_scores
from hilum.store.columns import strings
from hilum.store.labels import NONE, read_answers, read_declined
from hilum.store.layout import Store
from hilum.store.manifest import Manifest, read_manifest


def stop_counts(store: Store, stop: StopRecipe, score_id: str, before_id: str, label_set_id: str) -> dict[str, Any]:
    """Agreement with the score run of the round before, and mean uncertainty: what ``stop`` reads of them.

    None of it before there is a model, or once nobody is left to ask. No agreement where the champion
    stayed (``before_id`` is the same run): a model always agrees with itself.
    """
    scores = read_manifest(store.run("score", score_id))
    if scores.inputs["checkpoint"] == NONE:
        return {}
    now = _open_rows(store, scores, stop, label_set_id)
    counts: dict[str, Any] = {"num_stop_set": now.num_rows}
    if stop.max_uncertainty is not None and now.num_rows:
        counts[UNCERTAINTY] = float(np.mean(now[f"score_{stop.uncertainty}"].to_numpy(), dtype=np.float64))
    if before_id in (NONE, score_id):
        return counts
    before = read_manifest(store.run("score", before_id))
    if before.inputs["checkpoint"] == NONE:
        return counts
    return counts | _agreement(read_scores(store, before, columns=_SAID), now, stop)


_SAID = ["candidate_id", "predicted_class"]


def _open_rows(store: Store, scores: Manifest, stop: StopRecipe, label_set_id: str) -> pa.Table:
    """What was scored, without what is answered and what overlaps it."""
    columns = _SAID if stop.max_uncertainty is None else [*_SAID, f"score_{stop.uncertainty}"]
    table = read_scores(store, scores, columns=columns)
    answers = [] if label_set_id == NONE else read_answers(store, label_set_id)
    rows = pool_rows_of(read_pool(store, scores.inputs["pool"]), _ids(table))
    is_open = unanswered(rows, answers) & ~are_declined(rows, read_declined(store, label_set_id))
    return table.filter(pa.array(is_open))


def _agreement(before: pa.Table, now: pa.Table, stop: StopRecipe) -> dict[str, float]:
    _, of_before, of_now = np.intersect1d(_ids(before), _ids(now), assume_unique=True, return_indices=True)
    classes = before["predicted_class"].to_numpy()[of_before], now["predicted_class"].to_numpy()[of_now]
    found = {
        KAPPA: None if stop.min_kappa is None else kappa(*classes),
        CHANGE: None if stop.max_change is None else predicted_change(*classes),
    }
    return {name: value for name, value in found.items() if value is not None}


def _ids(table: pa.Table) -> "np.ndarray[tuple[int], np.dtype[np.str_]]":
    return strings(table["candidate_id"])
