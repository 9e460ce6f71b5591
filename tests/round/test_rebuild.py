"""A ledger that is lost is written again from the store, and the campaign goes on as if nothing had happened."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import CorruptionError, NotFoundError
from hilum.core.ports import CampaignPlace
from hilum.loop.campaign import Campaign
from hilum.loop.rebuild import rebuild_ledger
from hilum.loop.stages import Stage
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.testing.campaigns import check_invariants, determined_files, tiny_recipe

NewStore = Callable[..., tuple[Store, str]]
INLINE = InlineExecutor()
RECIPE = tiny_recipe("classify", num_per_round=3)


def lose_ledger(store: Store) -> None:
    for file in Path(store.url).glob("ledger.sqlite*"):
        file.unlink()


def places(store: Store) -> tuple[list[CampaignPlace], str | None]:
    ledger = open_ledger(store)
    found = list(ledger.places()), ledger.alias("liver", "champion")
    ledger.close()
    return found


def test_a_ledger_lost_after_any_move_comes_back_as_it_was(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    campaign = Campaign.create(store, "liver", RECIPE)
    oracle = Oracle(store, ingest_id)
    num_moves = 0
    while not campaign.finished:
        campaign.advance(executor=INLINE, annotator=oracle)
        num_moves += 1
        before = places(store)
        lose_ledger(store)
        rebuilt = rebuild_ledger(store)
        assert places(store) == before
        assert rebuilt == before[0]
        campaign = Campaign.open(store, "liver")
    assert num_moves == 15
    check_invariants(store, "liver", RECIPE)

    undisturbed, ingest_id = new_store(name="undisturbed")
    Campaign.create(undisturbed, "liver", RECIPE).run(executor=INLINE, annotator=Oracle(undisturbed, ingest_id))
    assert determined_files(store) == determined_files(undisturbed)


def test_a_ledger_that_lost_a_campaign_says_what_to_do(new_store: NewStore) -> None:
    store, _ = new_store()
    Campaign.create(store, "liver", RECIPE)
    lose_ledger(store)
    with pytest.raises(NotFoundError, match="hilum doctor --rebuild"):
        _ = Campaign.open(store, "liver").stage
    rebuild_ledger(store)
    assert Campaign.open(store, "liver").stage is Stage.OPENED


def test_a_ledger_ahead_of_the_store_is_noticed_and_taken_back(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    oracle = Oracle(store, ingest_id)
    campaign = Campaign.create(store, "liver", RECIPE)
    for _ in range(2):
        campaign.advance(executor=INLINE, annotator=oracle)
    Path(store.round_events("liver", 0), Stage.SELECTED.event_file).unlink()
    with pytest.raises(CorruptionError, match="restored from an older copy"):
        campaign.advance(executor=INLINE, annotator=oracle)
    rebuild_ledger(store)
    event = campaign.advance(executor=INLINE, annotator=oracle)
    assert event is not None
    assert event.stage is Stage.SELECTED


def test_every_campaign_of_a_store_is_rebuilt(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    for name in ("liver", "lung"):
        Campaign.create(store, name, RECIPE)
    Campaign.open(store, "lung").advance(executor=INLINE, annotator=Oracle(store, ingest_id))
    Path(store.campaign("begun")).mkdir()
    lose_ledger(store)
    assert [(p.name, p.stage, p.version) for p in rebuild_ledger(store)] == [
        ("liver", "opened", 0),
        ("lung", "scored", 1),
    ]


def test_rebuilding_an_empty_store_leaves_an_empty_ledger(new_store: NewStore) -> None:
    store, _ = new_store()
    assert rebuild_ledger(store) == []
    assert places(store) == ([], None)


def test_a_whole_ledger_survives_being_rebuilt(new_store: NewStore, tmp_path: Path) -> None:
    store, ingest_id = new_store()
    url = f"sqlite:///{tmp_path}/elsewhere.sqlite"
    ledger = open_ledger(store, url)
    Campaign.create(store, "liver", RECIPE, ledger=ledger).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    before = list(ledger.places()), ledger.alias("liver", "champion")
    rebuild_ledger(store, url)
    assert (list(ledger.places()), ledger.alias("liver", "champion")) == before
    assert not Path(store.ledger_file).exists()
    ledger.close()
