"""The last hours at a glance, to the second: counted from the details, by index.

Rollups know whole UTC days and hours. What is asked for here begins and ends whenever it is asked,
and is short, so the rows themselves are counted; the definitions are those of contract §2, with the
hours in place of the days.
"""

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
)

from asu_stats.cloudevents import format_time
from asu_stats.events import FAILED_STATUSES, NO_HASH
from asu_stats.reports import overview, sums
from asu_stats.reports.answers import Overview, Period
from asu_stats.reports.figures import Distribution
from asu_stats.reports.incomplete import reasons
from asu_stats.store import prepared
from asu_stats.store.archive import everything
from asu_stats.store.requests import UNTRACED
from asu_stats.store.tables import build_metrics, client_stats

_r, _b = everything(client_stats).c, everything(build_metrics).c
_FIRST: Final = bindparam("first", type_=DateTime)
_LAST: Final = bindparam("last", type_=DateTime)
_ACCEPTED: Final = _r.outcome != "rejected"
_GOOD: Final = _b.status == "success"


def _between(moment: ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(moment > _FIRST, moment <= _LAST)


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


_REQUESTS: Final = select(
    _count(_ACCEPTED),
    _count(_r.outcome == "cache_hit"),
    _count(_ACCEPTED & _r.diff_packages.is_(True)),
    _count(_ACCEPTED & _r.diff_packages.is_(False)),
    _count(~_ACCEPTED),
    _count(_ACCEPTED & (_r.request_hash == NO_HASH)),
    _count(_r.status == UNTRACED),
    func.count(case((_ACCEPTED, _r.request_hash)).distinct()),
).where(_between(_r.timestamp))
_CLIENTS: Final = (
    select(_r.client, func.count()).where(_between(_r.timestamp), _ACCEPTED).group_by(_r.client)
)
_BUILDS: Final = select(
    _count(_GOOD),
    _count(or_(*(_b.status == status for status in sorted(FAILED_STATUSES)))),
    _count(_b.status == "cancelled"),
).where(_between(_b.finished_at))
_SECONDS: Final = (
    select(_b.duration_seconds, func.count())
    .where(_between(_b.finished_at), _GOOD, _b.duration_seconds.is_not(None))
    .group_by(_b.duration_seconds)
)


def read(connection: Connection, first: datetime, last: datetime, *, hours: int) -> Overview:
    """Return the overview of the time after `first` up to `last`, which are UTC."""
    window = {"first": first.replace(tzinfo=None), "last": last.replace(tzinfo=None)}

    def fetch(statement: Any) -> list[tuple[Any, ...]]:
        return prepared.fetch(connection, statement, **window)

    ((requests, hits, on, off, rejected, unhashed, untraced, unique),) = fetch(_REQUESTS)
    ((good, bad, cancelled),) = fetch(_BUILDS)
    seconds = np.array(fetch(_SECONDS), np.int64).reshape(-1, 2)
    gaps = reasons(without_hash=unhashed, untraced=untraced, unknown_diff=requests - on - off)
    period: Period = {
        "start": format_time(first.astimezone(UTC)),
        "end": format_time(last.astimezone(UTC)),
        "days": None,
        "hours": hours,
        "data_since": sums.data_since(connection),
        "incomplete": gaps,
    }
    return overview.shown(
        period,
        overview.Counts(requests, hits, good, bad, on, off, rejected, cancelled, unhashed),
        unique=unique,
        durations=Distribution.of(seconds[:, 0], seconds[:, 1]),
        asked=[(client, count) for client, count in fetch(_CLIENTS)],
    )
