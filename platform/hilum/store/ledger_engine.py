"""Connections to the ledger's database, and bringing its tables up to date."""

import io
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from hilum.core.errors import CorruptionError, HilumError, RequestError
from hilum.store.layout import Store, filesystem, is_local

NEWEST = "0001"
"""The revision of the tables that this hilum reads and writes."""

_AWAY = (
    "connection refused",
    "connection reset",
    "server closed the connection",
    "the database system is",  # starting up, shutting down, in recovery mode
    "terminating connection",
)
_BUSY_SECONDS = 60.0
_MIGRATION_LOCK = 4_863_541  # an arbitrary number that every hilum agrees on


def connect(store: Store, url: str | None) -> Engine:
    """An engine on the ledger at ``url`` or in the store, its tables up to date. Concurrent callers are safe."""
    database = _database(store, url)
    engine = _sqlite(database) if database.get_backend_name() == "sqlite" else _postgres(database)
    try:
        _bring_up_to_date(engine)
    except SQLAlchemyError as error:
        why = reason(error)
        if "not a database" in why or "malformed" in why:
            raise CorruptionError(
                f"The ledger {database.database} is damaged ({why}). Move it away and run `hilum doctor --rebuild`."
            ) from None
        shown = database.render_as_string(hide_password=True)
        raise HilumError(f"Cannot open the ledger {shown}: {why}.") from None
    return engine


def reason(error: SQLAlchemyError) -> str:
    """The database's own first sentence about what went wrong."""
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]


def is_away(error: SQLAlchemyError) -> bool:
    """True when a server takes no connections now: it is being restarted, or something else takes over from it."""
    said = str(getattr(error, "orig", None) or error).lower()
    return any(words in said for words in _AWAY)


def _database(store: Store, url: str | None) -> URL:
    if url is None:
        if not is_local(store.url):
            raise RequestError(
                f"The store {store.url} is not a local folder, so its ledger cannot be a file in it. "
                "Set HILUM_LEDGER_URL to a Postgres database, e.g. postgresql://user@host/hilum."
            )
        path = Path(filesystem(store.ledger_file)[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        return URL.create("sqlite", database=str(path))
    try:
        database = make_url(url.replace("postgres://", "postgresql://", 1))
        if database.get_backend_name() not in ("sqlite", "postgresql"):
            raise ArgumentError(database.get_backend_name())
    except (ArgumentError, NoSuchModuleError, ValueError):  # a / or @ in a password reads as a port that is none
        raise RequestError(
            "HILUM_LEDGER_URL is not a ledger: give postgresql://user@host/database or sqlite:////path/to/file. "
            "In a password write %40 for @, %2F for / and %3A for a colon."
        ) from None
    return database


def _sqlite(database: URL) -> Engine:
    # One connection a transaction: no connection is shared by threads or outlives a fork.
    engine = create_engine(database, poolclass=NullPool, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to keep two writers apart
        connection.execute("PRAGMA synchronous=FULL")
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode=WAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgres(database: URL) -> Engine:
    try:
        return create_engine(database.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_size=2)
    except ModuleNotFoundError:
        raise RequestError(
            "A Postgres ledger needs the psycopg driver: install it with `pip install 'hilum[postgres]'`."
        ) from None


def _bring_up_to_date(engine: Engine) -> None:
    with engine.begin() as db:
        if _revision(db) == NEWEST:
            return
    with engine.begin() as db:  # on SQLite this transaction is the lock already
        if db.dialect.name == "postgresql":
            db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        if _revision(db) != NEWEST:
            _migrate(db)


def _migrate(db: Connection) -> None:
    # Late imports: a ledger that is up to date needs no Alembic, and every command opens one.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(stdout=io.StringIO(), attributes={"connection": db})
    config.set_main_option("script_location", "hilum.store:migrations")
    before = _revision(db)
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if before is not None and before not in known:
        raise RequestError(
            f"The ledger has version {before}; this hilum reads up to {NEWEST}. Use a newer hilum for this store."
        )
    command.upgrade(config, NEWEST)


def _revision(db: Connection) -> str | None:
    if not inspect(db).has_table("alembic_version"):
        return None
    return db.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
