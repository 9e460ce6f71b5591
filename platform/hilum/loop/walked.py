"""The events of a campaign up to where the ledger says it is."""

from collections.abc import Sequence

from hilum.core.errors import CorruptionError
from hilum.core.ports import CampaignPlace
from hilum.loop.budget import Rounds
from hilum.loop.events import Event, round_events
from hilum.loop.stages import Stage
from hilum.store.layout import Store


def walked(store: Store, place: CampaignPlace, before: Rounds = ()) -> list[dict[Stage, Event]]:
    """The events of every round up to ``place``, of the last one those up to its stage.

    ``before`` are rounds that were read earlier: all but the last of them are over, and are not read again.
    """
    rounds: list[dict[Stage, Event]] = list(_over(before, place))
    while len(rounds) <= place.round_number and (events := round_events(store, place.name, len(rounds))):
        rounds.append(events)
    here = Stage(place.stage)
    if len(rounds) <= place.round_number or here not in rounds[-1]:
        raise CorruptionError(
            f"Campaign '{place.name}' is at round {place.round_number}, '{here}', but the store has no such event. "
            "Was the store restored from an older copy? `hilum doctor --rebuild` goes back to its last event."
        )
    rounds[-1] = {stage: event for stage, event in rounds[-1].items() if stage.number <= here.number}
    return rounds


def _over(before: Rounds, place: CampaignPlace) -> Sequence[dict[Stage, Event]]:
    return before[: min(len(before) - 1, place.round_number)] if before else ()
