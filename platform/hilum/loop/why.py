"""Why a candidate was asked about: every selection that holds it; or where it stands, if none does."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from hilum.core.asking import Annotation, Candidate, Chosen
from hilum.core.errors import NotFoundError
from hilum.loop.definition import known_campaigns
from hilum.loop.events import history, runs_of
from hilum.loop.stages import Stage
from hilum.select.scored import UNKNOWN
from hilum.steps.pool import find_candidate
from hilum.steps.score_parts import read_scores
from hilum.steps.select import class_names_of
from hilum.store.inspection import finished_runs
from hilum.store.labels import ANNOTATIONS_FILE, NONE, read_annotations, read_answers
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import MANIFEST, Manifest, read_manifest
from hilum.store.selections import find_chosen
from hilum.store.tables import QUARANTINE, read_table


@dataclass(frozen=True)
class Turn:
    """The round of a campaign that a selection was made in, and when."""

    campaign: str
    round_number: int
    at: str


@dataclass(frozen=True)
class Picked:
    """One selection that holds the candidate. ``turn`` is None for one that was made by hand.

    ``checkpoint_id`` is the model of that round ('none' before there was one); ``neighbour`` is what
    people said of the nearest labelled candidate, ``answer`` what they said of this one.
    """

    selection_id: str
    chosen: Chosen
    turn: Turn | None
    pool_id: str
    checkpoint_id: str
    neighbour: Annotation | None
    answer: Annotation | None


@dataclass(frozen=True)
class Standing:
    """Where a candidate that was never picked stands in the newest score run of its pool.

    ``ranks`` are each score's place among ``num_scored`` candidates, 1 for the highest. ``unscored``
    is why there is no score.
    """

    score_id: str
    pool_id: str
    checkpoint_id: str
    num_scored: int
    scores: Mapping[str, float]
    ranks: Mapping[str, int]
    predicted_class: int | None
    unscored: str = ""


@dataclass(frozen=True)
class _Round:
    """A selection's round, or none, and the runs beside it."""

    turn: Turn | None
    runs: Mapping[str, str]


@dataclass(frozen=True)
class Why:
    """What a store knows of how a candidate came to be asked about, the oldest selection first."""

    candidate: Candidate
    ingest_id: str
    class_names: tuple[str, ...]
    picked: tuple[Picked, ...]
    standing: Standing | None


def why(store: Store, candidate_id: str) -> Why:
    """NotFoundError when no pool of the store has such a candidate."""
    picked = sorted(_picked(store, candidate_id), key=_when)
    if picked:
        return _said(store, picked[-1].chosen.candidate, picked[-1].pool_id, picked=tuple(picked))
    pools = {pool_id: find_candidate(store, pool_id, candidate_id) for pool_id in _newest_first(store, "pool")}
    holding = {pool_id: candidate for pool_id, candidate in pools.items() if candidate is not None}
    scores = (read_manifest(store.run("score", score_id)) for score_id in _newest_first(store, "score"))
    newest = next((run for run in scores if run.inputs["pool"] in holding), None)
    if newest is not None:
        pool_id = newest.inputs["pool"]
        return _said(store, holding[pool_id], pool_id, standing=_standing(store, candidate_id, newest))
    for pool_id, candidate in holding.items():
        return _said(store, candidate, pool_id)
    raise NotFoundError(
        f"No pool of {store.url} has a candidate '{candidate_id}'. Its id is the one in a task's name and in "
        "`pool.parquet`: twelve letters and digits."
    )


def _said(
    store: Store,
    candidate: Candidate,
    pool_id: str,
    *,
    picked: tuple[Picked, ...] = (),
    standing: Standing | None = None,
) -> Why:
    ingest_id = read_manifest(store.run("pool", pool_id)).inputs["ingest"]
    return Why(candidate, ingest_id, tuple(class_names_of(store, pool_id)), picked, standing)


def _rounds(store: Store) -> dict[str, list[_Round]]:
    """The rounds that made each selection: several, where campaigns of one recipe share it."""
    found: dict[str, list[_Round]] = {}
    for name in known_campaigns(store):
        for events in history(store, name):
            selected = events.get(Stage.SELECTED)
            if selected is not None:
                turn = Turn(name, selected.round_number, selected.at)
                found.setdefault(selected.runs["select"], []).append(_Round(turn, runs_of(events)))
    return found


