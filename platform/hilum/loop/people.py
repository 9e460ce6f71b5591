"""Who answered how much, how fast, and how well: as others did, as all agreed, and as the model had drafted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np

from hilum.core.agreement import answered_dice, fleiss_kappa, label_maps_of, mean_pairwise_dice, votes_of
from hilum.core.asking import Annotation
from hilum.loop.stopping import kappa
from hilum.steps.publish import read_drafts
from hilum.store.labels import ANNOTATIONS_FILE, read_annotations, read_answers, read_everybodys_answers
from hilum.store.layout import Store

Pairs = Sequence[tuple[Annotation, Annotation]]
"""One's own answer, and what it is compared with."""


@dataclass(frozen=True)
class Person:
    """One annotator of a label set.

    ``median_seconds`` and ``total_seconds`` are of the answers whose time was told. ``agreement`` is with what stands
    for everybody's answers, their own among them, and ``with_others`` with the others' answers alone, over the
    ``num_shared`` candidates that others answered too: Cohen's kappa of classes (1 for always, 0 for as often as by
    chance), the mean Dice of outlines (0 to 1). ``with_drafts`` is of ``num_drafted`` answers to what a model had
    drafted: the share of drafts that were left (classes), or the mean Dice with them. None where there is nothing to
    say it of.
    """

    annotator: str
    num_answers: int
    median_seconds: float | None
    total_seconds: float
    num_shared: int
    agreement: float | None
    with_others: float | None
    num_drafted: int
    with_drafts: float | None


@dataclass(frozen=True)
class Agreement:
    """How far ``num_annotators`` agree over the ``num_shared`` candidates that several of them answered.

    Of classes Cohen's kappa of two people and Fleiss' of more; of outlines the mean Dice of all pairs. None where
    nobody gave two classes: that agreement says nothing.
    """

    measure: Literal["Cohen's kappa", "Fleiss' kappa", "mean Dice"]
    value: float | None
    num_shared: int
    num_annotators: int


def people_of(store: Store, label_set_id: str, rounds: Iterable[tuple[str, str]] = ()) -> tuple[Person, ...]:
    """Every annotator of a label set and its ancestors, by name.

    ``rounds`` are the publish and the collect run of each round, to tell what became of drafts.
    """
    everybodys = read_everybodys_answers(store, label_set_id)
    agreed = {answer.patch.candidate_id: answer for answer in read_answers(store, label_set_id)}
    votes = {candidate_id: votes_of(answers) for candidate_id, answers in everybodys.items()}
    drafted = _with_drafts(store, rounds)
    by_name: dict[str, list[Annotation]] = {}
    for answers in everybodys.values():
        for answer in answers:
            by_name.setdefault(answer.annotator, []).append(answer)
    return tuple(
        _person(name, answers, votes, agreed, drafted.get(name, ())) for name, answers in sorted(by_name.items())
    )


def agreement_of(store: Store, label_set_id: str) -> Agreement | None:
    """How far the annotators of a label set and its ancestors agree; None where no two answered the same."""
    return agreement_among(read_everybodys_answers(store, label_set_id).values())


def agreement_among(answers: Iterable[Sequence[Annotation]]) -> Agreement | None:
    """How far people agree; ``answers`` are all that were given about a candidate, for each candidate."""
    shared = [votes for votes in map(votes_of, answers) if len(votes) > 1]
    if not shared:
        return None
    names = sorted({vote.annotator for votes in shared for vote in votes})
    if shared[0][0].class_id is None:
        dice = [mean_pairwise_dice(label_maps_of(votes)) for votes in shared]
        return Agreement("mean Dice", float(np.mean(dice)), len(shared), len(names))
    if len(names) == 2:
        pairs = [(first, second) for first, second in (sorted(votes, key=_by_name) for votes in shared)]
        return Agreement("Cohen's kappa", _kappa(pairs), len(shared), 2)
    return Agreement("Fleiss' kappa", fleiss_kappa(_class_counts(shared)), len(shared), len(names))


def agreement_with_others(answers: Iterable[Sequence[Annotation]]) -> dict[str, float | None]:
    """By annotator, the agreement with the others over what others answered too, as `Person.with_others` has it."""
    pairs: dict[str, list[tuple[Annotation, Annotation]]] = {}
    for votes in map(votes_of, answers):
        for answer, other in permutations(votes, 2):
            pairs.setdefault(answer.annotator, []).append((answer, other))
    return {name: _agreement(each) for name, each in pairs.items()}


def _person(
    name: str,
    answers: Sequence[Annotation],
    votes: Mapping[str, Sequence[Annotation]],
    agreed: Mapping[str, Annotation],
    drafted: Pairs,
) -> Person:
    seconds = [answer.seconds for answer in answers if answer.seconds > 0]
    shared = [answer for answer in _last_words(answers) if len(votes[answer.patch.candidate_id]) > 1]
    of_others = [
        (answer, other) for answer in shared for other in votes[answer.patch.candidate_id] if other.annotator != name
    ]
    return Person(
        annotator=name,
        num_answers=len(answers),
        median_seconds=float(np.median(seconds)) if seconds else None,
        total_seconds=float(sum(seconds)),
        num_shared=len(shared),
        agreement=_agreement([(answer, agreed[answer.patch.candidate_id]) for answer in shared]),
        with_others=_agreement(of_others),
        num_drafted=len(drafted),
        with_drafts=_acceptance(drafted),
    )


def _last_words(answers: Sequence[Annotation]) -> list[Annotation]:
    """One person's last answer about each patch."""
    return list({answer.patch.candidate_id: answer for answer in answers}.values())


def _with_drafts(store: Store, rounds: Iterable[tuple[str, str]]) -> dict[str, list[tuple[Annotation, Annotation]]]:
    """By annotator, every answer to what had been drafted, with the draft that was shown."""
    found: dict[str, list[tuple[Annotation, Annotation]]] = {}
    for publish_id, collect_id in rounds:
        drafts = {draft.patch.candidate_id: draft for draft in read_drafts(store, publish_id)}
        if not drafts:
            continue
        for answer in read_annotations(f"{store.run('collect', collect_id)}/{ANNOTATIONS_FILE}"):
            draft = drafts.get(answer.patch.candidate_id)
            if draft is not None:
                found.setdefault(answer.annotator, []).append((answer, draft))
    return found


def _agreement(pairs: Pairs) -> float | None:
    if not pairs:
        return None
    return _mean_dice(pairs) if pairs[0][0].class_id is None else _kappa(pairs)


def _acceptance(drafted: Pairs) -> float | None:
    if not drafted:
        return None
    if drafted[0][0].class_id is None:
        return _mean_dice(drafted)
    return float(np.mean([answer.class_id == draft.class_id for answer, draft in drafted]))


def _kappa(pairs: Pairs) -> float | None:
    return kappa(*(np.array([one.class_id for one in side], np.int64) for side in zip(*pairs, strict=True)))


def _mean_dice(pairs: Pairs) -> float:
    maps = [(one.label_map_zyx, other.label_map_zyx) for one, other in pairs]
    return float(np.mean([answered_dice(one, other) for one, other in maps if one is not None and other is not None]))


def _class_counts(shared: Sequence[Sequence[Annotation]]) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """(N, C): how many gave each class."""
    classes = [[vote.class_id or 0 for vote in votes] for votes in shared]
    counts = np.zeros((len(classes), 1 + max(map(max, classes))), np.int64)
    for row, given in enumerate(classes):
        np.add.at(counts[row], given, 1)
    return counts


def _by_name(answer: Annotation) -> str:
    return answer.annotator
