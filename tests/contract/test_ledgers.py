"""Both ledgers keep the same contract, and open safely however many open them at once."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import MetaData, create_engine
from sqlalchemy.engine import Engine

from hilum.core.errors import CorruptionError, HilumError, RequestError
from hilum.core.ports import CampaignPlace
from hilum.store.layout import Store
from hilum.store.ledger import SqlLedger, open_ledger
from hilum.store.ledger_engine import NEWEST, connect
from hilum.store.ledger_tables import METADATA
from hilum.testing.ledger import LedgerTests, NewLedger


def _opener(store: Store, url: str | None) -> Iterator[NewLedger]:
    opened: list[SqlLedger] = []

    def new() -> SqlLedger:
        opened.append(open_ledger(store, url))
        return opened[-1]

    yield new
    for ledger in opened:
        ledger.close()


class TestSqliteLedger(LedgerTests):
    @pytest.fixture
    def new_ledger(self, tmp_path: Path) -> Iterator[NewLedger]:
        yield from _opener(Store(str(tmp_path)), None)


class TestPostgresLedger(LedgerTests):
    @pytest.fixture
    def new_ledger(self, tmp_path: Path, postgres_url: str) -> Iterator[NewLedger]:
        yield from _opener(Store(str(tmp_path)), postgres_url)


OPEN_AND_COUNT = """
import sys
from hilum.core.errors import ConflictError
from hilum.store.layout import Store
from hilum.store.ledger import open_ledger
ledger = open_ledger(Store(sys.argv[1]), sys.argv[2] or None)
place, made = ledger.start("liver", "opened"), 0
while place.version < 40:
    try:
        place = ledger.move(place, place.version + 1, "opened")
        made += 1
    except ConflictError:
        place = ledger.place("liver")
print(made)
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_processes_that_open_and_move_at_once_lose_no_move(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgres" else ""
    command = [sys.executable, "-c", OPEN_AND_COUNT, str(tmp_path), url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    made = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert sum(made) == 40
    ledger = open_ledger(Store(str(tmp_path)), url or None)
    assert ledger.place("liver") == CampaignPlace("liver", 40, "opened", 40)
    ledger.close()


def test_the_migrations_make_the_tables_the_code_uses(tmp_path: Path, postgres_url: str) -> None:
    for url in (f"sqlite:///{tmp_path}/a.sqlite", postgres_url):
        engine = connect(Store(str(tmp_path)), url)
        assert _columns(engine) == {
            table.name: {(column.name, column.primary_key, column.nullable) for column in table.columns}
            for table in METADATA.sorted_tables
        }
        engine.dispose()


def _columns(engine: Engine) -> dict[str, set[tuple[str, bool, bool | None]]]:
    found = MetaData()
    found.reflect(engine)
    return {
        table.name: {(column.name, column.primary_key, column.nullable) for column in table.columns}
        for table in found.sorted_tables
        if table.name != "alembic_version"
    }


def test_a_sqlite_ledger_waits_for_the_disk_and_reads_beside_writers(tmp_path: Path) -> None:
    open_ledger(Store(str(tmp_path))).close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("SELECT version_num FROM alembic_version").fetchone() == (NEWEST,)
    db.close()


def test_a_ledger_of_a_newer_hilum_is_refused(tmp_path: Path, postgres_url: str) -> None:
    for url in (f"sqlite:///{tmp_path}/a.sqlite", postgres_url):
        engine = connect(Store(str(tmp_path)), url)
        with engine.begin() as db:
            db.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        engine.dispose()
        with pytest.raises(RequestError, match=f"version 9999; this hilum reads up to {NEWEST}"):
            open_ledger(Store(str(tmp_path)), url)


def test_a_damaged_ledger_says_how_to_write_it_again(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a ledger at all, but long enough to be read as one" * 30)
    with pytest.raises(CorruptionError, match="doctor --rebuild"):
        open_ledger(Store(str(tmp_path)))


def test_a_store_in_a_bucket_needs_a_ledger_elsewhere() -> None:
    with pytest.raises(RequestError, match="HILUM_LEDGER_URL"):
        open_ledger(Store("memory://bucket/store"))


@pytest.mark.parametrize("url", ["mysql://a/b", "ftp://a/b", "no url at all"])
def test_a_url_of_something_else_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(RequestError, match="postgresql://"):
        open_ledger(Store(str(tmp_path)), url)


def test_an_unreachable_server_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as failure:
        open_ledger(Store(str(tmp_path)), "postgresql://hilum:s3cret@127.0.0.1:1/ledger")
    assert "127.0.0.1:1/ledger" in str(failure.value)
    assert "s3cret" not in str(failure.value)


def test_the_environment_names_the_ledger(tmp_path: Path) -> None:
    code = "import sys; from hilum.store.layout import Store; from hilum.store.ledger import open_ledger\n"
    code += "open_ledger(Store(sys.argv[1])).start('liver', 'opened')"
    url = f"sqlite:///{tmp_path}/elsewhere.sqlite"
    environment = {"HILUM_LEDGER_URL": url, "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "store")], check=True, env=environment)
    assert not (tmp_path / "store" / "ledger.sqlite").exists()
    ledger = SqlLedger(create_engine(url))
    assert ledger.place("liver") == CampaignPlace("liver", 0, "opened", 0)
    ledger.close()


def test_a_lease_runs_out_by_the_ledgers_clock(tmp_path: Path) -> None:
    now = [1000.0]
    ledger = SqlLedger(connect(Store(str(tmp_path)), None), clock=lambda: now[0])
    assert ledger.hold("a", "me", 60) == "me"
    now[0] += 59
    assert ledger.hold("a", "you", 60) == "me"
    now[0] += 2
    assert ledger.hold("a", "you", 60) == "you"
    assert ledger.hold("a", "me", 60) == "you"


def test_a_server_that_goes_away_is_one_sentence(tmp_path: Path, postgres_url: str) -> None:
    ledger = open_ledger(Store(str(tmp_path)), postgres_url)
    ledger.start("liver", "opened")
    database = postgres_url.rsplit("/", 1)[1]
    with psycopg.connect(postgres_url.rsplit("/", 1)[0] + "/postgres", autocommit=True) as server:
        server.execute(f"DROP DATABASE {database} WITH (FORCE)")
    with pytest.raises(HilumError, match="did not answer"):
        ledger.place("liver")
    ledger.close()
