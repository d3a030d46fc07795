"""Statements that are larger than what a connection to PostgreSQL takes at once."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import write_transaction
from tests.postgresql import Databases


@pytest.fixture
def postgresql(postgresql_databases: Databases) -> Iterator[Engine]:
    with postgresql_databases.one() as url:
        engine = engines.create(url)
        yield engine
        engine.dispose()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [1 << 18, 1 << 22])
def test_all_of_them_is_sent_before_results_are_waited_for(postgresql: Engine, size: int) -> None:
    """Else both sides wait: the server for the rest of the statement."""
    for _ in range(3):
        with write_transaction(postgresql) as connection:
            cursor = connection.connection.cursor()
            for _ in range(3):
                cursor.execute("SELECT length(%s)", ["x" * size])  # nobody fetches its row
