"""The SQL of the queue, one statement per function, the same for both databases.

`FOR UPDATE … SKIP LOCKED` is omitted on SQLite, which has one writer. The only other difference
is `exclude_others`. Own jobs have `enqueued_at`, see `schema`.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Insert,
    RowMapping,
    Select,
    Table,
    Text,
    Update,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    true,
    tuple_,
    update,
)

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
from asu_stats.store.database.statements import fetch
from asu_stats.text import clean_text
from asu_stats.times import aware, naive

_LOCK: Final = 0x6173755F6A6F6273  # "asu_jobs"
_LOG_CHARACTERS: Final = 64 * 1024

j, r, s = build_jobs.c, build_requests.c, build_results.c
_OURS: Final = j.enqueued_at.is_not(None)
_REQUESTED: Final = tuple(c for c in build_requests.c if c.name != "request_hash")
_JOBS: Final = select(*build_jobs.c, *_REQUESTED).join(
    build_requests, r.request_hash == j.request_hash
)


def exclude_others(connection: Connection) -> None:
    """Wait until no other transaction that called this is open: the next statement waits."""
    if connection.dialect.name == "postgresql":
        cursor = cast(Any, connection.connection).cursor()
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


_WAITING: Final = select(func.count()).select_from(build_jobs).where(j.status == PENDING, _OURS)


def count_waiting(connection: Connection) -> int:
    """Return how many builds wait."""
    ((count,),) = fetch(connection, _WAITING)
    return int(count)


def _newest_job() -> Select[*tuple[Any, ...]]:
    other = build_jobs.alias()
    before = (
        select(func.count())
        .select_from(other)
        .where(
            other.c.status == PENDING,
            other.c.enqueued_at.is_not(None),
            tuple_(other.c.enqueued_at, other.c.id) < tuple_(j.enqueued_at, j.id),
        )
        .correlate(build_jobs)
        .scalar_subquery()
    )
    return (
        select(
            *(c for c in build_jobs.c if c.name not in {"manifest", "queue_position"}),
            case((j.status == PENDING, before)).label("queue_position"),
            *_REQUESTED,
            s.answer,
            s.images,
            s.build_at,
        )
        .join(build_requests, r.request_hash == j.request_hash)
        .outerjoin(build_results, s.request_hash == j.request_hash)
        .where(j.request_hash == bindparam("request_hash", type_=Text), _OURS)
        .order_by(j.id.desc())
        .limit(1)
    )


_NEWEST: Final = _newest_job()
_NEWEST_NAMES: Final = tuple(column.name for column in _NEWEST.exported_columns)


def newest_job(connection: Connection, request_hash: str) -> Mapping[str, Any] | None:
    """Return the newest job of a request hash with its position, request and result."""
    rows = fetch(connection, _NEWEST, request_hash=request_hash)
    return dict(zip(_NEWEST_NAMES, rows[0], strict=True)) if rows else None


def state_of(row: Mapping[str, Any]) -> State:
    """Return the state in a row of `newest_job`."""
    return State(
        request=request_of(row),
        **{field: row[field] for field in State.__dataclass_fields__ if field != "request"},
    )


_OLDEST: Final = (
    _JOBS.where(j.status == PENDING, _OURS)
    .order_by(j.enqueued_at, j.id)
    .limit(1)
    .with_for_update(of=build_jobs, skip_locked=True)
)
_OLDEST_NAMES: Final = tuple(column.name for column in _OLDEST.exported_columns)


def oldest_waiting(connection: Connection) -> Mapping[str, Any] | None:
    """Return and lock the oldest waiting job that no other worker is claiming, for `job_of`."""
    rows = fetch(connection, _OLDEST)
    return dict(zip(_OLDEST_NAMES, rows[0], strict=True)) if rows else None


def claim(job: Job) -> Update:
    """Assign a waiting job to a worker."""
    return (
        update(build_jobs)
        .where(j.id == job.id)
        .values(
            status=BUILDING,
            build_id=job.build_id,
            worker_id=job.worker_id,
            started_at=naive(job.started_at),
            heartbeat_at=naive(job.started_at),
            imagebuilder_status="init",
        )
    )


def job_of(row: RowMapping | Mapping[str, Any], **claimed: Any) -> Job:
    """Return the job in a row of `build_jobs` and its request; `claimed` overrides its fields."""
    found = {name: row[name] for name in ("id", "build_id", "worker_id", "request_hash")}
    times = {name: aware(row[name]) for name in ("enqueued_at", "started_at") if row[name]}
    return Job(request=request_of(row), **{**found, **times, **claimed})


def store_request(row: Mapping[str, Any]) -> tuple[Update, Insert]:
    """Update the script and the kind of client of a known request, or insert a new one."""
    known = r.request_hash == row["request_hash"]
    changed = {name: row[name] for name in ("defaults", "coarse_phases")}
    values = (literal(value, build_requests.c[name].type) for name, value in row.items())
    new = select(*values).where(~exists().where(known))
    return (
        update(build_requests).where(known).values(changed),
        insert(build_requests).from_select(list(row), new),
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
    """Select running builds whose workers sent no heartbeat since `limit`, for `job_of`."""
    return _JOBS.where(j.status == BUILDING, _OURS, j.heartbeat_at < limit)


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
