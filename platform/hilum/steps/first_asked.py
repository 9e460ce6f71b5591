"""Who was asked about first where, and what the model of that round said, which had not seen the answer.

Shape letters: C = classes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hilum.core.asking import Candidate
from hilum.steps.score_parts import parts_of
from hilum.store.columns import matrix
from hilum.store.labels import NONE, lineage
from hilum.store.layout import Store
from hilum.store.manifest import read_manifest
from hilum.store.selections import read_selection

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FirstAsked:
    """The selection that first held a candidate, and its score run; ``checkpoint_id`` is the model of that run."""

    candidate: Candidate
    selection_id: str
    score_id: str
    checkpoint_id: str


def first_asked(store: Store, label_set_id: str, pool_id: str) -> dict[str, FirstAsked]:
    """By candidate where it was first asked, of those of one pool that a label set and its ancestors answer."""
    collected = (read_manifest(store.run("collect", one.inputs["collect"])) for one in lineage(store, label_set_id))
    return of_selections(store, (one.inputs["select"] for one in collected), pool_id)


def of_selections(store: Store, selection_ids: Iterable[str], pool_id: str) -> dict[str, FirstAsked]:
    """The same of selections, the oldest first."""
    found: dict[str, FirstAsked] = {}
    for selection_id in selection_ids:
        inputs = read_manifest(store.run("select", selection_id)).inputs
        if inputs["pool"] != pool_id:
            continue
        checkpoint_id = read_manifest(store.run("score", inputs["score"])).inputs["checkpoint"]
        for chosen in read_selection(store, selection_id):
            asked = FirstAsked(chosen.candidate, selection_id, inputs["score"], checkpoint_id)
            found.setdefault(chosen.candidate.candidate_id, asked)
    return found


def unseen_probs(store: Store, asked: Mapping[str, FirstAsked]) -> dict[str, Floats]:
    """Class probabilities (C,) of each candidate by the model of the round that first asked about it.

    That model was trained before there was an answer. Candidates of rounds without a model have none.
    """
    by_run: dict[str, list[str]] = {}
    for candidate_id, first in asked.items():
        if first.checkpoint_id != NONE:
            by_run.setdefault(first.score_id, []).append(candidate_id)
    found: dict[str, Floats] = {}
    for score_id, candidates in by_run.items():
        found |= probs_of(store, score_id, candidates)
    return found


def probs_of(store: Store, score_id: str, candidates: Iterable[str]) -> dict[str, Floats]:
    """Class probabilities (C,) that a score run has of ``candidates``, by candidate; they sum to 1."""
    wanted = pa.array(sorted(candidates), pa.string())
    found: dict[str, Floats] = {}
    for part in parts_of(store, read_manifest(store.run("score", score_id)), ["candidate_id", "class_fractions"]):
        rows = part.filter(pc.is_in(part["candidate_id"], value_set=wanted))
        if rows.num_rows:
            probs_NC = matrix(rows["class_fractions"]).astype(np.float64)
            probs_NC /= probs_NC.sum(axis=1, keepdims=True)
            found |= dict(zip(rows["candidate_id"].to_pylist(), probs_NC, strict=True))
    return found
