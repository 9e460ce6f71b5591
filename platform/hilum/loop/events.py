"""What happened to a campaign, one small file for each move: rounds/<n>/events/<k>-<stage>.json.

Events are written once and never changed. With the manifests they hold all that the ledger
holds, which is how a lost ledger is written again.
"""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hilum.core.errors import CorruptionError
from hilum.loop.stages import Stage
from hilum.store.layout import Store, filesystem
from hilum.store.manifest import read_json, write_json

FORMAT_VERSION = 1


class Event(BaseModel):
    """One move: the stage that was reached, the runs that made it, seconds per step, and counts.

    ``runs`` names what this move used or made, by step ('score', 'select', …); the event of
    stage 'opened' names what the round starts from: 'champion', 'labels' and 'ingest'.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    format_version: int = FORMAT_VERSION
    campaign: str
    round_number: int
    stage: Stage
    runs: dict[str, str] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    counts: dict[str, Any] = Field(default_factory=dict)
    at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def write_event(store: Store, event: Event) -> Event:
    """Write the event unless the move was recorded before; returns the one that stands."""
    folder = store.round_events(event.campaign, event.round_number)
    recorded = [read_event(store, event.campaign, event.round_number, s) for s in _same_place(event.stage)]
    if not any(recorded):
        write_json(f"{folder}/{event.stage.event_file}", event.model_dump(mode="json"), only_if_absent=True)
    stands = next((e for e in recorded if e), None) or read_event(
        store, event.campaign, event.round_number, event.stage
    )
    assert stands is not None
    return stands


def read_event(store: Store, campaign: str, round_number: int, stage: Stage) -> Event | None:
    """The event of one move, or None if it was not made yet."""
    url = f"{store.round_events(campaign, round_number)}/{stage.event_file}"
    fs, path = filesystem(url)
    return _parsed(url) if fs.exists(path) else None


def round_events(store: Store, campaign: str, round_number: int) -> dict[Stage, Event]:
    """Every event of one round, in the order of its stages; empty when the round was never opened."""
    found = ((stage, read_event(store, campaign, round_number, stage)) for stage in Stage)
    return {stage: event for stage, event in found if event is not None}


def history(store: Store, campaign: str) -> list[dict[Stage, Event]]:
    """The events of every round, the first round first."""
    rounds: list[dict[Stage, Event]] = []
    while events := round_events(store, campaign, len(rounds)):
        rounds.append(events)
    return rounds


def runs_of(events: dict[Stage, Event]) -> dict[str, str]:
    """All runs that a round's events name."""
    return {noun: run_id for event in events.values() for noun, run_id in event.runs.items()}


def _same_place(stage: Stage) -> list[Stage]:
    return [other for other in Stage if other.number == stage.number]


def _parsed(url: str) -> Event:
    try:
        event = Event.model_validate(read_json(url))
    except ValidationError as error:
        raise CorruptionError(f"{url} is not an event: {error.errors()[0]['msg']}.") from None
    if event.format_version > FORMAT_VERSION:
        raise CorruptionError(f"{url} has format {event.format_version}; this hilum reads up to {FORMAT_VERSION}.")
    return event
