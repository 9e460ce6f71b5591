"""The ledger: who may move a campaign next, and where aliases point.

A file in the store by default (SQLite), a server by URL (Postgres). It holds only what
needs compare-and-set; everything else about a campaign is in its manifests and events, from
which ``hilum doctor --rebuild`` writes the ledger again.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from hilum.core.errors import ConflictError, HilumError
from hilum.core.ports import CampaignPlace
from hilum.store.layout import Store
from hilum.store.ledger_engine import connect, is_away, reason
from hilum.store.ledger_tables import ALIASES, CAMPAIGNS, LEASES, TASKS

URL_VARIABLE = "HILUM_LEDGER_URL"
PATIENCE_SECONDS = 30.0
"""How long a server may be away while it is restarted or fails over. After that, one sentence says that it is."""

_PAUSE_SECONDS = 0.5


def open_ledger(store: Store, url: str | None = None) -> "SqlLedger":
    """The store's ledger, its tables made or brought up to date.

    ``url`` (or ``HILUM_LEDGER_URL``) names a Postgres or SQLite database; without one the
    ledger is ``ledger.sqlite`` in the store, which must then be a local folder.
    """
    return SqlLedger(connect(store, url or os.environ.get(URL_VARIABLE) or None))


class SqlLedger:
    """A ledger on SQLite or Postgres (`hilum.core.ports.Ledger`). Safe to open many times, in many processes.

    ``clock`` gives seconds since 1970 and is only used to let leases expire. A server that does not take
    connections is waited for, ``patience_seconds`` at each call.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._patience_seconds = patience_seconds

    def start(self, name: str, stage: str) -> CampaignPlace:
        with self._transaction() as db:
            row = {"name": name, "round": 0, "stage": stage, "version": 0, "updated": self._clock()}
            self._insert_if_absent(db, CAMPAIGNS, [row])
            place = _place(db, name)
        assert place is not None
        return place

    def place(self, name: str) -> CampaignPlace | None:
        with self._transaction() as db:
            return _place(db, name)

    def places(self) -> Sequence[CampaignPlace]:
        with self._transaction() as db:
            return [_to_place(row) for row in db.execute(select(CAMPAIGNS).order_by(CAMPAIGNS.c.name))]

    def move(self, before: CampaignPlace, round_number: int, stage: str) -> CampaignPlace:
        after = CampaignPlace(before.name, round_number, stage, before.version + 1)
        statement = (
            update(CAMPAIGNS)
            .where(
                CAMPAIGNS.c.name == before.name,
                CAMPAIGNS.c.version == before.version,
                CAMPAIGNS.c.round == before.round_number,
                CAMPAIGNS.c.stage == before.stage,
            )
            .values(round=round_number, stage=stage, version=after.version, updated=self._clock())
        )
        with self._transaction() as db:
            if db.execute(statement).rowcount == 1:
                return after
            now = _place(db, before.name)
        where = f"it is at round {now.round_number}, '{now.stage}'" if now else "the ledger does not know it"
        raise ConflictError(
            f"Campaign '{before.name}' cannot move from round {before.round_number}, '{before.stage}', to '{stage}': "
            f"{where}. Somebody else moved it first; look again with `hilum round status {before.name}`."
        )

    def alias(self, model: str, alias: str) -> str | None:
        with self._transaction() as db:
            return _alias(db, model, alias)

    def aliases(self) -> Mapping[tuple[str, str], str]:
        with self._transaction() as db:
            rows = db.execute(select(ALIASES).order_by(ALIASES.c.model, ALIASES.c.alias))
            return {(row.model, row.alias): row.checkpoint_id for row in rows}

    def point(self, model: str, alias: str, checkpoint_id: str, *, expected: str | None) -> None:
        with self._transaction() as db:
            if self._swap_alias(db, model, alias, checkpoint_id, expected):
                return
            now = _alias(db, model, alias)
        if now != checkpoint_id:
            raise ConflictError(
                f"'{alias}' of model '{model}' points at {now or 'nothing'}, not at {expected or 'nothing'} as "
                f"expected, so it was not moved to {checkpoint_id}. Somebody else moved it first."
            )

    def drop(self, model: str, alias: str) -> None:
        with self._transaction() as db:
            db.execute(delete(ALIASES).where(ALIASES.c.model == model, ALIASES.c.alias == alias))

    def hold(self, name: str, holder: str, seconds: float) -> str:
        now = self._clock()
        free = (LEASES.c.holder == holder) | (LEASES.c.expires < now)
        take = update(LEASES).where(LEASES.c.name == name, free).values(holder=holder, expires=now + seconds)
        with self._transaction() as db:
            if db.execute(take).rowcount == 0:
                self._insert_if_absent(db, LEASES, [{"name": name, "holder": holder, "expires": now + seconds}])
            return str(db.execute(select(LEASES.c.holder).where(LEASES.c.name == name)).scalar_one())

    def release(self, name: str, holder: str) -> None:
        with self._transaction() as db:
            db.execute(delete(LEASES).where(LEASES.c.name == name, LEASES.c.holder == holder))

    def holders(self) -> Mapping[str, str]:
        good = select(LEASES.c.name, LEASES.c.holder).where(LEASES.c.expires >= self._clock())
        with self._transaction() as db:
            return {row.name: row.holder for row in db.execute(good)}

    def remember_tasks(self, selection_id: str, external_ids: Mapping[str, str]) -> None:
        rows = [
            {"selection_id": selection_id, "candidate_id": candidate_id, "external_id": external_id}
            for candidate_id, external_id in sorted(external_ids.items())
        ]
        with self._transaction() as db:
            self._insert_if_absent(db, TASKS, rows)

    def external_ids(self, selection_id: str) -> Mapping[str, str]:
        statement = select(TASKS).where(TASKS.c.selection_id == selection_id).order_by(TASKS.c.candidate_id)
        with self._transaction() as db:
            return {row.candidate_id: row.external_id for row in db.execute(statement)}

    def restore(self, places: Sequence[CampaignPlace], aliases: Mapping[tuple[str, str], str]) -> None:
        now = self._clock()
        campaign_rows = [
            {"name": p.name, "round": p.round_number, "stage": p.stage, "version": p.version, "updated": now}
            for p in places
        ]
        alias_rows = [
            {"model": model, "alias": alias, "checkpoint_id": checkpoint_id, "version": 0}
            for (model, alias), checkpoint_id in sorted(aliases.items())
        ]
        with self._transaction() as db:
            for table, rows in ((CAMPAIGNS, campaign_rows), (ALIASES, alias_rows)):
                db.execute(delete(table))
                if rows:
                    db.execute(insert(table), rows)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._connected() as db, db.begin():
                yield db
        except SQLAlchemyError as error:
            where = self._engine.url.render_as_string(hide_password=True)
            raise HilumError(f"The ledger at {where} did not answer: {reason(error)}.") from error

    def _connected(self) -> Connection:
        """A connection; a server that is restarted is waited for. Nothing was said on it yet, so nothing is lost."""
        until = time.monotonic() + self._patience_seconds
        while True:
            try:
                return self._engine.connect()
            except SQLAlchemyError as error:
                if not is_away(error) or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_SECONDS)

    def _swap_alias(self, db: Connection, model: str, alias: str, checkpoint_id: str, expected: str | None) -> bool:
        if expected is None:
            row = {"model": model, "alias": alias, "checkpoint_id": checkpoint_id, "version": 0}
            return self._insert_if_absent(db, ALIASES, [row]) == 1
        statement = (
            update(ALIASES)
            .where(ALIASES.c.model == model, ALIASES.c.alias == alias, ALIASES.c.checkpoint_id == expected)
            .values(checkpoint_id=checkpoint_id, version=ALIASES.c.version + 1)
        )
        return bool(db.execute(statement).rowcount == 1)

    def _insert_if_absent(self, db: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
        """How many of the rows were new."""
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(table).on_conflict_do_nothing()
        return sum(db.execute(statement.values(row)).rowcount for row in rows)


def _place(db: Connection, name: str) -> CampaignPlace | None:
    row = db.execute(select(CAMPAIGNS).where(CAMPAIGNS.c.name == name)).one_or_none()
    return None if row is None else _to_place(row)


def _to_place(row: Any) -> CampaignPlace:
    return CampaignPlace(row.name, row.round, row.stage, row.version)


def _alias(db: Connection, model: str, alias: str) -> str | None:
    statement = select(ALIASES.c.checkpoint_id).where(ALIASES.c.model == model, ALIASES.c.alias == alias)
    return db.execute(statement).scalar_one_or_none()
