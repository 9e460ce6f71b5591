"""Who answered how much, how fast, and how often as all agreed in the end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hilum.core.agreement import answered_dice, votes_of
from hilum.core.asking import Annotation
from hilum.loop.stopping import kappa
from hilum.store.labels import read_answers, read_everybodys_answers
from hilum.store.layout import Store


@dataclass(frozen=True)
class Person:
    """One annotator of a label set.

    ``median_seconds`` is of the answers whose time was told. ``agreement`` is with what stands for everybody's answers,
    their own among them, over the ``num_shared`` candidates that others answered too: Cohen's kappa of classes (1 for
    always, 0 for as often as by chance), the mean Dice of outlines (0 to 1). None where there is nothing to say it of.
    """

    annotator: str
    num_answers: int
    median_seconds: float | None
    num_shared: int
    agreement: float | None


def people_of(store: Store, label_set_id: str) -> tuple[Person, ...]:
    """Every annotator of a label set and its ancestors, by name."""
    everybodys = read_everybodys_answers(store, label_set_id)
    agreed = {answer.patch.candidate_id: answer for answer in read_answers(store, label_set_id)}
    by_name: dict[str, list[Annotation]] = {}
    for answers in everybodys.values():
        for answer in answers:
            by_name.setdefault(answer.annotator, []).append(answer)
    is_shared = {candidate_id: len(votes_of(answers)) > 1 for candidate_id, answers in everybodys.items()}
    people = []
    for name, answers in sorted(by_name.items()):
        seconds = [answer.seconds for answer in answers if answer.seconds > 0]
        shared = [answer for answer in _last_words(answers) if is_shared[answer.patch.candidate_id]]
        people.append(
            Person(
                annotator=name,
                num_answers=len(answers),
                median_seconds=float(np.median(seconds)) if seconds else None,
                num_shared=len(shared),
                agreement=_agreement(shared, [agreed[answer.patch.candidate_id] for answer in shared]),
            )
        )
    return tuple(people)


def _last_words(answers: Sequence[Annotation]) -> list[Annotation]:
    """One person's last answer about each patch."""
    return list({answer.patch.candidate_id: answer for answer in answers}.values())


def _agreement(own: Sequence[Annotation], agreed: Sequence[Annotation]) -> float | None:
    if not own:
        return None
    if own[0].class_id is not None:
        return kappa(*(np.array([one.class_id for one in answers], np.int64) for answers in (own, agreed)))
    pairs = [(one.label_map_zyx, other.label_map_zyx) for one, other in zip(own, agreed, strict=True)]
    return float(np.mean([answered_dice(one, other) for one, other in pairs if one is not None and other is not None]))
