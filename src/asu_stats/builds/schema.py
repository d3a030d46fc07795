"""The tables of the build service: requests, jobs, results, workers, and the outbox.

The first columns of `build_requests`, `build_jobs` and `build_results` have the names and meanings
of the Go server, so that each program can read the file of the other. There are no foreign keys,
because files of that server have jobs without a request. Jobs of asu-stats have `enqueued_at`.
Other jobs are history of the Go server and never change. Times are UTC without zone.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    and_,
)

from asu_stats.store.database.metadata import metadata

PENDING: Final = "pending"
BUILDING: Final = "building"
COMPLETED: Final = "completed"
FAILED: Final = "failed"


def _row_id() -> Column[int]:
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


build_requests = Table(
    "build_requests",
    metadata,
    Column("request_hash", Text, primary_key=True),
    Column("distro", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("packages", Text, comment="JSON list"),
    Column("packages_versions", Text, comment="JSON object"),
    Column("defaults", Text, comment="first-boot script, '' if none"),
    Column("rootfs_size_mb", Integer, comment="0 if none"),
    Column("repositories", Text, comment="JSON list of URLs"),
    Column("repository_keys", Text, comment="JSON list"),
    Column("diff_packages", Boolean),
    Column("client", Text, comment="client of the first request, '' if unknown"),
    Column("created_at", DateTime),
    Column("version_code", Text),
    Column("filesystem", Text),
    Column("repository_names", Text, comment="JSON list: a name for each of repositories"),
    Column("repositories_mode", Text),
    Column("coarse_phases", Boolean, comment="whether a client that polls knows only two phases"),
)

build_jobs = Table(
    "build_jobs",
    metadata,
    _row_id(),
    Column("request_hash", Text),
    Column("status", Text, comment="pending, building, completed, failed"),
    Column("started_at", DateTime),
    Column("finished_at", DateTime),
    Column("build_cmd", Text, comment="JSON list"),
    Column("manifest", Text, comment="JSON object"),
    Column("error_message", Text),
    Column("worker_id", Text),
    Column(
        "queue_position", Integer, comment="Go server only; asu-stats counts it for each response"
    ),
    Column("enqueued_at", DateTime, comment="null for jobs of the Go server"),
    Column("build_id", Text, comment="set when a worker takes the job"),
    Column("ended_as", Text, comment="success, failure, timeout, cancelled"),
    Column("imagebuilder_status", Text, comment="phase of a running build"),
    Column("heartbeat_at", DateTime, comment="last heartbeat of its worker"),
    Column("detail", Text, comment="reason of a failed job in one line, for clients"),
    Column("stdout", Text),
    Column("stderr", Text),
    Index(None, "status", "enqueued_at", "id"),
    Index(None, "request_hash", "id"),
)

# The database also enforces what `queue` decides: at most one active build per hash.
_ACTIVE = and_(
    build_jobs.c.status.in_((PENDING, BUILDING)),
    build_jobs.c.enqueued_at.is_not(None),
)
Index(
    "uq_build_jobs_active_request_hash",
    build_jobs.c.request_hash,
    unique=True,
    sqlite_where=_ACTIVE,
    postgresql_where=_ACTIVE,
)

build_results = Table(
    "build_results",
    metadata,
    Column("request_hash", Text, primary_key=True),
    Column("images", Text, comment="JSON list of file names"),
    Column("manifest", Text, comment="JSON object"),
    Column("build_at", DateTime, comment="end of the build"),
    Column("cache_hit", Boolean, comment="Go server only; always false here"),
    Column("build_duration_seconds", Integer),
    Column("answer", Text, comment="JSON body of the response 200; null for rows of the Go server"),
    Index(None, "build_at"),
)

build_workers = Table(
    "build_workers",
    metadata,
    Column("worker_id", Text, primary_key=True),
    Column("holder", Text, comment="token of the running worker that has this name"),
    Column("heartbeat_at", DateTime, comment="last heartbeat; null once the worker has stopped"),
    Column("build_id", Text, comment="build in progress; null while idle"),
)

build_events = Table(
    "build_events",
    metadata,
    _row_id(),
    Column("event_id", Text, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("event", Text, nullable=False, comment="CloudEvents JSON"),
    Index(None, "created_at"),
    comment="Outbox: events of queue changes, written in the transaction of the change.",
)
