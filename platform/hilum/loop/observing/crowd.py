"""Who answered how much in a campaign, by number: names stay where they are.

A person's number is the place of their first answer: by round, and within a round by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from hilum.core.asking import Annotation
from hilum.core.ports import Meter
from hilum.loop.people import agreement_among, agreement_with_others
from hilum.store.labels import ANNOTATIONS_FILE, read_annotations
from hilum.store.layout import Store
from hilum.store.tables import ANNOTATIONS, read_table

MOST_PEOPLE = 50
"""Who comes after them is told together, as OTHERS."""
OTHERS = "others"
MOST_SHARED = 200
"""Agreement is over the last so many candidates that several people answered: all label maps would fill the memory."""


@dataclass(frozen=True)
class Answered:
    """What one person did: answers, and the seconds that they told."""

    num: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Crowd:
    """The people of some collect runs. ``asked_of`` says who answered about a candidate, and in which runs.

    ``shared`` are candidates that several people answered, those of the last rounds last.
    """

    numbers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    asked_of: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    answered: Mapping[str, Answered] = field(default_factory=lambda: MappingProxyType({}))
    shared: tuple[str, ...] = ()
    agreement: float | None = None
    agreements: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    num_runs: int = 0

    def tell(self, meter: Meter, campaign: str) -> None:
        """Everybody's work, and how far they agree."""
        for person, answered in self.answered.items():
            meter.count("hilum_annotator_answers_total", answered.num, campaign=campaign, person=person)
            meter.count("hilum_annotator_seconds_total", answered.seconds, campaign=campaign, person=person)
        for person, value in self.agreements.items():
            meter.set("hilum_annotator_agreement", value, campaign=campaign, person=person)
        if self.agreement is not None:
            meter.set("hilum_annotators_agreement", self.agreement, campaign=campaign)


def crowd_of(store: Store, collect_ids: Sequence[str], before: Crowd) -> Crowd:
    """The crowd of all ``collect_ids``, of which ``before`` has counted the first ``num_runs``."""
    if len(collect_ids) < before.num_runs:
        before = Crowd()
    crowd = before
    for collect_id in collect_ids[before.num_runs :]:
        crowd = _with_run(store, collect_id, crowd)
    return crowd if crowd.num_runs == before.num_runs else _with_agreement(store, crowd)


def numbers_of(store: Store, collect_ids: Sequence[str]) -> dict[str, int]:
    """The number of every annotator of these collect runs, as metrics have it: for who may know the names."""
    numbers: dict[str, int] = {}
    for collect_id in collect_ids:
        names = read_table(_url(store, collect_id), ANNOTATIONS, ["annotator"])["annotator"].to_pylist()
        for name in sorted(set(names)):
            numbers.setdefault(name, len(numbers) + 1)
    return numbers


def _with_run(store: Store, collect_id: str, crowd: Crowd) -> Crowd:
    rows = read_table(_url(store, collect_id), ANNOTATIONS, ["candidate_id", "annotator", "seconds"]).to_pylist()
    numbers, answered, asked_of = dict(crowd.numbers), dict(crowd.answered), dict(crowd.asked_of)
    for row in sorted(rows, key=lambda row: str(row["annotator"])):
        person = _told_as(numbers.setdefault(row["annotator"], len(numbers) + 1))
        known = answered.get(person, Answered())
        answered[person] = Answered(known.num + 1, known.seconds + row["seconds"])
        candidate_id = row["candidate_id"]
        asked_of[candidate_id] = asked_of.get(candidate_id, frozenset()) | {(row["annotator"], collect_id)}
    shared = [
        candidate_id
        for candidate_id in sorted({row["candidate_id"] for row in rows})
        if len({annotator for annotator, _ in asked_of[candidate_id]}) > 1
    ]
    earlier = [candidate_id for candidate_id in crowd.shared if candidate_id not in set(shared)]
    return replace(
        crowd,
        numbers=numbers,
        asked_of=asked_of,
        answered=answered,
        shared=tuple([*earlier, *shared][-MOST_SHARED:]),
        num_runs=crowd.num_runs + 1,
    )


def _with_agreement(store: Store, crowd: Crowd) -> Crowd:
    by_candidate: dict[str, list[Annotation]] = {}
    for collect_id in sorted({run for candidate_id in crowd.shared for _, run in crowd.asked_of[candidate_id]}):
        for answer in read_annotations(_url(store, collect_id), candidate_ids=crowd.shared):
            by_candidate.setdefault(answer.patch.candidate_id, []).append(answer)
    among = agreement_among(by_candidate.values())
    each: dict[str, list[float]] = {}
    for name, value in agreement_with_others(by_candidate.values()).items():
        if value is not None:
            each.setdefault(_told_as(crowd.numbers[name]), []).append(value)
    means = {person: float(np.mean(values)) for person, values in each.items()}
    return replace(crowd, agreement=None if among is None else among.value, agreements=means)


def _told_as(number: int) -> str:
    return str(number) if number <= MOST_PEOPLE else OTHERS


def _url(store: Store, collect_id: str) -> str:
    return f"{store.run('collect', collect_id)}/{ANNOTATIONS_FILE}"
