"""One sample of the queue per minute: events cannot reconstruct it later.

Alert rules such as "longer than an hour" need the history of the queue.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Integer,
    Table,
    bindparam,
    delete,
    func,
    select,
)

from asu_stats.store.database import statements
from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import build_metrics

queue_samples = Table(
    "queue_samples",
    metadata,
    Column("sampled_at", DateTime, primary_key=True),
    Column("queue_length", Integer, nullable=False, comment="waiting builds"),
    Column("builds_running", Integer, nullable=False),
    Column("oldest_queued_at", DateTime, comment="oldest waiting build; null if none waits"),
    Column("last_finished_at", DateTime, comment="end of the last finished build"),
    comment="One sample of the queue per minute.",
    sqlite_with_rowid=False,
)


class QueueState(NamedTuple):
    """Waiting and running builds. Times are UTC without zone."""

    queue_length: int
    builds_running: int
    oldest_queued_at: datetime | None


class Sample(NamedTuple):
    """The queue at a minute."""

    sampled_at: datetime
    queue_length: int
    builds_running: int
    oldest_queued_at: datetime | None
    last_finished_at: datetime | None


_FORGOTTEN: Final = 60  # limits what a wrong clock deletes per minute
_FORGET: Final = delete(queue_samples).where(
    queue_samples.c.sampled_at.in_(
        select(queue_samples.c.sampled_at)
        .where(
            (queue_samples.c.sampled_at < bindparam("before", type_=DateTime))
            | (queue_samples.c.sampled_at > bindparam("after", type_=DateTime))
        )
        .order_by(queue_samples.c.sampled_at)
        .limit(_FORGOTTEN)
    )
)
_LAST: Final = select(func.max(build_metrics.c.finished_at)).where(
    build_metrics.c.finished_at <= bindparam("now", type_=DateTime)
)
_END: Final = datetime.max  # noqa: DTZ901 - stored times have no zone
_CLOCKS_DIFFER: Final = timedelta(minutes=5)


def last_finished(connection: Connection, now: datetime) -> datetime | None:
    """Return the last end of a build of any server.

    `now` is UTC without zone. Ends in the future, from a clock that was ahead, do not count.
    """
    latest = now + _CLOCKS_DIFFER
    found: datetime | None = statements.fetch(connection, _LAST, now=latest)[0][0]
    return found


def store(connection: Connection, now: datetime, queue: QueueState) -> Sample:
    """Store the state of the queue for the minute of `now`, UTC without zone."""
    minute = now.replace(second=0, microsecond=0)
    sample = Sample(minute, *queue, last_finished(connection, now))
    statements.upsert(connection, queue_samples, ("sampled_at",), Sample._fields[1:], [sample])
    return sample


def forget(connection: Connection, before: datetime, after: datetime = _END) -> None:
    """Delete samples before a time and after one, UTC without zone: at most an hour per call.

    That is enough when called every minute, and a wrong clock cannot delete them all at once.
    """
    statements.execute(connection, _FORGET, before=before, after=after)


def since(connection: Connection, start: datetime) -> Sequence[Sample]:
    """Return the samples from `start` on, UTC without zone, in order."""
    t = queue_samples
    found = select(*t.columns).where(t.c.sampled_at >= start).order_by(t.c.sampled_at)
    return [Sample(*row) for row in connection.execute(found)]
