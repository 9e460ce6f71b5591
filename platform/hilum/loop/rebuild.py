"""Writing a lost ledger again from what the store knows: ``hilum doctor --rebuild``."""

from hilum.core.ports import CampaignPlace, Ledger
from hilum.loop.definition import known_campaigns
from hilum.loop.events import Event, history, runs_of
from hilum.loop.stages import Stage
from hilum.steps.promote import CHAMPION
from hilum.store.labels import NONE
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger

Rounds = list[dict[Stage, Event]]


def rebuild_ledger(store: Store, url: str | None = None, *, ledger: Ledger | None = None) -> list[CampaignPlace]:
    """Replace the ledger's campaigns and aliases by what the events say; returns where each campaign is.

    Leases and the ids of outside labelling tools are not in the store: the first are let go
    by themselves, the second are found again by publishing, which asks nobody twice.
    """
    places: list[CampaignPlace] = []
    aliases: dict[tuple[str, str], str] = {}
    for name in known_campaigns(store):
        rounds = history(store, name)
        if not rounds:
            continue  # it was killed while being created; creating it again goes on
        places.append(last_place(name, rounds))
        champion = last_champion(rounds)
        if champion != NONE:
            aliases[name, CHAMPION] = champion
    (ledger or open_ledger(store, url)).restore(places, aliases)
    return places


def last_place(name: str, rounds: Rounds) -> CampaignPlace:
    """Where the last event leaves a campaign. Every move wrote one event, and the first one was no move."""
    last = list(rounds[-1].values())[-1]
    return CampaignPlace(name, last.round_number, last.stage.value, sum(map(len, rounds)) - 1)


def last_champion(rounds: Rounds) -> str:
    """The champion after the last event."""
    runs = runs_of(rounds[-1])
    return runs["finetune"] if Stage.PROMOTED in rounds[-1] else runs["champion"]
