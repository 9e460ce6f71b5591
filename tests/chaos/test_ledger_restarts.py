"""A real Postgres that is restarted, or crashes, in the middle of a campaign."""

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from tests.chaos.conftest import NAME, RECIPE, Calm
from tests.contract.own_postgres import Postgres

from hilum.adapters.inline import InlineExecutor
from hilum.adapters.oracle import Oracle
from hilum.core.errors import HilumError
from hilum.loop.campaign import Campaign
from hilum.store.layout import Store
from hilum.store.ledger import PATIENCE_SECONDS, SqlLedger
from hilum.store.ledger_engine import connect
from hilum.testing.campaigns import check_invariants, determined_files
from hilum.testing.interruptions import Countdown, InterruptedAnnotator, InterruptedExecutor, InterruptedLedger
from hilum.testing.invariants import Left, same_choices

AWAY_SECONDS = 1.5
PLACES = ["before taking a lease", "after a shard of score", "in a training step", "before the move to evaluated"]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@dataclass
class Restart(Countdown):
    """At the first point of this name the server goes away, and comes back by itself after a while."""

    place: str = ""
    server: Postgres | None = None
    how: signal.Signals = signal.SIGINT
    coming: list[threading.Thread] = field(default_factory=list)

    def point(self, where: str) -> None:
        super().point(where)
        if where == self.place and not self.coming:
            assert self.server is not None
            self.server.stop(self.how)
            self.coming.append(threading.Thread(target=self._come_back))
            self.coming[0].start()

    def _come_back(self) -> None:
        assert self.server is not None
        time.sleep(AWAY_SECONDS)
        self.server.start()


def restart(server: Postgres, place: str, how: signal.Signals) -> Restart:
    return Restart(lambda: None, place=place, server=server, how=how)


def run(store: Store, ingest_id: str, url: str, points: Countdown, *, patience: float = PATIENCE_SECONDS) -> None:
    ledger = InterruptedLedger(SqlLedger(connect(store, url), patience_seconds=patience), points)
    campaign = Campaign.create(store, NAME, RECIPE, ledger=ledger)
    campaign.run(
        executor=InterruptedExecutor(InlineExecutor(), points),
        annotator=InterruptedAnnotator(Oracle(store, ingest_id), points),
    )


def started_at(url: str) -> object:
    with psycopg.connect(url) as db:
        row = db.execute("SELECT pg_postmaster_start_time()").fetchone()
    return row and row[0]


def check(store: Store, calm: Calm) -> None:
    check_invariants(store, NAME, RECIPE)
    same_choices(Left(store, NAME, RECIPE), calm.left)
    assert determined_files(store) == calm.files


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restarted", "crashed"])
@pytest.mark.parametrize("place", PLACES)
def test_a_server_that_is_away_for_a_moment_is_waited_for(
    server: Postgres, calm: Calm, tmp_path: Path, place: str, how: signal.Signals
) -> None:
    store, url = calm.copy(tmp_path / "store"), server.new_database()
    before, points = started_at(url), restart(server, place, how)
    began = time.monotonic()
    run(store, calm.ingest_id, url, points)
    (coming,) = points.coming
    coming.join()
    assert started_at(url) != before
    assert time.monotonic() - began > AWAY_SECONDS
    check(store, calm)


@pytest.mark.parametrize("place", PLACES)
def test_a_server_that_is_away_for_longer_is_one_sentence_and_the_campaign_goes_on_afterwards(
    server: Postgres, calm: Calm, tmp_path: Path, place: str
) -> None:
    """Without patience every such moment is too long: so each was one."""
    store, url = calm.copy(tmp_path / "store"), server.new_database()
    points = restart(server, place, signal.SIGQUIT)
    with pytest.raises(HilumError, match=r"The ledger at postgresql\S+ did not answer: .*\.$") as told:
        run(store, calm.ingest_id, url, points, patience=0)
    assert "\n" not in str(told.value)
    points.coming[0].join()
    run(store, calm.ingest_id, url, Countdown(lambda: None), patience=0)
    check(store, calm)
