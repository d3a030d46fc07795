"""The SQL of the queue, one statement per function, the same for both databases.

`FOR UPDATE … SKIP LOCKED` is omitted on SQLite, which has one writer. The only other difference
is `exclude_others`. Own jobs have `enqueued_at`, see `schema`.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    RowMapping,
    Select,
    Table,
    Update,
    case,
    delete,
    exists,
    func,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from asu_stats.builds.jobs import Ending, Job, State, request_of
from asu_stats.builds.schema import (
    BUILDING,
    COMPLETED,
    FAILED,
    PENDING,
    build_jobs,
    build_requests,
    build_results,
    build_workers,
)
from asu_stats.text import clean_text
from asu_stats.times import aware, naive

_LOCK: Final = 0x6173755F6A6F6273  # "asu_jobs"
_LOG_CHARACTERS: Final = 64 * 1024

j, r, s = build_jobs.c, build_requests.c, build_results.c
_OURS: Final = j.enqueued_at.is_not(None)


def exclude_others(connection: Connection) -> None:
    """Wait until no other transaction that called this is open."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def count_waiting(before: tuple[datetime, int] | None = None) -> Select[int]:
    """Count waiting builds, or those before a position in the queue."""
    query = select(func.count()).select_from(build_jobs).where(j.status == PENDING, _OURS)
    return query if before is None else query.where(tuple_(j.enqueued_at, j.id) < tuple_(*before))


def newest_job(request_hash: str) -> Select[*tuple[Any, ...]]:
    """Select the newest job of a request hash with its request and result."""
    requested = (c for c in build_requests.c if c.name != "request_hash")
    return (
        select(
            *(c for c in build_jobs.c if c.name != "manifest"),
            *requested,
            s.answer,
            s.images,
            s.build_at,
        )
        .join(build_requests, r.request_hash == j.request_hash)
        .outerjoin(build_results, s.request_hash == j.request_hash)
        .where(j.request_hash == request_hash, _OURS)
        .order_by(j.id.desc())
        .limit(1)
    )


def state_of(row: RowMapping, queue_position: int | None = None) -> State:
    """Return the state in a row of `newest_job`."""
    return State(
        request=request_of(row),
        queue_position=queue_position,
        **{
            field: row[field]
            for field in State.__dataclass_fields__
            if field not in {"request", "queue_position"}
        },
    )


