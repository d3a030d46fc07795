"""Builds: rows of `build_metrics`, combined from events in any order.

A build is identified by (request_hash, build_id). The earliest start and the earliest end hold, so
the order of arrival does not matter. Version, target and profile are those of the request of the
build. As long as the request is unknown, they come from the build events, else they are `unknown`.
The worker is that of the end, else that of the start.
See docs/reference/events.md, Data.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Connection, FromClause, Select, func, select

from asu_stats.error_types import classify
from asu_stats.events import (
    FAILED_STATUSES,
    UNKNOWN,
    BuildFinished,
    BuildStarted,
    Names,
)
from asu_stats.store.database import statements
from asu_stats.store.database.schema import build_metrics, error_stats
from asu_stats.store.details.requests import RequestNames
from asu_stats.store.rollups import phases
from asu_stats.store.rollups.counting import Attempt, EndedBuild, Rejection
from asu_stats.store.rollups.definitions import UNTIMED
from asu_stats.times import aware, naive

Key = tuple[str, str]

_UNKNOWN: Final = classify(None)

_NAMES: Final = ("version", "target", "profile")
_WORKER: Final = "worker_id"


class _Workers(NamedTuple):
    """Workers of one build; `None` without an event, or if the event names none."""

    started: str | None
    finished: str | None


@dataclass(slots=True)
class Build:
    """A row of `build_metrics`; the names of the fields are its columns."""

    request_hash: str
    build_id: str
    id: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_seconds: int | None = None
    status: str = "building"
    error_category: str | None = None
    error_message: str | None = None
    worker_id: str | None = None
    error_type: str | None = None
    version: str = UNKNOWN
    target: str = UNKNOWN
    profile: str = UNKNOWN
    diff_packages: bool | None = None
    reported_seconds: int | None = None
    reported_names: dict[str, dict[str, Any]] | None = None
    phases: dict[str, float] | None = None
    client: str | None = None
    client_version: str | None = None
    package_list: int | None = None
    fingerprint: str | None = None
    package: str | None = None

    @property
    def key(self) -> Key:
        """What identifies the build."""
        return self.request_hash, self.build_id

    @property
    def runs(self) -> bool:
        """Whether it has started and not ended."""
        return self.started_at is not None and self.finished_at is None

    def start(self, event: BuildStarted) -> None:
        """Apply a start event; the earliest start holds."""
        said, worker, workers = _said(event.names), event.worker_id or None, self._workers()
        if self.started_at is not None:
            known = (self.reported_names or {}).get("started", {})
            held = self.started_at, _order(known), workers.started or ""
            if held <= (naive(event.time), _order(said), worker or ""):
                return
        self.started_at = naive(event.time)
        self._report("started", said)
        self._run_by(workers._replace(started=worker))

    def finish(self, event: BuildFinished) -> bool:
        """Apply an end event; the earliest end holds, whatever its status.

        Returns whether this one holds.
        """
        said, worker, workers = _said(event.names), event.worker_id or None, self._workers()
        if self.finished_at is not None:
            known = (self.reported_names or {}).get("finished", {})
            held = _rank(self, self.finished_at, self.reported_seconds, known, workers.finished)
            if held <= _rank(event, naive(event.time), event.duration_seconds, said, worker):
                return False
        self.finished_at = naive(event.time)
        self.status = event.status
        self.error_category = event.error_category
        self.error_type = event.error_type
        self.error_message = event.error_message
        self.reported_seconds = event.duration_seconds
        self.phases = dict(event.phases) if event.phases is not None else None
        self.fingerprint = self.package = None
        self._report("finished", said)
        self._run_by(workers._replace(finished=worker))
        return True

    def name_error(self, said: Rejection) -> None:
        """Set fingerprint and package of its error."""
        self.fingerprint, self.package = said.fingerprint, said.package or None

    def asked_by(self, client: str | None, version: str | None, package_list: int | None) -> bool:
        """Set the client and packages of its earliest request. Returns whether they changed."""
        before = self.client, self.client_version, self.package_list
        self.client, self.client_version, self.package_list = client, version, package_list
        return before != (client, version, package_list)

    def attempt(self) -> Attempt | None:
        """Return the fact with its client and packages, `None` while the build has not ended."""
        if self.finished_at is None:
            return None
        seconds = self.duration_seconds if self.status == "success" else None
        return Attempt(
            at=self.finished_at,
            status=self.status,
            fingerprint=self.fingerprint or "",
            error_category=self.error_category or _UNKNOWN.category,
            error_type=self.error_type or _UNKNOWN.type,
            package=self.package or "",
            device=(self.version, self.target, self.profile),
            asker=(self.client or UNKNOWN, self.client_version or UNKNOWN),
            worker=(self.worker_id or UNKNOWN,),
            package_list=self.package_list or 0,
            request_hash=self.request_hash,
            seconds=UNTIMED if seconds is None else seconds,
        )

    def settle(self, names: RequestNames | None) -> bool:
        """Derive duration and names from all known data; `names` are those of the request.

        Returns whether the names changed.
        """
        self.duration_seconds = self._duration()
        before = self.version, self.target, self.profile, self.diff_packages
        if names is None:
            reported = self.reported_names or {}
            said = reported.get("started", {}) | reported.get("finished", {})
            version, target, profile = (said.get(name, UNKNOWN) for name in _NAMES)
            names = RequestNames(version, target, profile, said.get("diff_packages"))
        self.version, self.target, self.profile, self.diff_packages = names
        return before != names

    def ended(self) -> EndedBuild | None:
        """Return the fact that counts, `None` while the build has not ended."""
        if self.finished_at is None:
            return None
        return EndedBuild(
            at=self.finished_at,
            status=self.status,
            duration_seconds=self.duration_seconds,
            version=self.version,
            target=self.target,
            profile=self.profile,
            error_category=self.error_category,
            error_type=self.error_type,
            diff_packages=self.diff_packages,
            **self._phases(),
        )

    def _phases(self) -> dict[str, Any]:
        if self.status != "success" or not self.phases:
            return {}
        return {"phases": phases.counted(self.phases), "worker": self.worker_id or UNKNOWN}

    def waited_seconds(self, requested_at: datetime) -> int | None:
        """Return how long a request waited for the start, 0 if that was earlier.

        `None` without a start, or if it is after the end: then the clocks disagree.
        """
        if self.started_at is None or self.finished_at is None:
            return None
        if self.started_at > self.finished_at:
            return None
        micros = (self.started_at - requested_at) // timedelta(microseconds=1)
        return max(0, (micros + 500_000) // 1_000_000)

    def _duration(self) -> int | None:
        if self.finished_at is None:
            return None
        if self.started_at is not None:
            micros = (self.finished_at - self.started_at) // timedelta(microseconds=1)
            seconds = (micros + 500_000) // 1_000_000
            if seconds >= 0:  # otherwise the clocks disagree, and the times are meaningless
                return seconds
        return self.reported_seconds

    def _report(self, kind: str, said: dict[str, Any]) -> None:
        reported = {**(self.reported_names or {}), kind: said}
        self.reported_names = {k: v for k, v in reported.items() if v} or None

    def _workers(self) -> _Workers:
        """Return the workers that the start and the end that hold have named."""
        reported = self.reported_names or {}
        return _Workers(
            *(
                None if at is None else reported.get(kind, {}).get(_WORKER, self.worker_id)
                for kind, at in (("started", self.started_at), ("finished", self.finished_at))
            )
        )

    def _run_by(self, workers: _Workers) -> None:
        """Set the worker: that of the end, else that of the start.

        If they differ, the other is kept too, since an earlier end may arrive without a worker.
        """
        self.worker_id = workers.finished or workers.started
        ends = (("started", self.started_at), ("finished", self.finished_at))
        for (kind, at), worker in zip(ends, workers, strict=True):
            said = (self.reported_names or {}).get(kind, {})
            kept = {name: value for name, value in said.items() if name != _WORKER}
            if at is not None and worker != self.worker_id:
                kept[_WORKER] = worker
            if kept != said:
                self._report(kind, kept)


# A build, the fact that counted before, and the fact that counts now.
Change: TypeAlias = tuple[Build, EndedBuild | None, EndedBuild | None]


def _said(names: Names) -> dict[str, Any]:
    return {
        field.name: value
        for field in fields(names)
        if (value := getattr(names, field.name)) is not None
    }


def _order(said: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a sort key of event data. With equal times, it decides which event holds."""
    return sorted((name, str(value)) for name, value in said.items() if name != _WORKER)


