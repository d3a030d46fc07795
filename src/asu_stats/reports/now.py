"""What is being built right now, and what has just ended. Read from the details, by index."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, select

from asu_stats.cloudevents import format_time
from asu_stats.reports.answers import EndedBuild, Now, RunningBuild
from asu_stats.store.tables import build_metrics

RUNNING: Final = 50
ENDED: Final = 12
# A build whose end was never told is not running for ever.
_FORGOTTEN: Final = timedelta(hours=24)
_SHOWN_ID: Final = 12


def read(connection: Connection, now: datetime, *, queue_length: int) -> Now:
    """Return what is being built, what has ended, and how many builds wait."""
    return {
        "queue_length": queue_length,
        "running": running(connection, now),
        "ended": ended(connection),
    }


def running(connection: Connection, now: datetime) -> list[RunningBuild]:
    """Return the builds that have begun and not ended, newest first."""
    b = build_metrics.c
    since = (now - _FORGOTTEN).astimezone(UTC).replace(tzinfo=None)
    query = (
        select(b.build_id, b.version, b.target, b.profile, b.started_at, b.worker_id)
        .where(b.finished_at.is_(None), b.started_at >= since)
        .order_by(b.started_at.desc(), b.id.desc())
        .limit(RUNNING)
    )
    return [
        {
            "build_id": row.build_id[:_SHOWN_ID],
            "version": row.version,
            "target": row.target,
            "profile": row.profile,
            "started_at": _utc(row.started_at),
            "worker": row.worker_id,
        }
        for row in connection.execute(query)
    ]


def ended(connection: Connection) -> list[EndedBuild]:
    """Return the builds that ended last, newest first."""
    b = build_metrics.c
    query = (
        select(
            b.build_id,
            b.version,
            b.target,
            b.profile,
            b.finished_at,
            b.duration_seconds,
            b.status,
            b.error_type,
        )
        .where(b.finished_at.is_not(None))
        .order_by(b.finished_at.desc(), b.id.desc())
        .limit(ENDED)
    )
    return [_ended(row) for row in connection.execute(query)]


def _ended(row: Any) -> EndedBuild:
    return {
        "build_id": row.build_id[:_SHOWN_ID],
        "version": row.version,
        "target": row.target,
        "profile": row.profile,
        "finished_at": _utc(row.finished_at),
        "duration": row.duration_seconds,
        "status": row.status,
        "error_type": row.error_type,
    }


def _utc(moment: datetime) -> str:
    return format_time(moment.replace(tzinfo=UTC))
