"""Partitions by month of the large detail tables, on PostgreSQL.

Each table has monthly partitions, such as `client_stats_2026_11`, and a default partition for rows
of all other months. A table that was upgraded or restored keeps what it had in one more partition,
such as `client_stats_before_2026_12`. A month is created before its first row is written. If that
was not possible, its rows are in the default partition, where every statement finds them too.

Creating, attaching and dropping a partition needs a lock that readers conflict with. It is waited
for briefly: who comes later waits as well. Names are not enough for a user's own partitions, so
tables are changed only if their name is one of those above.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    and_,
    bindparam,
    literal_column,
    or_,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import ARRAY

from asu_stats.exceptions import StoreRefusedError, StoreUnavailableError
from asu_stats.store.database import dialects, outages
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import client_stats, error_stats

log = logging.getLogger(__name__)

BY_MONTH: Final = (client_stats, error_stats)
# Imports create no older ones: each costs every statement that reads rows by hash a little.
MOST_MONTHS: Final = 36
_AHEAD: Final = 2  # months, after that of today
_LOCK: Final = 0x6173755F70617274  # "asu_part"
_WAIT_MS: Final = 500  # less than `deadlock_timeout`
_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.5
_BY_MONTH_NAMES: Final = {
    name for table in BY_MONTH for name in (table.name, f"{table.name}_archive")
}
_PARTITIONS: Final = text(
    "SELECT c.relname FROM pg_catalog.pg_inherits i"
    " JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = to_regclass(quote_ident(:name))"
)
_KIND: Final = text(
    "SELECT relkind = 'p' FROM pg_catalog.pg_class WHERE oid = to_regclass(quote_ident(:name))"
)


def are_used(connection: Connection) -> bool:
    """Return whether statements should name months. Costs no round trip.

    On Citus the tables are not partitioned: rows are on workers by request hash.
    """
    return connection.dialect.name == "postgresql" and not dialects.has_citus(connection)


def between(
    moment: ColumnElement[Any], first: ColumnElement[Any], last: ColumnElement[Any]
) -> ColumnElement[bool]:
    """Return the condition that a time lies between others, which selects months but no index.

    The plan of a statement can be older than the rows of a month. It would then read all of them
    by an index of times, instead of a few by their hash. An alternative rules that out.
    """
    return or_(and_(moment >= first, moment <= last), moment == first)


def within(moment: ColumnElement[Any], first: str, until: str) -> ColumnElement[bool]:
    """Return the condition that lets PostgreSQL leave out the months before and after all rows.

    `first` and `until` name fields of the given rows (`statements.send_for`): the first row has the
    earliest time, and each row the latest. With a condition on each row alone, all partitions would
    be opened, which takes longer than reading the rows.
    """
    kind = ARRAY(DateTime())
    earliest, latest = (
        Grouping(bindparam(name, type_=kind))[literal_column("1")] for name in (first, until)
    )
    return between(moment, earliest, latest)


def is_partitioned(connection: Connection, name: str) -> bool:
    """Return whether a table has partitions."""
    if connection.dialect.name != "postgresql":
        return False
    return bool(connection.execute(_KIND, {"name": name}).scalar())


def default_of(name: str) -> str:
    """Return the name of the default partition of a table."""
    return f"{name}_default"


def month_of(name: str, month: date) -> str:
    """Return the name of a monthly partition of a table."""
    return f"{name}_{month:%Y_%m}"


def next_month(day: date) -> date:
    """Return the first day of the month after that of a day."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def months(connection: Connection, name: str) -> list[date]:
    """Return the first days of the monthly partitions of a table, in order."""
    return sorted(_months(name, _partitions(connection, name)))


def _partitions(connection: Connection, name: str) -> list[str]:
    if not are_used(connection):
        return []
    return [str(each) for each in connection.execute(_PARTITIONS, {"name": name}).scalars()]


def _months(name: str, partitions: Sequence[str]) -> list[date]:
    monthly = re.compile(rf"{name}_(\d{{4}})_(0[1-9]|1[0-2])", re.ASCII)
    found = (monthly.fullmatch(each) for each in partitions)
    return [date(int(each[1]), int(each[2]), 1) for each in found if each]


def _begin(name: str, partitions: Sequence[str]) -> date:
    """Return the first month after the rows that were there before the table had partitions."""
    before = re.compile(rf"{name}_before_(\d{{4}})_(\d{{2}})", re.ASCII)
    found = (before.fullmatch(each) for each in partitions)
    return max((date(int(each[1]), int(each[2]), 1) for each in found if each), default=date.min)


# Creating ----------------------------------------------------------------------------------------


