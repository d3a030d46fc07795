"""The overview of the last hours, to the second, counted from the details by index.

Rollups hold whole UTC days and hours. This time range is short and begins and ends at any second,
so its detail rows are counted here, with the definitions that the rollups use.
"""

from collections import Counter
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    DateTime,
    FromClause,
    Select,
    Table,
    and_,
    bindparam,
    func,
    select,
)

from asu_stats.reports.tally import Tally
from asu_stats.store.archive.archive import everything
from asu_stats.store.blocks.distribution import Distribution
from asu_stats.store.database import citus, statements
from asu_stats.store.database.schema import (
    build_metrics,
    client_stats,
    rejected_days,
    request_days,
    request_metadata,
)
from asu_stats.store.rollups import facts
from asu_stats.store.rollups.definitions import DAILY
from asu_stats.store.rollups.facts import Fact
from asu_stats.store.verification import recount
from asu_stats.times import naive
from asu_stats.windows import Window

_requests, _builds = everything(client_stats), everything(build_metrics)
_r, _b = _requests.c, _builds.c
_FIRST: Final = bindparam("first", type_=DateTime)
_LAST: Final = bindparam("last", type_=DateTime)


def _between(moment: ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(moment > _FIRST, moment <= _LAST)


def _grouped(rows: FromClause, kind: type[Fact], moment: str, *by: str) -> Select[Any]:
    """Select the fields of a fact, the columns `by`, and how many rows have them."""
    fields = zip(kind._fields, recount.made_of(kind, rows), strict=True)
    columns = (*(column.label(name) for name, column in fields), *(rows.c[name] for name in by))
    inner = select(*columns).where(_between(rows.c[moment])).subquery()  # plain columns to group by
    return select(*inner.c, func.count()).group_by(*inner.c)


_REQUESTS: Final = _grouped(_requests, facts.Request, "timestamp", "client")
_BUILDS: Final = _grouped(_builds, facts.Build, "finished_at")
_COUNTS: Final = (_r.outcome != "rejected", _r.outcome == "rejected")
_UNIQUE: Final = tuple(
    select(func.count(_r.request_hash.distinct())).where(_between(_r.timestamp), counts)
    for counts in _COUNTS
)


def _new(counts: ColumnElement[bool], days: Table) -> Select[Any]:
    """Count the distinct hashes that did not occur on days that are already counted."""
    m = request_metadata.c
    asked = citus.read_first(
        select(_r.request_hash, m.request_number)
        .join_from(_requests, request_metadata, m.request_hash == _r.request_hash, isouter=True)
        .where(_between(_r.timestamp), counts)
        .distinct()
        .cte("asked")
    )
    first, last = (bindparam(name, type_=Date) for name in ("start", "end"))
    same = days.c.request_number == asked.c.request_number
    seen = select(days.c.date).where(same, days.c.date.between(first, last)).exists()
    return select(func.count()).select_from(asked).where(~seen)


_NEW: Final = tuple(
    _new(counts, days) for counts, days in zip(_COUNTS, (request_days, rejected_days), strict=True)
)


def send(
    connection: Connection, first: datetime, last: datetime, known: Window | None = None
) -> list[statements.Sent]:
    """Ask for what `tally` needs, and do not wait for it."""
    window = {"first": naive(first), "last": naive(last)}
    unique = _UNIQUE if known is None else _NEW
    days = {} if known is None else {"start": known.start, "end": known.end}
    return [
        *(statements.send_once(connection, each, **window) for each in (_REQUESTS, _BUILDS)),
        *(statements.send_once(connection, each, **window, **days) for each in unique),
    ]


def tally(
    connection: Connection, first: datetime, last: datetime, known: Window | None = None
) -> Tally:
    """Count from after `first` up to and including `last`, both UTC.

    Hashes that occurred on the days `known` do not count as unique.
    """
    found, built, accepted, rejected = (rows() for rows in send(connection, first, last, known))
    requests = [(row[:-2], row[-2], row[-1]) for row in found]
    builds = [(row[:-1], row[-1]) for row in built]
    totals = recount.totals(facts.Request, DAILY, ((fact, n) for fact, _, n in requests))
    totals += recount.totals(facts.Build, DAILY, builds)
    clients: Counter[str] = Counter()
    for fact, client, n in requests:
        clients[client] += n * facts.Request(*fact).accepted
    durations: Counter[int] = Counter()
    for fact, n in builds:
        build = facts.Build(*fact)
        if build.timed:
            durations[build.timed_seconds] += n
    hashes = int(accepted[0][0]), int(rejected[0][0])
    return Tally(totals, hashes, Distribution.of(durations), clients)
