"""The table `build_stats` of the Go server, also written for dashboards that still read it.

A row is one occurrence without an identity, so equal rows are interchangeable. If the end, names or
duration of a build change, a row with the old values is deleted and one with the new values is
inserted. The sums of the rows are those of `stats_legacy`.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    TIMESTAMP,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Table,
    Text,
    bindparam,
    delete,
    func,
    select,
    text,
)

from asu_stats.events import FAILED_STATUSES, UNKNOWN
from asu_stats.store.database import dialects, statements
from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import row_id
from asu_stats.store.details.requests import Received
from asu_stats.store.rollups.counting import EndedBuild

# The declaration of the Go server.
build_stats = Table(
    "build_stats",
    metadata,
    row_id(),
    Column("timestamp", TIMESTAMP, server_default=text("CURRENT_TIMESTAMP")),
    Column("event_type", Text, nullable=False),
    Column("version", Text),
    Column("target", Text),
    Column("profile", Text),
    Column("duration_seconds", Integer),
    Column("diff_packages", Boolean),
    Index("idx_build_stats_timestamp", "timestamp"),
    Index("idx_build_stats_event_type", "event_type"),
    comment="Written in addition to the details if legacy_build_stats is set.",
    info={"optional": True},
)

COLUMNS: Final = (
    "timestamp",
    "event_type",
    "version",
    "target",
    "profile",
    "duration_seconds",
    "diff_packages",
)
_OF_OUTCOME: Final = {"queued": "request", "cache_hit": "cache_hit"}
_OF_STATUS: Final = {"success": "build_completed", **dict.fromkeys(FAILED_STATUSES, "failure")}

_Row: TypeAlias = tuple[Any, ...]


def _same(column: str) -> ColumnElement[bool]:
    """Return the condition that a column has a given value, which may be null."""
    stored = build_stats.c[column]
    value = bindparam(column, type_=stored.type)
    # PostgreSQL uses no index for a comparison that allows null; `timestamp` needs its index.
    return stored == value if column == "timestamp" else stored.is_not_distinct_from(value)


_EQUAL: Final = select(func.max(build_stats.c.id)).where(*map(_same, COLUMNS))
_TAKE_OUT_ONE: Final = delete(build_stats).where(build_stats.c.id == _EQUAL.scalar_subquery())


def write(
    connection: Connection,
    requests: Iterable[Received],
    ends: Iterable[tuple[EndedBuild | None, EndedBuild | None]],
) -> None:
    """Write a row per new request that was queued or a cache hit, and one per ended build.

    `ends` are the builds whose end changed, before and after.
    """
    dialect = connection.dialect.name
    rows: Counter[_Row] = Counter()
    for request, received in requests:
        if event_type := _OF_OUTCOME.get(request.outcome):
            names = request.version, request.target, request.profile
            rows[_row(dialect, received, event_type, names, 0, request.diff_packages)] += 1
    for before, now in ends:
        for ended, count in ((before, -1), (now, 1)):
            if ended is not None and (event_type := _OF_STATUS.get(ended.status)):
                names = ended.version, ended.target, ended.profile
                seconds = (ended.duration_seconds or 0) if ended.status == "success" else 0
                row = _row(dialect, ended.at, event_type, names, seconds, ended.diff_packages)
                rows[row] += count
    for row, count in rows.items():
        for _ in range(-count):
            values = dict(zip(COLUMNS, row, strict=True))
            statements.execute(connection, _TAKE_OUT_ONE, **values)
    statements.insert(connection, build_stats, COLUMNS, list((+rows).elements()))


def _row(
    dialect: str,
    at: datetime,
    event_type: str,
    names: tuple[str, str, str],
    seconds: int,
    diff_packages: bool | None,
) -> _Row:
    """Return a row, in the order of `COLUMNS`. Unknown names are null."""
    known = (None if name == UNKNOWN else name for name in names)
    return dialects.plain_time(dialect, at), event_type, *known, seconds, diff_packages
