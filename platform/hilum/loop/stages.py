"""The stages of a round and the moves between them. Pure: no store, no clock, no ledger."""

from enum import StrEnum


class Stage(StrEnum):
    """Where a round stands, in order. A round ends promoted or rejected."""

    OPENED = "opened"
    SCORED = "scored"
    SELECTED = "selected"
    PUBLISHED = "published"
    COLLECTED = "collected"
    TRAINED = "trained"
    EVALUATED = "evaluated"
    PROMOTED = "promoted"
    REJECTED = "rejected"

    @property
    def number(self) -> int:
        """Its place in the round, from 1; it begins the event's file name. The two ends share theirs."""
        return 8 if self is Stage.REJECTED else list(Stage).index(self) + 1

    @property
    def is_end(self) -> bool:
        return self in ENDS

    @property
    def event_file(self) -> str:
        return f"{self.number:04d}-{self.value}.json"


ENDS = (Stage.PROMOTED, Stage.REJECTED)


def next_stages(stage: Stage) -> tuple[Stage, ...]:
    """The stages that may follow; after an end, the next round is opened."""
    if stage.is_end:
        return (Stage.OPENED,)
    if stage is Stage.EVALUATED:
        return ENDS
    return (list(Stage)[stage.number],)


def may_move(before: tuple[int, Stage], after: tuple[int, Stage]) -> bool:
    """True when a campaign at (round, stage) ``before`` may be moved to ``after``: forward, one step."""
    (round_before, stage_before), (round_after, stage_after) = before, after
    opens_next = stage_before.is_end
    return round_after == round_before + opens_next and stage_after in next_stages(stage_before)
