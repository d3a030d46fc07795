"""Current states of the workers of the build service."""

from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from sqlalchemy import Connection, select

from asu_stats.builds.schema import build_workers
from asu_stats.times import naive

WorkerState: TypeAlias = Literal["idle", "busy", "offline"]

w = build_workers.c
# A worker that stopped normally has released its name and is not listed.
_WORKERS: Final = select(w.heartbeat_at, w.build_id).where(w.heartbeat_at.is_not(None))


def workers(
    connection: Connection, *, now: datetime, silence_seconds: int
) -> dict[WorkerState, int]:
    """Return workers by state; those without a heartbeat for `silence_seconds` are offline."""
    alive_since = naive(now) - timedelta(seconds=silence_seconds)
    found: dict[WorkerState, int] = {"idle": 0, "busy": 0, "offline": 0}
    for heartbeat, build_id in connection.execute(_WORKERS):
        found["offline" if heartbeat < alive_since else "busy" if build_id else "idle"] += 1
    return found
