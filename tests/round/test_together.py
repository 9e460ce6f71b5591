"""Two at once: one campaign, moved by two processes, and two campaigns that share their runs."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.ports import CampaignPlace
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.store.ledger import SqlLedger, open_ledger
from hilum.store.ledger_engine import connect
from hilum.testing.campaigns import check_invariants, determined_files, tiny_recipe
from hilum.testing.interruptions import Countdown, InterruptedAnnotator, InterruptedExecutor, InterruptedLedger

NewStore = Callable[..., tuple[Store, str]]
INLINE = InlineExecutor()
RECIPE = tiny_recipe("classify", num_per_round=3)

RUN_TOGETHER = """
import sys, time, torch
from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import ConflictError
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.testing.campaigns import tiny_recipe
torch.set_num_threads(1)
store = Store(sys.argv[1])
campaign, oracle, num_moves = None, Oracle(store, sys.argv[2]), 0
campaign = Campaign.create(store, sys.argv[3], tiny_recipe("classify", num_per_round=3))
while not campaign.finished:
    try:
        num_moves += campaign.advance(executor=InlineExecutor(), annotator=oracle) is not None
    except ConflictError:
        time.sleep(0.01)
print(num_moves)
"""


def run_together(store: Store, ingest_id: str, names: list[str]) -> list[int]:
    """Run one process for each name; returns how many moves each made."""
    processes = [
        subprocess.Popen([sys.executable, "-c", RUN_TOGETHER, store.url, ingest_id, name], stdout=subprocess.PIPE)
        for name in names
    ]
    said = [process.communicate(timeout=250)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(names)
    return [int(words) for words in said]


def undisturbed(new_store: NewStore) -> dict[str, str]:
    store, ingest_id = new_store(name="undisturbed")
    Campaign.create(store, "liver", RECIPE).run(executor=INLINE, annotator=Oracle(store, ingest_id))
    return determined_files(store)


def test_two_processes_that_run_one_campaign_do_nothing_twice(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    assert sum(run_together(store, ingest_id, ["liver", "liver"])) == 15
    check_invariants(store, "liver", RECIPE)
    assert determined_files(store) == undisturbed(new_store)


def test_campaigns_that_share_their_runs_wait_for_each_other(new_store: NewStore) -> None:
    store, ingest_id = new_store()
    assert run_together(store, ingest_id, ["liver", "lung"]) == [15, 15]
    check_invariants(store, "lung", RECIPE)
    assert determined_files(store) == undisturbed(new_store)


class LeaselessLedger(SqlLedger):
    """A ledger whose leases are worth nothing: everybody is told to go ahead."""

    def hold(self, name: str, holder: str, seconds: float) -> str:
        return holder


NUM_POINTS = 130


@pytest.mark.parametrize("offset", range(3))
def test_who_falls_asleep_and_wakes_up_when_others_have_finished_changes_nothing(
    new_store: NewStore, offset: int
) -> None:
    """Without any lease: at every third point of a campaign, another process overtakes it and finishes."""
    expected = undisturbed(new_store)
    for place in range(1 + offset * 5, NUM_POINTS, 15):
        store, ingest_id = new_store(name=f"asleep-at-{place}")
        ended = _overtaken(store, ingest_id, place)
        assert determined_files(store) == expected, f"point {place}"
        ledger = open_ledger(store)
        assert (ledger.place("liver"), ledger.alias("liver", "champion")) == ended
        check_invariants(store, "liver", RECIPE)


def _overtaken(store: Store, ingest_id: str, place: int) -> tuple[CampaignPlace | None, str | None]:
    """Run a campaign that another overtakes at a point; returns where the ledger was when that one had finished."""
    ledger = LeaselessLedger(connect(store, None))
    oracle = Oracle(store, ingest_id)
    ended: list[tuple[CampaignPlace | None, str | None]] = []

    def overtake() -> None:
        Campaign.create(store, "liver", RECIPE, ledger=ledger).run(executor=INLINE, annotator=oracle)
        ended.append((ledger.place("liver"), ledger.alias("liver", "champion")))

    countdown = Countdown(overtake, place)
    campaign = Campaign.create(store, "liver", RECIPE, ledger=InterruptedLedger(ledger, countdown))
    campaign.run(executor=InterruptedExecutor(INLINE, countdown), annotator=InterruptedAnnotator(oracle, countdown))
    return ended[0]
