"""Random schedules: interrupted at random points and started again, every invariant holds, and nothing changes.

The points are those of `hilum.testing.interruptions`: around shards, inside training, between
tasks, around every write of the ledger. An interruption here is an exception, which unwinds
more than a kill does; test_kills.py kills.
"""

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.loop.campaign import Campaign
from hilum.loop.events import history
from hilum.loop.rebuild import rebuild_ledger
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
from hilum.testing.campaigns import check_invariants, determined_files, tiny_recipe
from hilum.testing.interruptions import Countdown, InterruptedAnnotator, InterruptedExecutor, InterruptedLedger

Phantoms = dict[tuple[str, int], tuple[Path, str]]
NUM_SCHEDULES = 50
NUM_PER_TEST = 10
RECIPE = tiny_recipe("classify", num_per_round=3)


class Interrupted(Exception):  # noqa: N818 (nothing is wrong)
    """What stops a campaign in these tests."""


def interrupt() -> None:
    raise Interrupted


def run_until(store: Store, ingest_id: str, countdown: Countdown) -> None:
    ledger = InterruptedLedger(open_ledger(store), countdown)
    campaign = Campaign.create(store, "liver", RECIPE, ledger=ledger)
    campaign.run(
        executor=InterruptedExecutor(InlineExecutor(), countdown),
        annotator=InterruptedAnnotator(Oracle(store, ingest_id), countdown),
    )


def furthest(store: Store) -> tuple[int, int]:
    """The last round and how many of its stages were reached."""
    rounds = history(store, "liver")
    return (len(rounds), len(rounds[-1])) if rounds else (0, 0)


@pytest.fixture(scope="module")
def undisturbed(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a campaign leaves that nobody interrupts."""
    store, ingest_id = _copy(phantoms, tmp_path_factory.mktemp("undisturbed"))
    run_until(store, ingest_id, Countdown(interrupt))
    return determined_files(store)


def _copy(phantoms: Phantoms, folder: Path) -> tuple[Store, str]:
    origin, ingest_id = phantoms["classify", 2]
    shutil.copytree(origin, folder / "store")
    return Store(str(folder / "store")), ingest_id


@pytest.mark.parametrize("first", range(0, NUM_SCHEDULES, NUM_PER_TEST))
def test_whatever_interrupts_a_campaign_it_ends_the_same(
    first: int,
    phantoms: Phantoms,
    undisturbed: dict[str, str],
    tmp_path: Path,
) -> None:
    for seed in range(first, first + NUM_PER_TEST):
        store, ingest_id = _copy(phantoms, tmp_path / str(seed))
        _follow(random.Random(seed), store, ingest_id)
        check_invariants(store, "liver", RECIPE)
        assert determined_files(store) == undisturbed, f"schedule {seed}"


def _follow(chance: random.Random, store: Store, ingest_id: str) -> None:
    """Interrupt, check, sometimes lose the ledger, and start again; the last run is left in peace."""
    before = furthest(store)
    for _ in range(chance.randint(1, 3)):
        with suppress(Interrupted):
            run_until(store, ingest_id, Countdown(interrupt, chance.randint(1, 100)))
        after = furthest(store)
        assert after >= before
        before = after
        if after > (0, 0):
            check_invariants(store, "liver", RECIPE)
            if chance.random() < 0.2:
                Path(store.ledger_file).unlink()
                rebuild_ledger(store)
    run_until(store, ingest_id, Countdown(interrupt))
    assert Campaign.open(store, "liver").finished
