"""What several people say about one task: how many are waited for, who counts, and what is refused."""

from collections.abc import Sequence
from typing import Any

from tests.unit.adapters.label_studio.annotations import CLASSES, PATCH, annotation, asked

from hilum.adapters.label_studio.asked import ASKED_KEY
from hilum.adapters.label_studio.collecting import Said, judge
from hilum.adapters.label_studio.drafts import class_draft
from hilum.adapters.label_studio.rows import Row
from hilum.core.asking import Candidate, Chosen, Task

ASKED = asked("classify")
ROW = Row(3, "s/c", "s", {ASKED_KEY: ASKED.to_json()}, "", (), False, frozenset())
NAME = PATCH.candidate_id


def task(*answered_by: str) -> Task:
    chosen = Chosen(Candidate(PATCH, "patient"), 0, "random", 0.0, "", answered_by=answered_by)
    return Task("0123456789ab", chosen, "classify", CLASSES)


def by(person: int, class_id: int = 1, **other: Any) -> dict[str, Any]:
    result = class_draft(ASKED, class_id, score=0, checkpoint_id="c")["result"]
    name = f"8d3f0c2a-1b2c-4d5e-8f90-{person:08x}{class_id:04x}"
    return annotation(*result, completed_by=person, unique_id=name, **other)


def skipped_by(person: int) -> dict[str, Any]:
    return by(person, was_cancelled=True)


def said(told: Sequence[dict[str, Any]], *, of: Task | None = None, num_annotators: int = 1) -> Said:
    return judge(of or task(), [(ROW, one) for one in told], num_annotators=num_annotators)


def names_of(said: Said) -> list[str]:
    return [answer.annotator for answer in said.answers]


def test_everybodys_answer_is_taken() -> None:
    found = said([by(2), by(5, class_id=2), by(9)], num_annotators=3)
    assert names_of(found) == ["label-studio-2", "label-studio-5", "label-studio-9"]
    assert [answer.class_id for answer in found.answers] == [1, 2, 1]
    assert found.refused == found.declined == {}


def test_a_task_is_answered_when_as_many_as_were_asked_have_spoken() -> None:
    for told in ([by(2)], [by(2), by(2, class_id=2)], [skipped_by(2)]):
        early = said(told, num_annotators=2)
        assert early.answers == []
        assert early.declined == {}
        assert early.refused == {NAME: "1 of 2 annotators have answered so far"}
    assert names_of(said([by(2), skipped_by(5)], num_annotators=2)) == ["label-studio-2"]
    assert said([], num_annotators=2) == Said()


def test_what_all_declined_is_declined() -> None:
    found = said([skipped_by(5), skipped_by(2)], num_annotators=2)
    assert found == Said(declined={NAME: "skipped by label-studio-2; skipped by label-studio-5"})


def test_more_than_were_asked_may_answer() -> None:
    assert len(said([by(2), by(5)]).answers) == 2


def test_whoever_answered_before_is_refused_and_somebody_else_is_not() -> None:
    again = task("label-studio-2", "oracle-1")
    refused = said([by(2)], of=again)
    assert refused.answers == []
    assert "'label-studio-2' has answered this before" in refused.refused[NAME]
    both = said([by(2), by(5)], of=again)
    assert names_of(both) == ["label-studio-5"]
    assert "'label-studio-2' has answered this before" in both.refused[NAME]
    assert said([by(5)], of=again).refused == {}


def test_whoever_answered_before_may_skip_and_another_is_still_waited_for() -> None:
    again = task("label-studio-2")
    assert said([skipped_by(2)], of=again) == Said()
    assert names_of(said([skipped_by(2), by(5)], of=again)) == ["label-studio-5"]
    assert said([skipped_by(2), skipped_by(5)], of=again).declined == {NAME: "skipped by label-studio-5"}


def test_a_rejected_answer_is_waited_for() -> None:
    found = said([by(2, reviews=[{"accepted": False}])])
    assert found.answers == []
    assert "rejected" in found.refused[NAME]


def test_one_bad_answer_does_not_hide_a_good_one_and_is_told() -> None:
    found = said([by(2), annotation(completed_by=5)])
    assert names_of(found) == ["label-studio-2"]
    assert found.refused == {NAME: "no class was chosen"}