def _rank(
    end: Build | BuildFinished,
    at: datetime,
    seconds: int | None,
    said: dict[str, Any],
    worker: str | None,
) -> tuple[Any, ...]:
    """Return the sort key of ends of one build: by time, then by data."""
    return (
        at,
        end.status,
        end.error_category or "",
        end.error_type or "",
        end.error_message or "",
        -1 if seconds is None else seconds,
        _order(said),
        sorted((end.phases or {}).items()),
        worker or "",
    )


def ends_in_order(
    builds: Mapping[str, Mapping[str, Build]],
) -> dict[str, list[tuple[datetime, str]]]:
    """Return the ends of the builds of each hash, as (time, build_id)."""
    return {
        request_hash: sorted(
            (build.finished_at, build.build_id)
            for build in of.values()
            if build.finished_at is not None
        )
        for request_hash, of in builds.items()
    }


def new(event: BuildStarted | BuildFinished) -> Build:
    """Return the build of an event, with nothing else known."""
    return Build(request_hash=event.request_hash, build_id=event.build_id)


_COLUMNS: Final = tuple(field.name for field in fields(Build))
_NEW: Final = tuple(column for column in _COLUMNS if column != "id")
_KEY: Final = ("id", "request_hash")  # the hash leads to the shard, see docs/scaling.md
_OTHERS: Final = tuple(column for column in _NEW if column not in _KEY)
_values = attrgetter("id", *_NEW)
_HASH: Final = (("request_hash", build_metrics.c.request_hash.type),)


