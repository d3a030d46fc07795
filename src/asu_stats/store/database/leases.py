"""Leases: one process runs a job at a time, and a process that lost its lease cannot write.

A row per job contains the holder, the end of the lease, and how often it was taken (`fence`). A
lease that is not renewed expires, and another process can take the job: kill -9 of the holder costs
at most that time. A holder that was only suspended finds that its fence is stale: `Lease.guard`
checks in the transaction that is about to write. All times are those of the database, so hosts need
not agree. A time that a wrong clock left in the future is not waited for: a lease ends at the
latest after `LONGEST`, and `correct` replaces a wrong next run.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Double,
    Engine,
    Row,
    Table,
    Text,
    case,
    insert,
    or_,
    select,
    update,
)

from asu_stats.exceptions import LeaseLostError
from asu_stats.store.database import changes, dialects, locks
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.metadata import metadata
from asu_stats.store.database.schema import name

Result = Mapping[str, Any]
Status = Literal["ok", "failed", "stopped"]

scheduled_jobs = Table(
    "scheduled_jobs",
    metadata,
    name("name", primary_key=True),
    Column(
        "schedule", Text, nullable=False, comment="crontab in UTC that next_run_at is computed from"
    ),
    Column("next_run_at", DateTime, nullable=False),
    Column("holder", Text, comment="process that runs it; null while it is not running"),
    Column("lease_until", DateTime, comment="when the lease expires; null like holder"),
    Column("fence", BigInteger, nullable=False, comment="+1 each time the lease is taken"),
    Column("started_at", DateTime, comment="start of the last or current run"),
    Column("finished_at", DateTime, comment="end of the last finished run"),
    Column("duration_seconds", Double, comment="duration of the last finished run"),
    Column("status", Text, comment="result of the last finished run: ok, failed or stopped"),
    Column("result", JSON(none_as_null=True), comment="what the last finished run did"),
    Column("error", Text, comment="one line, if the last finished run failed"),
    Column("succeeded_at", DateTime, comment="end of the last successful run"),
    comment="Periodic jobs. One process at a time runs each of them.",
    sqlite_with_rowid=False,
)

_t: Final = scheduled_jobs.c
LONGEST: Final = timedelta(minutes=10)  # of a lease between two renewals
_WORDS: Final = 500


@dataclass(slots=True, eq=False)
class Lease:
    """The right to run a job, for as long as it is renewed."""

    engine: Engine
    name: str
    holder: str
    fence: int
    seconds: float
    started_at: datetime
    began: float = field(default_factory=time.monotonic)
    _over: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise `LeaseLostError` if the job was taken by another process or must stop.

        Long jobs call it between two steps.
        """
        if self._over.is_set():
            raise LeaseLostError(f"{self.name}: stopped or taken over by another process")

    def guard(self, connection: Connection) -> None:
        """Raise `LeaseLostError` unless the holder still has the lease, in a write transaction.

        No other process can take the job before that transaction ends. Raises `ChangedSchemaError`
        if this program is not that of the schema.
        """
        self.check()
        changes.check_schema(connection)
        fence = connection.execute(select(_t.fence).where(_is(self)).with_for_update()).first()
        if fence is None:
            self.stop()
            self.check()

    def stop(self) -> None:
        """Make the next `check` raise."""
        self._over.set()


def _is(lease: Lease) -> ColumnElement[bool]:
    """Require that a lease still holds the row."""
    return (_t.name == lease.name) & (_t.fence == lease.fence) & (_t.holder == lease.holder)


def register(engine: Engine, job: str, schedule: str, next_run_at: datetime) -> None:
    """Create the row of a job. If it exists and its schedule changed, update it."""
    with read_snapshot(engine) as connection:
        known = connection.execute(select(_t.schedule).where(_t.name == job)).scalar()
    if known == schedule:
        return
    values = {"schedule": schedule, "next_run_at": next_run_at}
    with write_transaction(engine) as connection:
        locks.lock_writers(connection)
        changed = connection.execute(update(scheduled_jobs).where(_t.name == job).values(values))
        if not changed.rowcount:
            connection.execute(insert(scheduled_jobs).values(name=job, fence=0, **values))


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(_t.holder.is_(None), _t.lease_until <= now, _t.lease_until > now + LONGEST)


