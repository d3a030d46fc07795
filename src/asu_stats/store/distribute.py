"""Places the rows of the largest tables on the workers of Citus, for `asu-stats db distribute`.

Which tables have shards, and by which column, is declared with the tables (`schema.SHARD_BY`). All
other tables stay on the coordinator. docs/scaling.md contains the rules that keys and statements
follow.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Engine, Table, func, inspect, select, text

from asu_stats.exceptions import NotDistributableError
from asu_stats.loops import Loop
from asu_stats.store import migrate
from asu_stats.store.archive.archive import ARCHIVES
from asu_stats.store.database import copies, locks, partitions
from asu_stats.store.database.citus import SHARD_BY
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import event_identities, request_metadata

log = logging.getLogger(__name__)

_TABLES: Final = (request_metadata, *ARCHIVES, *ARCHIVES.values(), event_identities)
PLACED: Final[Mapping[Table, str]] = {table: table.info[SHARD_BY] for table in _TABLES}
MOST_SHARDS: Final = 1_024
_PER_WORKER: Final = 4
# A batch writes a few rows to many shards: one connection to each worker is faster than several.
_SETTING: Final = "citus.multi_shard_modify_mode = 'sequential'"
_PLACE: Final = (
    "SELECT create_distributed_table(CAST(:name AS regclass), :column, 'hash', :beside, :shards)"
)
_DROP_COPY: Final = "SELECT truncate_local_data_after_distributing_table(CAST(:name AS regclass))"

_PROGRESS_SECONDS: Final = 10.0

# Called with the bytes that are placed, and the bytes to place.
Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Shards:
    """A table on the workers: the column that decides on the shard, and the number of shards."""

    table: str
    column: str
    shards: int
    placed: bool  # now; otherwise it was before


def distribute(
    engine: Engine, *, shards: int | None = None, progress: Progress = lambda *_: None
) -> list[Shards]:
    """Place all tables of `PLACED` on the workers, in one transaction. It can be repeated.

    Tables that are placed already are not changed. Each gets `shards` shards, by default four per
    worker. Raises `NotDistributableError`, which says what to do, and `SchemaError`.
    """
    if engine.dialect.name != "postgresql":
        words = "db distribute: needs PostgreSQL with the extension citus; this database is SQLite"
        raise NotDistributableError(words)
    with read_snapshot(engine) as connection:
        workers = _workers(connection)
    migrate.check(engine)
    with write_transaction(engine, waiting=migrate.log_waiting) as connection:
        locks.lock_writers(connection, waiting=migrate.log_waiting)
        before = _known(connection)
        sizes = {
            table: copies.table_bytes(connection, table.name)
            for table in PLACED
            if table.name not in before
        }
        done = 0
        for table, size in sizes.items():
            with _logged(table, size):
                partitions.unite(connection, table.name)
                _place(connection, table, shards or _PER_WORKER * workers)
            done += size
            progress(done, sum(sizes.values()))
        after = _known(connection)
        _set_mode(connection)
    _drop_copies(engine)
    return [
        Shards(table.name, column, after[table.name], table.name not in before)
        for table, column in PLACED.items()
    ]


@contextmanager
def _logged(table: Table, size: int) -> Iterator[None]:
    """Log that a table is placed: at the start, and every few seconds."""
    since = time.monotonic()

    def go_on() -> None:
        seconds = time.monotonic() - since
        log.info("distribute: still placing table=%s seconds=%.0f", table.name, seconds)

    log.info("distribute: placing table=%s bytes=%d", table.name, size)
    with Loop("distribution progress", go_on, seconds=_PROGRESS_SECONDS):
        yield


def _workers(connection: Connection) -> int:
    """Return the number of workers. Raises `NotDistributableError`."""
    extension = "SELECT count(*) FROM pg_catalog.pg_extension WHERE extname = 'citus'"
    if not connection.execute(text(extension)).scalar_one():
        raise NotDistributableError(
            "db distribute: the extension citus is missing in this database. Add citus to "
            "shared_preload_libraries of the coordinator and each worker, restart them, and run "
            "CREATE EXTENSION citus in this database on each"
        )
    group = "SELECT groupid FROM pg_catalog.pg_dist_local_group"
    if connection.execute(text(group)).scalar_one():
        words = "this server is a worker of Citus; database_url must name the coordinator"
        raise NotDistributableError(f"db distribute: {words}")
    nodes = (
        "SELECT count(*) FROM pg_catalog.pg_dist_node WHERE groupid <> 0"
        " AND noderole = 'primary' AND isactive AND shouldhaveshards"
    )
    found: int = connection.execute(text(nodes)).scalar_one()
    if not found:
        raise NotDistributableError(
            "db distribute: the coordinator knows no workers; run SELECT citus_add_node('HOST', "
            "5432) on it for each worker"
        )
    return found


def _known(connection: Connection) -> dict[str, int]:
    """Return the number of shards of each table of this schema that has any."""
    shards = (
        "SELECT c.relname, count(*) FROM pg_catalog.pg_dist_shard s"
        " JOIN pg_catalog.pg_class c ON c.oid = s.logicalrelid"
        " WHERE c.oid::regclass = to_regclass(quote_ident(c.relname)) GROUP BY c.relname"
    )
    return {str(name): int(number) for name, number in connection.execute(text(shards))}


def _place(connection: Connection, table: Table, shards: int) -> None:
    """Place a table on the workers, next to the tables with the same column."""
    column = PLACED[table]
    first = next(other for other, by in PLACED.items() if by == column)
    key = [each.name for each in table.primary_key.columns]
    if column not in key:  # a row number; unique keys must contain the column
        name = inspect(connection).get_pk_constraint(table.name)["name"]
        wider = f"ADD CONSTRAINT {name} PRIMARY KEY ({', '.join([*key, column])})"
        connection.execute(text(f"ALTER TABLE {table.name} DROP CONSTRAINT {name}, {wider}"))
    given = {
        "name": table.name,
        "column": column,
        "beside": "none" if table is first else first.name,
        "shards": shards if table is first else None,  # as many as the first has
    }
    connection.execute(text(_PLACE), given)


def _set_mode(connection: Connection) -> None:
    """Store a setting of Citus with the database; sessions that begin later have it."""
    name = connection.execute(select(func.quote_ident(func.current_database()))).scalar_one()
    connection.execute(text(f"ALTER DATABASE {name} SET {_SETTING}"))


def _drop_copies(engine: Engine) -> None:
    """Remove the rows that stayed on the coordinator when they were placed on the workers."""
    with write_transaction(engine, waiting=migrate.log_waiting) as connection:
        for table in PLACED:
            connection.execute(text(_DROP_COPY), {"name": table.name})