def prepare(engine: Engine, today: date, first: date | None = None) -> int:
    """Create the missing monthly partitions from the month of `first`, by default that of `today`.

    They end two months after today. Months that are more than three years ago get none. Returns
    how many were created. Never fails: a month whose table is in use for too long, or that has
    rows already, has its rows in the default partition.
    """
    wanted = _wanted(first or today, today)
    created = 0
    try:
        for name, month in _missing(engine, wanted):
            done = briefly(engine, partial(_create, name=name, month=month))
            if done is None:
                log.info("partitions: not created: table=%s is in use", name)
                break
            created += done
    except (StoreUnavailableError, StoreRefusedError, DBAPIError) as error:
        log.warning("partitions: not created: %s", outages.message(error))
    if created:
        log.info("partitions: created=%d from=%s", created, wanted[0])
    return created


def _missing(engine: Engine, wanted: Sequence[date]) -> list[tuple[str, date]]:
    """Return the tables and months of `wanted` without a partition."""
    with read_snapshot(engine) as connection:
        tables = {table.name: _partitions(connection, table.name) for table in BY_MONTH}
    return [
        (name, month)
        for name, there in tables.items()
        if there
        for month in wanted
        if month >= _begin(name, there) and month not in _months(name, there)
    ]


def _wanted(first: date, today: date) -> list[date]:
    month = max(first, today - timedelta(days=MOST_MONTHS * 30)).replace(day=1)
    last = today.replace(day=1)
    for _ in range(_AHEAD):
        last = next_month(last)
    found = []
    while month <= last:
        found.append(month)
        month = next_month(month)
    return found


