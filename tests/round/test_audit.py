"""What the audit log says of a campaign: every move once, with its runs, whoever was killed in between."""

from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.loop import campaign as campaigns
from hilum.loop.campaign import Campaign
from hilum.loop.events import history
from hilum.loop.rebuild import rebuild_ledger
from hilum.store.audit import records, verify
from hilum.testing.campaigns import tiny_recipe

RECIPE = tiny_recipe("classify", num_per_round=3)
INLINE = InlineExecutor()


class Killed(BaseException):
    """As a kill: nothing catches it."""


def _moves(store):
    return [
        (event.round_number, event.stage.value, event.runs)
        for events in history(store, "liver")
        for event in events.values()
    ]


def _told(store):
    return [(one.round_number, one.action, one.what["runs"]) for one in records(store)]


def test_every_move_is_told_once_in_order_with_its_runs_and_who_labelled(new_store, monkeypatch):
    monkeypatch.setenv("HILUM_ACTOR", "driver@hilum")
    store, ingest_id = new_store()
    Campaign.create(store, "liver", RECIPE).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    assert _told(store) == _moves(store)
    found = list(records(store))
    assert {one.actor for one in found} == {"driver@hilum"}
    assert {one.campaign for one in found} == {"liver"}
    assert [one.what["labelled_by"] for one in found if one.action == "collected"] == [{"oracle": 3}] * 2
    assert verify(store).wrong is None


@pytest.mark.parametrize("where", ["before the record", "after the record"])
def test_a_kill_around_every_record_loses_none_and_tells_none_twice(where, new_store, monkeypatch):
    store, ingest_id = new_store()
    campaign = Campaign.create(store, "liver", RECIPE)
    tell = campaigns.record_move
    is_killed = True

    def killed_once(*told, **how):
        nonlocal is_killed
        if is_killed and where == "before the record":
            is_killed = False
            raise Killed
        tell(*told, **how)
        if is_killed:
            is_killed = False
            raise Killed

    monkeypatch.setattr(campaigns, "record_move", killed_once)
    num_kills = 0
    while not campaign.finished:
        is_killed = True
        with pytest.raises(Killed):
            campaign.advance(executor=INLINE, annotator=Oracle(store, ingest_id))
        num_kills += 1
        campaign.advance(executor=INLINE, annotator=Oracle(store, ingest_id))
    assert num_kills == 15
    assert _told(store) == _moves(store)
    assert verify(store).wrong is None


def test_the_log_outlives_the_ledger(new_store):
    store, ingest_id = new_store()
    Campaign.create(store, "liver", RECIPE).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    before = _told(store)
    for file in Path(store.url).glob("ledger.sqlite*"):
        file.unlink()
    rebuild_ledger(store)
    assert _told(store) == before
    assert verify(store).wrong is None