def claim(worker_id: str, build_id: str, now: datetime) -> ReturningUpdate[*tuple[Any, ...]]:
    """Assign the oldest waiting job to a worker."""
    first = (
        select(j.id)
        .where(j.status == PENDING, _OURS)
        .order_by(j.enqueued_at, j.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return (
        update(build_jobs)
        .where(j.id == first)
        .values(
            status=BUILDING,
            build_id=build_id,
            worker_id=worker_id,
            started_at=now,
            heartbeat_at=now,
            imagebuilder_status="init",
        )
        .returning(*build_jobs.c)
    )


def request_of_hash(request_hash: str) -> Select[*tuple[Any, ...]]:
    """Select the request of a hash."""
    return select(*build_requests.c).where(r.request_hash == request_hash)


def job_of(connection: Connection, row: RowMapping) -> Job:
    """Return the job in a row of `build_jobs`, together with its request."""
    request = connection.execute(request_of_hash(row["request_hash"])).mappings().one()
    return Job(
        id=row["id"],
        build_id=row["build_id"],
        worker_id=row["worker_id"],
        request_hash=row["request_hash"],
        request=request_of(request),
        enqueued_at=aware(row["enqueued_at"]),
        started_at=aware(row["started_at"]),
    )


def is_running(job: Job) -> ColumnElement[bool]:
    """Return the condition that a claimed build has not ended."""
    return (j.id == job.id) & (j.build_id == job.build_id) & (j.status == BUILDING)


def set_phase(job: Job, phase: str) -> Update:
    """Store the phase of a running build."""
    return update(build_jobs).where(is_running(job)).values(imagebuilder_status=phase)


def set_coarse_phases(request_hash: str) -> Update:
    """Store that a waiting client knows only two phases."""
    requested = update(build_requests).where(r.request_hash == request_hash)
    return requested.values(coarse_phases=True)


def end(job: Job, ending: Ending, finished: datetime) -> Update:
    """End a build, if it is running."""
    return (
        update(build_jobs)
        .where(is_running(job))
        .values(
            status=COMPLETED if ending.status == "success" else FAILED,
            ended_as=ending.status,
            finished_at=naive(finished),
            error_message=clean_text(ending.error_message or "") or None,
            detail=clean_text(ending.detail or "") or None,
            build_cmd=json.dumps(ending.command),
            manifest=json.dumps(dict(ending.manifest)),
            stdout=_storable_log(ending.stdout),
            stderr=_storable_log(ending.stderr),
        )
    )


def _storable_log(text: str) -> str:
    """Return the end of an output, its most informative part."""
    return clean_text(text[-_LOG_CHARACTERS:])


def result_row(job: Job, ending: Ending, finished: datetime) -> dict[str, Any]:
    """Return the row of `build_results` for a successful build."""
    return {
        "request_hash": job.request_hash,
        "images": json.dumps(ending.images),
        "manifest": json.dumps(dict(ending.manifest)),
        "build_at": naive(finished),
        "cache_hit": False,
        "build_duration_seconds": int((finished - job.started_at).total_seconds() + 0.5),
        "answer": json.dumps(dict(ending.answer or {})),
    }


def silent_since(limit: datetime) -> Select[*tuple[Any, ...]]:
    """Select running builds whose workers sent no heartbeat since `limit`."""
    return select(*build_jobs.c).where(j.status == BUILDING, _OURS, j.heartbeat_at < limit)


def running_builds() -> Select[str]:
    """Select the `build_id` of every running build."""
    return select(j.build_id).where(j.status == BUILDING, _OURS)


def future_times(now: datetime) -> list[Update]:
    """Set times that are more than a minute in the future to now."""
    ahead = now + timedelta(minutes=1)
    places: tuple[tuple[Table, Column[Any], ColumnElement[bool]], ...] = (
        (build_jobs, j.enqueued_at, j.status == PENDING),
        (build_jobs, j.started_at, j.status == BUILDING),
        (build_jobs, j.heartbeat_at, j.status == BUILDING),
        (build_jobs, j.finished_at, j.status == FAILED),
        (build_results, s.build_at, true()),
        (build_workers, build_workers.c.heartbeat_at, true()),
    )
    return [
        update(table).where(column > ahead, here).values({column: now})
        for table, column, here in places
    ]


# Maintenance ----------------------------------------------------------------------------------


def _active(column: ColumnElement[Any]) -> ColumnElement[bool]:
    other = build_jobs.alias()
    return exists().where(
        other.c.request_hash == column,
        other.c.status.in_((PENDING, BUILDING)),
        other.c.enqueued_at.is_not(None),
    )


def expired_results(
    limit: datetime, limit_moving: datetime, limit_defaults: datetime, count: int
) -> Select[str]:
    """Select hashes with expired images.

    Images with a script and requests that are `is_moving` have limits of their own.
    """
    moving = (
        r.version.iendswith("SNAPSHOT") & (r.version_code == "") & (r.packages_versions == "{}")
    )
    return (
        select(s.request_hash)
        .join(build_requests, r.request_hash == s.request_hash)
        .where(
            s.answer.is_not(None),
            s.build_at
            <= case((r.defaults != "", limit_defaults), (moving, limit_moving), else_=limit),
            ~_active(s.request_hash),
        )
        .limit(count)
    )


def expired_failures(limit: datetime, count: int) -> Select[int]:
    """Select failed jobs that are no longer remembered but whose output is still stored."""
    return (
        select(j.id)
        .where(j.status == FAILED, _OURS, j.finished_at <= limit, j.stderr.is_not(None))
        .limit(count)
    )


def forget_results(hashes: Sequence[str]) -> list[Delete | Update]:
    """Remove results, and the output and first-boot scripts that belong to them."""
    return [
        delete(build_results).where(s.request_hash.in_(hashes)),
        update(build_jobs)
        .where(j.request_hash.in_(hashes), j.status == COMPLETED, _OURS)
        .values(stdout=None, stderr=None),
        _forget_scripts(hashes),
    ]


def forget_failures(ids: Sequence[int]) -> list[Update]:
    """Remove the output of failed jobs, and first-boot scripts that are no longer needed."""
    return [
        update(build_jobs).where(j.id.in_(ids)).values(stdout=None, stderr=None),
        _forget_scripts(select(j.request_hash).where(j.id.in_(ids))),
    ]


def _forget_scripts(hashes: Sequence[str] | Select[str | None]) -> Update:
    kept = exists().where(s.request_hash == r.request_hash, s.answer.is_not(None))
    return (
        update(build_requests)
        .where(r.request_hash.in_(hashes), r.defaults != "", ~kept, ~_active(r.request_hash))
        .values(defaults="")
    )