def _create(connection: Connection, name: str, month: date) -> bool:
    """Create a partition, unless it exists, or its rows are in the default partition."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if month in months(connection, name) or _has_rows(connection, name, month):
        return False
    new, bounds = month_of(name, month), _bounds(month)
    connection.execute(
        text(
            f"CREATE TABLE {new} (LIKE {name} INCLUDING DEFAULTS INCLUDING STORAGE,"
            f" CONSTRAINT month CHECK ({_within(month)}))"
        )
    )
    # Attaching locks only the default partition against readers, creating would lock the table.
    connection.execute(text(f"ALTER TABLE {name} ATTACH PARTITION {new} {bounds}"))
    return True


def _within(month: date) -> str:
    return f"timestamp >= '{month}' AND timestamp < '{next_month(month)}'"


def _bounds(month: date) -> str:
    return f"FOR VALUES FROM ('{month}') TO ('{next_month(month)}')"


def _has_rows(connection: Connection, name: str, month: date) -> bool:
    here = "timestamp >= :first AND timestamp < :after"
    found = text(f"SELECT EXISTS (SELECT FROM {name} WHERE {here})")  # noqa: S608
    days = {"first": month, "after": next_month(month)}
    return bool(connection.execute(found, days).scalar_one())


def briefly(engine: Engine, work: Callable[[Connection], Any]) -> Any:
    """Do `work` in a write transaction that waits for locks briefly, several times if necessary.

    Returns `None` if others hold the locks. Raises `StoreUnavailableError`.
    """
    for number in range(_TRIES):
        if number:
            time.sleep(_PAUSE_SECONDS)
        try:
            with write_transaction(engine, streams=True) as connection:
                connection.execute(text(f"SET LOCAL lock_timeout = {_WAIT_MS}"))
                return work(connection)
        except StoreUnavailableError as error:
            if error.__cause__ is None or not outages.is_busy(error.__cause__):
                raise
    return None


# Retention ---------------------------------------------------------------------------------------


def lock(connection: Connection, *names: str) -> None:
    """Wait until nobody reads or writes tables, until the end of the transaction."""
    given = ", ".join(f"ONLY {name}" for name in names)
    connection.execute(text(f"LOCK TABLE {given} IN ACCESS EXCLUSIVE MODE"))


def can_hand_over(connection: Connection, archive: str, month: date) -> bool:
    """Return whether a table can take over the partition of a month: it has no rows of it."""
    there = _partitions(connection, archive)
    if month < _begin(archive, there) or month in _months(archive, there):
        return False
    return bool(there) and not _has_rows(connection, archive, month)


def hand_over(
    connection: Connection, name: str, archive: str, month: date, kept: Sequence[int]
) -> None:
    """Move the partition of a month to another table, except the rows with the numbers `kept`.

    No row is copied but these: they go into the default partition. Both tables must be locked, see
    `lock`: a snapshot from before sees the rows in one of them.
    """
    old, new = month_of(name, month), month_of(archive, month)
    connection.execute(text(f"ALTER TABLE {name} DETACH PARTITION {old}"))
    if kept:
        given, here = {"kept": list(kept)}, "WHERE id = ANY(:kept)"
        columns = ", ".join(_columns(connection, name))
        copy = f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {old} {here}"  # noqa: S608
        connection.execute(text(copy), given)
        connection.execute(text(f"DELETE FROM {old} {here}"), given)  # noqa: S608
    connection.execute(text(f"ALTER TABLE {old} ALTER COLUMN id DROP DEFAULT"))
    connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))
    # The archive has an index like each that it needs; the constraint `month` saves a scan.
    connection.execute(text(f"ALTER TABLE {archive} ATTACH PARTITION {new} {_bounds(month)}"))
    for index in connection.execute(_SURPLUS, {"name": new}).scalars().all():
        connection.execute(text(f"DROP INDEX {index}"))


_SURPLUS: Final = text(
    "SELECT quote_ident(c.relname) FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = to_regclass(quote_ident(:name)) AND NOT c.relispartition"
)
_COLUMNS: Final = text(
    "SELECT quote_ident(attname) FROM pg_catalog.pg_attribute"
    " WHERE attrelid = to_regclass(quote_ident(:name)) AND attnum > 0 AND NOT attisdropped"
    " ORDER BY attnum"
)


def _columns(connection: Connection, name: str) -> list[str]:
    return [str(each) for each in connection.execute(_COLUMNS, {"name": name}).scalars()]


def is_empty(connection: Connection, name: str, month: date) -> bool:
    """Return whether the partition of a month has no rows."""
    return not _has_rows(connection, name, month)


def drop(connection: Connection, name: str, month: date) -> bool:
    """Drop the partition of a month if it has no rows. The table must be locked, see `lock`."""
    if not is_empty(connection, name, month):
        return False
    connection.execute(text(f"DROP TABLE {month_of(name, month)}"))
    return True


# Tables as they were -----------------------------------------------------------------------------


def keep_before(connection: Connection, today: date) -> None:
    """Let the rows that were restored into default partitions be those before next month.

    As in a table that was upgraded, so that new months can be created. No row is copied.
    """
    begin = next_month(today)
    for name in sorted(_BY_MONTH_NAMES):
        default = default_of(name)
        if _partitions(connection, name) != [default]:
            continue
        old = f"{name}_before_{begin:%Y_%m}"
        columns = ", ".join(_columns(connection, name))
        gone = f"DELETE FROM {old} WHERE timestamp >= :begin RETURNING {columns}"  # noqa: S608
        moved = f"WITH gone AS ({gone}) INSERT INTO {name} ({columns}) SELECT {columns} FROM gone"  # noqa: S608
        for statement in (
            f"ALTER TABLE {name} DETACH PARTITION {default}",
            f"ALTER TABLE {default} RENAME TO {old}",
            f"CREATE TABLE {default} PARTITION OF {name} DEFAULT",
        ):
            connection.execute(text(statement))
        connection.execute(text(moved), {"begin": begin})
        bounds = f"FOR VALUES FROM (MINVALUE) TO ('{begin}')"
        connection.execute(text(f"ALTER TABLE {name} ATTACH PARTITION {old} {bounds}"))


_INDEXES: Final = text(
    "SELECT c.relname, pg_get_indexdef(c.oid), i.indisprimary FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = to_regclass(quote_ident(:name))"
)


def unite(connection: Connection, name: str) -> None:
    """Copy the rows of a table with partitions into a plain table of that name."""
    if not is_partitioned(connection, name):
        return
    old = f"{name}_by_month"
    columns = ", ".join(_columns(connection, name))
    indexes = connection.execute(_INDEXES, {"name": name}).all()
    sequence = connection.execute(
        text("SELECT pg_get_serial_sequence(quote_ident(:name), 'id')"), {"name": name}
    ).scalar()
    statements = [f"ALTER TABLE {name} RENAME TO {old}"]
    statements += [
        f'ALTER INDEX "{index}" RENAME TO "{index[:50]}_by_month"' for index, *_ in indexes
    ]
    like = "INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMMENTS"
    statements += [
        f"CREATE TABLE {name} (LIKE {old} {like})",
        f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {old}",  # noqa: S608
        f"ALTER TABLE {name} ADD CONSTRAINT pk_{name} PRIMARY KEY (id)",
        *(
            f'CREATE INDEX "{index}" ON {name}{definition[definition.index(" USING ") :]}'
            for index, definition, is_primary in indexes
            if not is_primary
        ),
        *([f"ALTER SEQUENCE {sequence} OWNED BY {name}.id"] if sequence else []),
        f"DROP TABLE {old}",
    ]
    for statement in statements:
        connection.execute(text(statement))


class Preparation:
    """Creates the months of imported events before they are written."""

    def __init__(self, engine: Engine, today: Callable[[], date]) -> None:
        self._engine = engine
        self._today = today
        self._first = date.max

    def before(self, first: date) -> None:
        """Create the months from that of a day on, unless that was done."""
        if first < self._first:
            prepare(self._engine, self._today(), first)
            self._first = first.replace(day=1)
