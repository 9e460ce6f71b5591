"""Where a campaign stands and how it got there, read from its events alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hilum.core.recipes import CampaignRecipe, Question
from hilum.loop.budget import Rounds, num_selected, seconds_of_round
from hilum.loop.events import Event, runs_of
from hilum.loop.stages import Stage
from hilum.loop.stopping import ending
from hilum.store.labels import NONE

Metrics = Mapping[str, Mapping[str, float]]
"""Side of the split -> metric -> value."""


@dataclass(frozen=True)
class CurvePoint:
    """One trained round: what its own checkpoint reached, and what the champion after it reaches.

    ``seconds`` are people's until then, told or predicted; 0 where nobody knows.
    """

    round_number: int
    num_labels: int
    checkpoint_id: str
    metrics: Metrics
    champion_id: str
    champion_metrics: Metrics
    promoted: bool
    seconds: float = 0.0


@dataclass(frozen=True)
class RoundSummary:
    """One round: how far it came, what it asked and was told, and where the time went.

    ``reuse`` is the account of its training, as `hilum.steps.teaching.Reuse` has it; empty until it has trained.
    """

    round_number: int
    stage: Stage
    num_asked: int
    num_answered: int
    seconds: Mapping[str, float]
    runs: Mapping[str, str]
    promoted: bool | None
    reuse: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CampaignStatus:
    """A campaign at a glance. ``metric`` is the one that decides about promotion; ``ending`` is why it ended."""

    name: str
    question: Question
    round_number: int
    stage: Stage
    finished: bool
    num_asked: int
    num_answered: int
    num_in_total: int
    champion_id: str | None
    metric: str | None
    champion_metric: float | None
    history: tuple[RoundSummary, ...]
    curve: tuple[CurvePoint, ...]
    ending: str | None = None


def summarise(name: str, recipe: CampaignRecipe, rounds: Rounds) -> CampaignStatus:
    """The status that a campaign's events tell."""
    rows = tuple(_summary(events) for events in rounds)
    ends = [event for events in rounds for stage, event in events.items() if stage.is_end]
    promotions = [event for event in ends if event.stage is Stage.PROMOTED]
    why = ending(recipe.campaign, rounds)
    return CampaignStatus(
        name=name,
        question=recipe.question,
        round_number=rows[-1].round_number,
        stage=rows[-1].stage,
        finished=why is not None,
        num_asked=sum(row.num_asked for row in rows),
        num_answered=sum(row.num_answered for row in rows),
        num_in_total=recipe.campaign.num_in_total,
        champion_id=_champion_after(rounds[-1]),
        metric=ends[-1].counts.get("metric") if ends else None,
        champion_metric=promotions[-1].counts.get("challenger") if promotions else None,
        history=rows,
        curve=tuple(_curve(rounds)),
        ending=why,
    )


def asked_and_told(rows: Sequence[RoundSummary]) -> tuple[tuple[str, str], ...]:
    """The publish and the collect run of every round that people have answered."""
    return tuple((row.runs["publish"], row.runs["collect"]) for row in rows if "collect" in row.runs)


def _summary(events: dict[Stage, Event]) -> RoundSummary:
    last = list(events.values())[-1]
    return RoundSummary(
        round_number=last.round_number,
        stage=last.stage,
        num_asked=num_selected(events),
        num_answered=_num_answers(events),
        seconds={step: s for event in events.values() for step, s in event.seconds.items()},
        runs=runs_of(events),
        promoted=last.stage is Stage.PROMOTED if last.stage.is_end else None,
        reuse=events[Stage.TRAINED].counts if Stage.TRAINED in events else {},
    )


def _curve(rounds: Rounds) -> list[CurvePoint]:
    points: list[CurvePoint] = []
    known: dict[str, Any] = {}
    num_labels, seconds = 0, 0.0
    for events in rounds:
        seconds += seconds_of_round(events)
        num_labels += _num_answers(events)
        if Stage.EVALUATED not in events:
            continue
        checkpoint_id = runs_of(events)["finetune"]
        known[checkpoint_id] = events[Stage.EVALUATED].counts["metrics"]
        champion_id = _champion_after(events) or checkpoint_id
        points.append(
            CurvePoint(
                round_number=events[Stage.EVALUATED].round_number,
                num_labels=num_labels,
                checkpoint_id=checkpoint_id,
                metrics=known[checkpoint_id],
                champion_id=champion_id,
                champion_metrics=known.get(champion_id, {}),
                promoted=Stage.PROMOTED in events,
                seconds=seconds,
            )
        )
    return points


def _champion_after(events: dict[Stage, Event]) -> str | None:
    runs = runs_of(events)
    champion = runs["finetune"] if Stage.PROMOTED in events else runs["champion"]
    return None if champion == NONE else champion


def _num_answers(events: dict[Stage, Event]) -> int:
    return int(events[Stage.COLLECTED].counts["num_answers"]) if Stage.COLLECTED in events else 0
