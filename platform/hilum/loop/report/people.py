"""The people of a campaign as rows of text, for the page and for the terminal alike."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from hilum.core.recipes import Question
from hilum.loop.people import Agreement, Person
from hilum.loop.report.tables import ABSENT, Cell, duration_text

_MEASURES: dict[Question, str] = {"classify": "kappa", "segment": "Dice"}
_OF_DRAFTS: dict[Question, Cell] = {"classify": Cell("drafts", "accepted"), "segment": Cell("Dice", "with drafts")}


def headings(question: Question) -> list[Cell]:
    """What stands above the cells of `person_row`."""
    measure = _MEASURES[question]
    return [
        Cell("annotator"),
        Cell("answers"),
        Cell("time", "median"),
        Cell("time", "in all"),
        Cell("shared", "with others"),
        Cell(measure, "with the others"),
        Cell(measure, "with the consensus"),
        _OF_DRAFTS[question],
    ]


def person_row(person: Person, question: Question) -> list[Cell]:
    """One annotator; the numbers of drafts stand beside what became of them."""
    of_drafts = _share(person.with_drafts) if question == "classify" else _score(person.with_drafts)
    return [
        Cell(person.annotator),
        Cell(f"{person.num_answers:,}"),
        Cell(ABSENT if person.median_seconds is None else duration_text(person.median_seconds)),
        Cell(ABSENT if not person.total_seconds else duration_text(person.total_seconds)),
        Cell(f"{person.num_shared:,}"),
        Cell(_score(person.with_others)),
        Cell(_score(person.agreement)),
        Cell(of_drafts, f"of {person.num_drafted:,}" if person.num_drafted else ""),
    ]


def agreement_line(agreement: Agreement) -> str:
    """How far all agree, in a sentence."""
    of_whom = (
        f"{agreement.num_annotators} annotators over the {agreement.num_shared:,} candidates that several answered"
    )
    if agreement.value is None:
        return f"{agreement.measure} of {of_whom}: nobody gave two classes, which says nothing"
    return f"{agreement.measure} of {of_whom}: {agreement.value:.2f}"


def agreement_over_seeds(agreements: Sequence[Agreement]) -> str:
    """How far all agree, as the mean of several campaigns; empty where no two people answered the same."""
    known = [one for one in agreements if one.value is not None]
    if not known:
        return agreement_line(agreements[0]) if agreements else ""
    return agreement_line(
        Agreement(
            known[0].measure,
            fmean(one.value for one in known if one.value is not None),
            round(fmean(one.num_shared for one in known)),
            max(one.num_annotators for one in known),
        )
    )


def mean_person(people: Sequence[Person]) -> Person:
    """One annotator of several campaigns (at least one): the mean of every number, of those that are known."""
    return replace(
        people[0],
        num_answers=round(fmean(one.num_answers for one in people)),
        median_seconds=_mean([one.median_seconds for one in people]),
        total_seconds=fmean(one.total_seconds for one in people),
        num_shared=round(fmean(one.num_shared for one in people)),
        agreement=_mean([one.agreement for one in people]),
        with_others=_mean([one.with_others for one in people]),
        num_drafted=round(fmean(one.num_drafted for one in people)),
        with_drafts=_mean([one.with_drafts for one in people]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _score(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return ABSENT if value is None else f"{100 * value:.0f}\N{NO-BREAK SPACE}%"
