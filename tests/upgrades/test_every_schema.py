"""Databases that the programs of every schema wrote, upgraded: every figure is the oracle's.

`make.py` says how they came about. A schema without a database is reached from the one before it,
so a new migration needs none until the next release.
"""

import json
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    Date,
    DateTime,
    Integer,
    MetaData,
    create_engine,
    insert,
    make_url,
)

from asu_stats.conformance.checks import Check, checks, normalized
from asu_stats.conformance.differences import Difference, differences
from asu_stats.conformance.oracle import Oracle
from asu_stats.conformance.scenario import DAYS
from asu_stats.store import migrate
from asu_stats.store.archive import segments
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.verification import verify
from tests.conftest import administrate
from tests.store import declared
from tests.store.older import go_on, migrate_empty
from tests.support import Stats
from tests.upgrades.make import BUILD, FIRST, PATH

SCHEMAS: Final = sorted(step.revision for step in migrate._migrations().walk_revisions())
# Endpoints whose figures older programs did not store, with the first schema that has them.
SINCE: Final = {"packages": "0008", "request-patterns": "0018"}
# Each of these takes a second: schemas before and after the migrations that count details again.
ON_POSTGRESQL: Final = ("0001", "0010", "0018", "0026", SCHEMAS[-1])


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("upgrades")
    with tarfile.open(PATH) as tar:
        tar.extractall(directory, filter="data")
    return directory


@pytest.fixture(scope="session")
def expected(kept: Path) -> list[Check]:
    events = json.loads((kept / "events.json").read_text())
    oracle = Oracle([normalized(event) for event in events])
    last = FIRST + timedelta(days=DAYS - 1)
    return list(checks(oracle, FIRST, last, FIRST.isoformat()))


def newest(kept: Path, schema: str) -> Path:
    """Return the directory of the newest database whose schema is not above this one."""
    return max(path for path in kept.iterdir() if path.is_dir() and path.name <= schema)


def written(database: Path, file: Path) -> str:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript((database / "stats.sql").read_text())
    connection.close()
    return f"sqlite:///{file}"


def check(url: str, schema: str, database: Path, expected: list[Check]) -> None:
    """Upgrade a database and compare everything."""
    engine = engines.create(url)
    segments.keep_in(engine, database / "archive")
    migrate.upgrade(engine)
    assert migrate.check(engine) == migrate.head()
    assert declared.differences(engine) == []
    assert list(verify.differences(engine)) == []
    engine.dispose()
    with Stats.on(url, database / "spool") as stats:
        stats.now = datetime.now(UTC)
        assert list(wrong(stats, schema, expected)) == []
        # Tokens, queued builds and the identities of events.
        assert stats.client.get(f"/api/v1/build/{request_hash(stats)}").status_code == 202
        headers = {"Authorization": f"Bearer {(database / 'token').read_text()}"}
        events = json.loads((database.parent / "events.json").read_text())
        answer = stats.post(events, headers=headers).json()
        assert (answer["accepted"], answer["duplicates"]) == (0, len(events))


def wrong(stats: Stats, schema: str, expected: list[Check]) -> Iterator[Difference]:
    for each in expected:
        name = each.path.removeprefix("/api/v1/stats/")
        if schema < SINCE.get(name, ""):
            continue
        response = stats.client.get(each.path, params=each.query)
        assert response.status_code == 200, response.text
        received = response.json()
        yield from differences(f"{name} {each.query}", each.expected_response(received), received)


def request_hash(stats: Stats) -> str:
    answer = stats.client.post("/api/v1/build", json=BUILD)
    assert answer.status_code == 202
    return str(answer.json()["request_hash"])


@pytest.mark.parametrize("schema", SCHEMAS)
def test_sqlite(schema: str, kept: Path, expected: list[Check], tmp_path: Path) -> None:
    database = newest(kept, schema)
    url = written(database, tmp_path / "stats.db")
    if database.name != schema:
        engine = engines.create(url)
        with write_transaction(engine) as connection:
            migrate.create(connection, schema)
        engine.dispose()
    check(url, schema, database, expected)


@pytest.mark.parametrize("schema", ON_POSTGRESQL)
def test_postgresql(
    schema: str, kept: Path, expected: list[Check], tmp_path: Path, postgresql_server: str
) -> None:
    """The rows that the old program wrote on SQLite, in the schema that it had on PostgreSQL."""
    database = newest(kept, schema)
    name = f"upgrade_{schema}_{time.monotonic_ns()}"
    administrate(postgresql_server, f"CREATE DATABASE {name}")
    url = make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    old, engine = create_engine(written(database, tmp_path / "stats.db")), engines.create(url)
    with old.connect() as source, write_transaction(engine) as connection:
        migrate_empty(connection, database.name)
        copy(source, connection)
    old.dispose()
    engine.dispose()
    check(url, database.name, database, expected)
    administrate(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


def copy(source: Connection, connection: Connection) -> None:
    """Copy every row into the same schema on PostgreSQL."""
    tables = MetaData()
    tables.reflect(connection)
    for table in tables.sorted_tables:
        if table.name == "alembic_version":
            continue
        columns = [column for column in table.columns if column.computed is None]
        names = ", ".join(f'"{column.name}"' for column in columns)
        rows = source.exec_driver_sql(f"SELECT {names} FROM {table.name}").all()  # noqa: S608
        connection.execute(table.delete())
        if rows:
            read = [_READ.get(column.type.as_generic().__class__, _same) for column in columns]
            connection.execute(
                insert(table),
                [
                    {
                        column.name: None if value is None else convert(value)
                        for column, convert, value in zip(columns, read, row, strict=True)
                    }
                    for row in rows
                ],
            )
        if "id" in table.columns and isinstance(table.c.id.type, Integer):
            go_on(connection, table)


def _same(value: Any) -> Any:
    return value


def _instant(value: str) -> datetime:
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


# How values of SQLite are read, by the type of the column on PostgreSQL.
_READ: Final[dict[type, Callable[[Any], Any]]] = {
    Boolean: bool,
    Date: date.fromisoformat,
    DateTime: _instant,
    JSON: json.loads,
}
