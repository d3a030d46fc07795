"""How busy the build service is, now: the line, what runs, and who works."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias

from sqlalchemy import Connection, func, select

from asu_stats.builds.jobs import naive
from asu_stats.builds.tables import BUILDING, PENDING, build_jobs, build_workers

WorkerState: TypeAlias = Literal["idle", "busy", "offline"]

j, w = build_jobs.c, build_workers.c
_JOBS: Final = (
    select(j.status, func.count(), func.min(j.enqueued_at))
    .where(j.status.in_((PENDING, BUILDING)), j.enqueued_at.is_not(None))
    .group_by(j.status)
)
# A worker that stopped in order has given its name back and is none any more.
_WORKERS: Final = select(w.heartbeat_at, w.build_id).where(w.heartbeat_at.is_not(None))


@dataclass(frozen=True, slots=True)
class Load:
    """Builds that wait and that run, and workers by state."""

    waiting: int
    running: int
    oldest: datetime | None  # when the build that has waited longest was queued
    workers: dict[WorkerState, int]


def read(connection: Connection, *, now: datetime, silence_seconds: int) -> Load:
    """Return the load; a worker without a sign of life for `silence_seconds` is offline."""
    jobs = {status: (count, since) for status, count, since in connection.execute(_JOBS)}
    waiting, oldest = jobs.get(PENDING, (0, None))
    alive_since = naive(now) - timedelta(seconds=silence_seconds)
    workers: dict[WorkerState, int] = {"idle": 0, "busy": 0, "offline": 0}
    for heartbeat, build_id in connection.execute(_WORKERS):
        workers["offline" if heartbeat < alive_since else "busy" if build_id else "idle"] += 1
    return Load(
        waiting=waiting,
        running=jobs.get(BUILDING, (0, None))[0],
        oldest=oldest.replace(tzinfo=UTC) if oldest else None,
        workers=workers,
    )
