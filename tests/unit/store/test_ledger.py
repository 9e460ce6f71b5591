"""The SQLite ledger: like a dictionary that many may change, made from nothing, and undone again."""

import sqlite3
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from sqlalchemy import MetaData

from hilum.core.errors import ConflictError, HilumError
from hilum.core.ports import CampaignPlace
from hilum.store.layout import Store
from hilum.store.ledger import SqlLedger, open_ledger
from hilum.store.ledger_engine import NEWEST, connect
from hilum.store.ledger_tables import METADATA

NAMES = st.sampled_from(["liver", "lung"])
CHECKPOINTS = st.sampled_from(["c1", "c2", "c3"])
HOLDERS = st.sampled_from(["me", "you"])


def scripts(engine):
    config = Config(attributes={"connection": engine})
    config.set_main_option("script_location", "hilum.store:migrations")
    return config


def tables(engine):
    found = MetaData()
    found.reflect(engine)
    return {
        table.name: {(c.name, str(c.type), c.primary_key, c.nullable) for c in table.columns}
        for table in found.sorted_tables
        if table.name != "alembic_version"
    }


def test_an_empty_database_gets_exactly_the_tables_the_code_reads(tmp_path):
    engine = connect(Store(str(tmp_path)), None)
    assert tables(engine) == {
        table.name: {(c.name, str(c.type), c.primary_key, c.nullable) for c in table.columns}
        for table in METADATA.sorted_tables
    }
    engine.dispose()


def test_the_migrations_are_one_line_from_nothing_to_the_newest():
    directory = ScriptDirectory.from_config(scripts(None))
    revisions = list(directory.walk_revisions())
    assert directory.get_heads() == [NEWEST]
    assert [r.revision for r in revisions] == sorted((r.revision for r in revisions), reverse=True)
    assert revisions[-1].down_revision is None


def test_the_migrations_can_be_undone_and_done_again(tmp_path):
    engine = connect(Store(str(tmp_path)), None)
    before = tables(engine)
    with engine.begin() as db:
        command.downgrade(scripts(db), "base")
    assert tables(engine) == {}
    engine.dispose()
    again = connect(Store(str(tmp_path)), None)
    assert tables(again) == before
    again.dispose()


def test_a_file_that_holds_nothing_yet_is_an_empty_ledger(tmp_path):
    (tmp_path / "ledger.sqlite").touch()
    ledger = open_ledger(Store(str(tmp_path)))
    assert list(ledger.places()) == []
    ledger.close()


def test_a_store_whose_folder_is_not_there_yet_gets_one(tmp_path):
    ledger = open_ledger(Store(str(tmp_path / "a" / "b")))
    ledger.start("liver", "opened")
    ledger.close()
    assert (tmp_path / "a" / "b" / "ledger.sqlite").exists()


def test_many_who_open_a_new_ledger_at_once_all_get_the_same_one(tmp_path):
    """Only one may run the migrations; nobody may see them half done."""
    opened, failed, ready = [], [], threading.Barrier(6)

    def open_one(number):
        ready.wait()
        try:
            ledger = open_ledger(Store(str(tmp_path)))
            ledger.start(f"campaign-{number}", "opened")
            opened.append(ledger)
        except HilumError as error:
            failed.append(error)

    threads = [threading.Thread(target=open_one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert all(len(ledger.places()) == 6 for ledger in opened)
    for ledger in opened:
        ledger.close()


def test_what_was_written_is_on_disk_before_anybody_is_told(tmp_path):
    ledger = open_ledger(Store(str(tmp_path)))
    ledger.move(ledger.start("liver", "opened"), 0, "scored")
    with sqlite3.connect(tmp_path / "ledger.sqlite") as somebody_else:
        assert somebody_else.execute("SELECT stage, version FROM campaigns").fetchall() == [("scored", 1)]
    somebody_else.close()
    ledger.close()


def test_a_folder_in_the_ledger_s_place_is_one_sentence(tmp_path):
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(HilumError, match="Cannot open the ledger"):
        open_ledger(Store(str(tmp_path)))


def test_restoring_gives_back_no_lease_and_forgets_no_task(tmp_path):
    ledger = open_ledger(Store(str(tmp_path)))
    ledger.hold("campaign/liver", "me", 600)
    ledger.remember_tasks("q1", {"a": "17"})
    ledger.restore([], {})
    assert ledger.hold("campaign/liver", "you", 600) == "me"
    assert ledger.external_ids("q1") == {"a": "17"}
    ledger.close()


@settings(max_examples=6, stateful_step_count=20, deadline=None)
class LikeADictionary(RuleBasedStateMachine):
    """Whatever two openers of one ledger do in turn, it answers as plain dictionaries would."""

    seen = Bundle("seen")

    @initialize()
    def open_twice(self):
        self.folder = TemporaryDirectory()
        self.now = 1000.0
        store = Store(self.folder.name)
        self.ledgers = [SqlLedger(connect(store, None), clock=lambda: self.now) for _ in range(2)]
        self.turn = 0
        self.places, self.aliases, self.leases = {}, {}, {}

    @property
    def ledger(self):
        self.turn += 1
        return self.ledgers[self.turn % 2]

    @rule(target=seen, name=NAMES)
    def start(self, name):
        expected = self.places.setdefault(name, CampaignPlace(name, 0, "opened", 0))
        assert self.ledger.start(name, "opened") == expected
        return expected

    @rule(target=seen, before=consumes(seen), stage=st.sampled_from(["pooled", "scored"]), number=st.integers(0, 2))
    def move(self, before, stage, number):
        if self.places[before.name] == before:
            self.places[before.name] = CampaignPlace(before.name, number, stage, before.version + 1)
            assert self.ledger.move(before, number, stage) == self.places[before.name]
        else:
            with pytest.raises(ConflictError):
                self.ledger.move(before, number, stage)
        return self.places[before.name]

    @rule(model=NAMES, to=CHECKPOINTS, expected=st.none() | CHECKPOINTS)
    def point(self, model, to, expected):
        now = self.aliases.get((model, "champion"))
        if now in (expected, to):
            self.ledger.point(model, "champion", to, expected=expected)
            self.aliases[model, "champion"] = to
        else:
            with pytest.raises(ConflictError):
                self.ledger.point(model, "champion", to, expected=expected)

    @rule(name=NAMES, holder=HOLDERS, seconds=st.integers(1, 50))
    def hold(self, name, holder, seconds):
        owner, expires = self.leases.get(name, (holder, 0))
        if owner == holder or expires < self.now:
            self.leases[name] = holder, self.now + seconds
        assert self.ledger.hold(name, holder, seconds) == self.leases[name][0]

    @rule(name=NAMES, holder=HOLDERS)
    def release(self, name, holder):
        if self.leases.get(name, ("", 0))[0] == holder:
            del self.leases[name]
        self.ledger.release(name, holder)

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def rebuild(self):
        self.ledger.restore(list(self.places.values()), self.aliases)

    @invariant()
    def everybody_sees_the_same(self):
        for ledger in self.ledgers:
            assert list(ledger.places()) == [self.places[name] for name in sorted(self.places)]
            assert dict(ledger.aliases()) == self.aliases

    def teardown(self):
        for ledger in getattr(self, "ledgers", []):
            ledger.close()
        assert Path(self.folder.name).exists()
        self.folder.cleanup()


TestLikeADictionary = LikeADictionary.TestCase