def _picked(store: Store, candidate_id: str) -> Iterator[Picked]:
    rounds, collected = _rounds(store), _collected(store)
    for selection_id in sorted(finished_runs(store, "select")):
        chosen = find_chosen(store, selection_id, candidate_id)
        if chosen is None:
            continue
        inputs = read_manifest(store.run("select", selection_id)).inputs
        model = read_manifest(store.run("score", inputs["score"])).inputs["checkpoint"]
        by_hand = [_Round(None, {"champion": model})]
        for one in rounds.get(selection_id, by_hand):
            answered = [one.runs["collect"]] if "collect" in one.runs else [] if one.turn else collected[selection_id]
            yield Picked(
                selection_id=selection_id,
                chosen=chosen,
                turn=one.turn,
                pool_id=inputs["pool"],
                checkpoint_id=one.runs["champion"],
                neighbour=_neighbour(store, inputs["labels"], chosen.nearest_id),
                answer=_answer(store, answered, candidate_id),
            )


def _collected(store: Store) -> Mapping[str, list[str]]:
    """The collect runs that took in each selection's answers."""
    found: dict[str, list[str]] = defaultdict(list)
    for collect_id in sorted(finished_runs(store, "collect")):
        found[read_manifest(store.run("collect", collect_id)).inputs["select"]].append(collect_id)
    return found


def _neighbour(store: Store, label_set_id: str, candidate_id: str | None) -> Annotation | None:
    answers = [] if label_set_id == NONE or candidate_id is None else read_answers(store, label_set_id)
    return _newest(answer for answer in answers if answer.patch.candidate_id == candidate_id)


def _answer(store: Store, collect_ids: Iterable[str], candidate_id: str) -> Annotation | None:
    answers = (
        one for run_id in collect_ids for one in read_annotations(f"{store.run('collect', run_id)}/{ANNOTATIONS_FILE}")
    )
    return _newest(answer for answer in answers if answer.patch.candidate_id == candidate_id)


def _newest(answers: Iterable[Annotation]) -> Annotation | None:
    return max(answers, key=lambda answer: (answer.revision, answer.answered_at), default=None)


def _when(picked: Picked) -> tuple[str, str]:
    """By hand first: when is not written down. Then the rounds in their order."""
    return (picked.turn.at if picked.turn else "", picked.selection_id)


def _standing(store: Store, candidate_id: str, scores: Manifest) -> Standing:
    table = read_scores(store, scores)
    rows = pc.indices_nonzero(pc.equal(table["candidate_id"], candidate_id)).to_pylist()
    columns = {name: np.asarray(table[f"score_{name}"].to_numpy()) for name in scores.results["scores"]}
    said = {name: float(values[row]) for name, values in columns.items() for row in rows}
    predicted = int(table["predicted_class"][rows[0]].as_py()) if rows else UNKNOWN
    return Standing(
        score_id=scores.run_id,
        pool_id=scores.inputs["pool"],
        checkpoint_id=scores.inputs["checkpoint"],
        num_scored=table.num_rows,
        scores=said,
        ranks={name: 1 + int(np.count_nonzero(columns[name] > value)) for name, value in said.items()},
        predicted_class=None if predicted == UNKNOWN else predicted,
        unscored="" if rows else _reason(store, candidate_id, scores),
    )


def _reason(store: Store, candidate_id: str, scores: Manifest) -> str:
    rows = read_table(f"{store.run('score', scores.run_id)}/quarantine.parquet", QUARANTINE).to_pylist()
    return next(str(row["reason"]) for row in rows if row["source"] == candidate_id)


def _newest_first(store: Store, step: str) -> list[str]:
    """The ids of a step's finished runs, the one that was finished last first."""
    fs, folder = filesystem(store.path("runs", step))
    found = {run_id: fs.modified(f"{folder}/{run_id}/{MANIFEST}") for run_id in finished_runs(store, step)}
    return sorted(found, key=lambda run_id: (found[run_id], run_id), reverse=True)