def _known(given: FromClause) -> Select[Any]:
    """Select the builds of given hashes."""
    t = build_metrics
    same = t.c.request_hash == given.c.request_hash
    return select(*(t.c[column] for column in _COLUMNS)).join_from(given, t, same)


def send_load(
    connection: Connection, hashes: Collection[str]
) -> Callable[[], dict[str, dict[str, Build]]]:
    """Ask for the known builds of `hashes`, as in `statements.send`: by hash and build_id."""
    rows = statements.send_for(connection, _known, _HASH, [(value,) for value in hashes])

    def builds() -> dict[str, dict[str, Build]]:
        found: dict[str, dict[str, Build]] = {request_hash: {} for request_hash in hashes}
        for row in rows():
            found[row[0]][row[1]] = Build(*row)
        return found

    return builds


def save(connection: Connection, builds: Iterable[Build]) -> None:
    """Write builds that are new (without `id`) or changed."""
    new, changed = [], []
    for build in sorted(builds, key=lambda build: build.key):
        row = _values(build)
        if build.id is None:
            new.append(row[1:])
        else:
            changed.append(row)
    statements.insert(connection, build_metrics, _NEW, new)
    statements.update(connection, build_metrics, _KEY, _OTHERS, changed)


_ERROR: Final = (
    "timestamp",
    "error_category",
    "error_type",
    "version",
    "target",
    "request_hash",
    "profile",
    "build_id",
    "fingerprint",
    "package",
)
_ERROR_KEY: Final = ("timestamp", "request_hash", "build_id")


def save_errors(connection: Connection, changes: Iterable[Change]) -> None:
    """Keep one row of `error_stats` for each failed build."""
    gone, new = [], []
    for build, before, now in changes:
        if before is not None and before.status in FAILED_STATUSES:
            gone.append((before.at, build.request_hash, build.build_id))
        if now is not None and now.status in FAILED_STATUSES:
            names = now.version, now.target, build.request_hash, now.profile, build.build_id
            said = build.fingerprint, build.package
            new.append((now.at, now.error_category, now.error_type, *names, *said))
    statements.delete(connection, error_stats, _ERROR_KEY, gone)
    statements.insert(connection, error_stats, _ERROR, new)


def ends_of(connection: Connection, prefix: str) -> tuple[datetime, datetime] | None:
    """Return the first and the last end (UTC) of builds whose identity begins with `prefix`."""
    t = build_metrics
    ends = select(func.min(t.c.finished_at), func.max(t.c.finished_at))
    first, last = connection.execute(
        ends.where(t.c.build_id.startswith(prefix, autoescape=True))
    ).one()
    return None if first is None else (aware(first), aware(last))
