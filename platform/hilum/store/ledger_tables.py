"""The ledger's four tables, as SQLAlchemy Core sees them. Their history is in ``migrations/versions``."""

from sqlalchemy import Column, Float, Integer, MetaData, String, Table

METADATA = MetaData()
ID = String(64)

CAMPAIGNS = Table(
    "campaigns",
    METADATA,
    Column("name", ID, primary_key=True),
    Column("round", Integer, nullable=False),
    Column("stage", String(32), nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated", Float, nullable=False),
)
ALIASES = Table(
    "aliases",
    METADATA,
    Column("model", ID, primary_key=True),
    Column("alias", ID, primary_key=True),
    Column("checkpoint_id", ID, nullable=False),
    Column("version", Integer, nullable=False),
)
LEASES = Table(
    "leases",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("expires", Float, nullable=False),
)
TASKS = Table(
    "tasks",
    METADATA,
    Column("selection_id", ID, primary_key=True),
    Column("candidate_id", ID, primary_key=True),
    Column("external_id", String(255), nullable=False),
)
