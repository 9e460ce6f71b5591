"""Whom to ask again: candidates that are answered, but not beyond doubt, and the time that this takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hilum.core.agreement import votes_of
from hilum.core.asking import Annotation, Chosen
from hilum.core.ports import Executor
from hilum.core.recipes import RelabelRecipe, SelectRecipe
from hilum.core.resources import Resources
from hilum.select.arms import split_by_share
from hilum.select.costs import Rates, terms, within
from hilum.steps.costs import outlined_voxels
from hilum.steps.doubts import doubts_of_classes, doubts_of_outlines
from hilum.steps.first_asked import FirstAsked, first_asked
from hilum.store.labels import NONE, read_everybodys_answers
from hilum.store.layout import Store

ARM = "relabel"


def asked_again(
    recipe: SelectRecipe,
    inputs: Mapping[str, str],
    *,
    checkpoint_id: str,
    class_names: Sequence[str],
    store: Store,
    executor: Executor,
    resources: Resources,
) -> list[Chosen]:
    """The round's share of candidates to ask again, the most doubtful first; none before there is a model."""
    if recipe.relabel is None or NONE in (inputs["labels"], checkpoint_id):
        return []
    answers = read_everybodys_answers(store, inputs["labels"])
    asked = first_asked(store, inputs["labels"], inputs["pool"])
    votes = {one: votes_of(answers[one]) for one in asked if one in answers and not _excluded(recipe, asked[one])}
    # Answers are counted, not names: people who do not sign would be asked for ever.
    open_ = [one for one in sorted(votes) if len(answers[one]) < recipe.relabel.max_annotators]
    num = min(num_again(recipe.num, recipe.relabel), len(open_))
    if not num:
        return []
    if votes[open_[0]][0].class_id is None:
        doubts = doubts_of_outlines(
            votes,
            open_,
            asked,
            checkpoint_id=checkpoint_id,
            label_set_id=inputs["labels"],
            store=store,
            executor=executor,
            resources=resources,
        )
    else:
        asked = {one: asked[one] for one in votes}
        doubts = doubts_of_classes(votes, open_, asked, score_id=inputs["score"], class_names=class_names, store=store)
    chosen = sorted(open_, key=lambda one: (-doubts[one].value, one))[:num]
    return [
        Chosen(
            candidate=asked[one].candidate,
            rank=rank,
            arm=ARM,
            score=doubts[one].value,
            reason=doubts[one].why,
            answered_by=tuple(vote.annotator for vote in votes[one]),
        )
        for rank, one in enumerate(chosen)
    ]


def num_again(num: int, recipe: RelabelRecipe) -> int:
    """How many of a round's ``num`` questions are asked again: its share, and at least one is new."""
    return min(split_by_share(num, [recipe.share, 1 - recipe.share])[0], num - 1)


def _excluded(recipe: SelectRecipe, asked: FirstAsked) -> bool:
    candidate = asked.candidate
    return not {candidate.candidate_id, candidate.patch.volume_id, candidate.patient_id}.isdisjoint(recipe.exclude)


def in_time(
    recipe: SelectRecipe, again: list[Chosen], rates: Rates | None, answers: Sequence[Annotation]
) -> list[Chosen]:
    """Those of whom to ask again that fit into their share of the round's seconds, with the seconds of each."""
    if rates is None or recipe.relabel is None or not again:
        return again
    answer_of = {answer.patch.candidate_id: answer for answer in answers}
    outlined = [outlined_voxels(answer_of[chosen.candidate.candidate_id]) for chosen in again]
    shapes = [chosen.candidate.patch.shape_zyx for chosen in again]
    seconds = rates.seconds(terms(np.array(shapes, np.int64), np.array(outlined, np.float64)))
    timed = [replace(one, predicted_seconds=float(taken)) for one, taken in zip(again, seconds, strict=True)]
    if recipe.max_seconds is None:
        return timed
    limit = recipe.relabel.share * recipe.max_seconds
    return [timed[place] for place in within(seconds.tolist(), [ARM] * len(timed), {ARM: 1.0}, limit)]


def beside(recipe: SelectRecipe, again: Sequence[Chosen]) -> SelectRecipe:
    """What is left for the arms beside those who are asked again."""
    left = None
    if recipe.max_seconds is not None:
        left = recipe.max_seconds - sum(chosen.predicted_seconds or 0 for chosen in again)
    return recipe.model_copy(update={"num": recipe.num - len(again), "max_seconds": left}) if again else recipe


def row_of_chosen(chosen: Chosen, rank: int) -> dict[str, Any]:
    """The row of a candidate that is asked again."""
    patch, seconds = chosen.candidate.patch, chosen.predicted_seconds
    about = "" if seconds is None else f"; about {seconds:.0f} s"
    return {
        "candidate_id": patch.candidate_id,
        "volume_id": patch.volume_id,
        "start_zyx": list(patch.start_zyx),
        "shape_zyx": list(patch.shape_zyx),
        "patient_id": chosen.candidate.patient_id,
        "rank": rank,
        "arm": chosen.arm,
        "score": chosen.score,
        "reason": f"{chosen.reason}{about}",
        "predicted_seconds": seconds,
        "answered_by": list(chosen.answered_by),
    }
