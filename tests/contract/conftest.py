"""A real Postgres server for the ledger's contract."""

from collections.abc import Iterator

import pytest
from tests.contract.own_postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """An empty database of its own for one test."""
    return postgres.new_database()