def is_due(engine: Engine, job: str) -> bool:
    """Return whether a job should run now and is not running. Only reads."""
    with read_snapshot(engine) as connection:
        now = dialects.now(connection)
        due = select(_t.name).where(_t.name == job, _t.next_run_at <= now, _free(now))
        return connection.execute(due).first() is not None


def next_run(engine: Engine, job: str) -> tuple[datetime, str, datetime] | None:
    """Return the current time, the schedule of a job, and its next run. Only reads."""
    with read_snapshot(engine) as connection:
        now = dialects.now(connection)
        found = connection.execute(
            select(_t.schedule, _t.next_run_at).where(_t.name == job)
        ).first()
    return found and (now, found.schedule, found.next_run_at)


def correct(engine: Engine, job: str, wrong: datetime, next_run_at: datetime) -> bool:
    """Replace the `wrong` next run of a job, and move times of its last run out of the future.

    Returns whether the next run was still the wrong one.
    """
    with write_transaction(engine) as connection:
        now = dialects.now(connection)
        past = {
            column.name: case((column > now, now), else_=column)
            for column in (_t.started_at, _t.finished_at, _t.succeeded_at)
        }
        same = (_t.name == job) & (_t.next_run_at == wrong)
        corrected = update(scheduled_jobs).where(same).values(next_run_at=next_run_at, **past)
        return connection.execute(corrected).rowcount > 0


def acquire(
    engine: Engine, job: str, holder: str, seconds: float, *, due: bool = True
) -> Lease | None:
    """Take the lease of a job for `seconds`, `None` if it is held or, with `due`, not yet due.

    Raises `ChangedSchemaError` if this program is not that of the schema.
    """
    with write_transaction(engine) as connection:
        changes.check_schema(connection)
        now = dialects.now(connection)
        here = [_t.name == job, _free(now), *([_t.next_run_at <= now] if due else [])]
        taken = connection.execute(
            update(scheduled_jobs)
            .where(*here)
            .values(
                holder=holder,
                lease_until=now + timedelta(seconds=seconds),
                fence=_t.fence + 1,
                started_at=now,
            )
            .returning(_t.fence)
        ).scalar()
    return None if taken is None else Lease(engine, job, holder, taken, seconds, now)


def renew(lease: Lease) -> None:
    """Renew a lease; a lost lease is stopped."""
    with write_transaction(lease.engine) as connection:
        until = dialects.now(connection) + timedelta(seconds=lease.seconds)
        renewed = update(scheduled_jobs).where(_is(lease)).values(lease_until=until)
        if not connection.execute(renewed).rowcount:
            lease.stop()


def release(
    lease: Lease,
    status: Status,
    *,
    next_run_at: datetime | None = None,
    result: Result | None = None,
    error: str | None = None,
) -> None:
    """End a run with its result. Without `next_run_at` it stays due. Ignores a lost lease."""
    with write_transaction(lease.engine) as connection:
        now = dialects.now(connection)
        values: dict[str, Any] = {
            "holder": None,
            "lease_until": None,
            "started_at": min(lease.started_at, now),
            "finished_at": now,
            "duration_seconds": round(time.monotonic() - lease.began, 3),
            "status": status,
            "result": None if result is None else dict(result),
            "error": error and error[:_WORDS],
        }
        if next_run_at is not None:
            values["next_run_at"] = next_run_at
        if status == "ok":
            values["succeeded_at"] = now
        connection.execute(update(scheduled_jobs).where(_is(lease)).values(values))


def now(engine: Engine) -> datetime:
    """Return the current time of leases, UTC without zone."""
    with read_snapshot(engine) as connection:
        return dialects.now(connection)


def last_result(engine: Engine, job: str) -> Result:
    """Return the result of the last run of a job; empty if there was none."""
    with read_snapshot(engine) as connection:
        found = connection.execute(select(_t.result).where(_t.name == job)).scalar()
    return found or {}


def states(engine: Engine) -> list[tuple[Row[Any], bool]]:
    """Return the row of every job by name, and whether it is running."""
    with read_snapshot(engine) as connection:
        now = dialects.now(connection)
        rows = connection.execute(select(*scheduled_jobs.columns).order_by(_t.name)).all()
    return [
        (row, row.holder is not None and now < row.lease_until <= now + LONGEST) for row in rows
    ]


def last_success(engine: Engine, job: str) -> datetime | None:
    """Return the end of the last successful run of a job, UTC without zone."""
    with read_snapshot(engine) as connection:
        return connection.execute(select(_t.succeeded_at).where(_t.name == job)).scalar()
