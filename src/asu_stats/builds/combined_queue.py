"""The queue of all servers: own jobs and builds known from events, each build once.

A request hash waits if an accepted request for it has not ended and no build of it runs. A build
runs from its start to its end. A server that crashes never sends the end, so events count
for `stale_after` only. Own jobs are read from `build_jobs`, which needs no such limit; their
events are ignored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    DateTime,
    Engine,
    Integer,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    union_all,
)

from asu_stats.builds.schema import BUILDING, PENDING, build_jobs, build_requests
from asu_stats.store.database import citus, statements
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import build_metrics, client_stats
from asu_stats.store.details.queue_samples import QueueState
from asu_stats.times import naive

_SINCE: Final = bindparam("since", type_=DateTime)
_ROWS: Final = bindparam("rows", type_=Integer)
_DEVICE: Final = ("version", "target", "profile")

_job, _request, _build, _requested = build_jobs.c, build_requests.c, build_metrics.c, client_stats.c
_own = build_jobs.alias("own").c
# Constants, as in the index. An abandoned build may have left its requests `building`.
_UNENDED: Final = _requested.status.in_((literal_column("'queued'"), literal_column("'building'")))


class RunningBuild(NamedTuple):
    """A running build; `started_at` is UTC without zone."""

    request_hash: str
    build_id: str
    version: str
    target: str
    profile: str
    started_at: datetime
    worker_id: str | None


class WaitingBuild(NamedTuple):
    """A request hash that waits for a build."""

    request_hash: str
    version: str
    target: str
    profile: str


def _ours(status: str) -> ColumnElement[bool]:
    # Partial indexes are found by constants, not by parameters.
    return (_job.status == literal_column(f"'{status}'")) & _job.enqueued_at.is_not(None)


def _elsewhere() -> CTE:
    """Select the running builds of other servers."""
    names = (_build[name] for name in RunningBuild._fields)
    found = select(*names).where(_build.finished_at.is_(None), _build.started_at >= _SINCE)
    builds = citus.read_first(found.cte("unfinished"))
    of_ours = exists().where(
        _own.request_hash == builds.c.request_hash,
        _own.build_id == builds.c.build_id,
        _own.enqueued_at.is_not(None),
    )
    return select(builds).where(~of_ours).cte("elsewhere")


def _running() -> CTE:
    """Select the running builds."""
    ours = (
        select(
            _job.request_hash,
            _job.build_id,
            *(_request[name] for name in _DEVICE),
            _job.started_at,
            _job.worker_id,
        )
        .join_from(build_jobs, build_requests, _request.request_hash == _job.request_hash)
        .where(_ours(BUILDING))
    )
    return union_all(ours, select(_ELSEWHERE)).cte("running")


def _waiting() -> CTE:
    """Select the waiting request hashes, with the time since when they wait."""
    ours = (
        select(
            _job.request_hash,
            *(_request[name] for name in _DEVICE),
            _job.enqueued_at.label("since"),
        )
        .join_from(build_jobs, build_requests, _request.request_hash == _job.request_hash)
        .where(_ours(PENDING))
    )
    # The own job waits, runs, or ended after the request: the event of its end is on the way.
    names = (_requested[name] for name in ("request_hash", *_DEVICE, "timestamp"))
    found = select(*names).where(_UNENDED, _requested.timestamp >= _SINCE)
    asked = citus.read_first(found.cte("unended"))
    of_ours = exists().where(
        _own.request_hash == asked.c.request_hash,
        _own.enqueued_at.is_not(None),
        _own.finished_at.is_(None) | (_own.finished_at >= asked.c.timestamp),
    )
    theirs = (
        select(
            asked.c.request_hash,
            *(func.min(asked.c[name]) for name in _DEVICE),
            func.min(asked.c.timestamp),
        )
        .where(~of_ours)
        .group_by(asked.c.request_hash)
    )
    queued = union_all(ours, theirs).subquery("queued")
    running = exists().where(_ELSEWHERE.c.request_hash == queued.c.request_hash)
    return select(queued).where(~running).cte("waiting")


_ELSEWHERE: Final = _elsewhere()
_RUNNING: Final = _running()
_WAITING: Final = _waiting()
_STATE: Final = select(
    select(func.count()).select_from(_WAITING).scalar_subquery(),
    select(func.count()).select_from(_RUNNING).scalar_subquery(),
    select(func.min(_WAITING.c.since)).scalar_subquery(),
)
_NEWEST_RUNNING: Final = (
    select(_RUNNING)
    .order_by(_RUNNING.c.started_at.desc(), _RUNNING.c.request_hash, _RUNNING.c.build_id)
    .limit(_ROWS)
)
_LONGEST_WAITING: Final = (
    select(*(_WAITING.c[name] for name in WaitingBuild._fields))
    .order_by(_WAITING.c.since, _WAITING.c.request_hash)
    .limit(_ROWS)
)


@dataclass(frozen=True, slots=True)
class CombinedQueue:
    """The queue of all servers at the time of `clock`."""

    engine: Engine
    clock: Callable[[], datetime]
    stale_after: timedelta

    def state(self) -> QueueState:
        """Return the numbers of waiting and running builds, and since when the oldest one waits.

        Raises `StoreUnavailableError` when the database is unreachable, as the other methods do.
        """
        with read_snapshot(self.engine) as connection:
            return self.state_in(connection)

    def length(self) -> int:
        return self.state().queue_length

    def waiting_longest(self, rows: int) -> list[WaitingBuild]:
        """Return the hashes with the longest waits."""
        with read_snapshot(self.engine) as connection:
            found = statements.fetch(connection, _LONGEST_WAITING, since=self._since(), rows=rows)
        return [WaitingBuild(*row) for row in found]

    def state_in(self, connection: Connection) -> QueueState:
        """Return `state` from an open snapshot."""
        return self.send_state(connection)()

    def length_in(self, connection: Connection) -> int:
        """Return `length` from an open snapshot."""
        return self.state_in(connection).queue_length

    def send_state(self, connection: Connection) -> Callable[[], QueueState]:
        """Ask for `state_in`. Return a function that waits for it."""
        sent = statements.send(connection, _STATE, since=self._since())
        return lambda: QueueState(*sent()[0])

    def running_in(self, connection: Connection, rows: int) -> list[RunningBuild]:
        """Return the running builds from an open snapshot, newest first."""
        return self.send_running(connection, rows)()

    def send_running(self, connection: Connection, rows: int) -> Callable[[], list[RunningBuild]]:
        """Ask for `running_in`. Return a function that waits for it."""
        sent = statements.send(connection, _NEWEST_RUNNING, since=self._since(), rows=rows)
        return lambda: [RunningBuild(*row) for row in sent()]

    def _since(self) -> datetime:
        return naive(self.clock()) - self.stale_after
