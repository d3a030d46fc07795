"""Builds as the store knows them: rows of `build_metrics`, put together from events in any order.

A build is identified by (request_hash, build_id). Of several starts the earliest holds, of several
ends too (the later ones "change nothing"), so the order of arrival does not matter. Version, target
and profile are those of the build's request; while that was never seen, those that the build's own
events repeat; else `unknown` (contract §4).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from asu_stats.events import (
    FAILED_STATUSES,
    UNKNOWN,
    BuildFinished,
    BuildStarted,
    Names,
)
from asu_stats.store import dialects
from asu_stats.store.counting import Ended, naive
from asu_stats.store.requests import RequestNames
from asu_stats.store.tables import build_metrics, error_stats

Key = tuple[str, str]

_NAMES: Final = ("version", "target", "profile")


@dataclass(slots=True, kw_only=True)
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

    @property
    def key(self) -> Key:
        """What identifies the build."""
        return self.request_hash, self.build_id

    def start(self, event: BuildStarted) -> None:
        """Take in a start; of several the earliest holds."""
        said = _said(event.names)
        if self.started_at is not None:
            known = (self.reported_names or {}).get("started", {})
            if (self.started_at, _order(known)) <= (naive(event.time), _order(said)):
                return
        self.started_at = naive(event.time)
        self._report("started", said)
        if self.finished_at is None or self.worker_id is None:
            self.worker_id = event.worker_id or self.worker_id

    def finish(self, event: BuildFinished) -> None:
        """Take in an end; of several the earliest holds, whatever it says."""
        said = _said(event.names)
        if self.finished_at is not None:
            known = (self.reported_names or {}).get("finished", {})
            if _rank(self, self.finished_at, self.reported_seconds, known) <= _rank(
                event, naive(event.time), event.duration_seconds, said
            ):
                return
        self.finished_at = naive(event.time)
        self.status = event.status
        self.error_category = event.error_category
        self.error_type = event.error_type
        self.error_message = event.error_message
        self.reported_seconds = event.duration_seconds
        self.phases = dict(event.phases) if event.phases is not None else None
        self.worker_id = event.worker_id or self.worker_id
        self._report("finished", said)

    def settle(self, names: RequestNames | None) -> bool:
        """Work out duration and names from all that is known; `names` are those of the request.

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

    def ended(self) -> Ended | None:
        """Return what counts of the build, `None` while it has not ended."""
        if self.finished_at is None:
            return None
        return Ended(
            at=self.finished_at,
            status=self.status,
            seconds=self.duration_seconds,
            version=self.version,
            target=self.target,
            profile=self.profile,
            category=self.error_category,
            type=self.error_type,
        )

    def _duration(self) -> int | None:
        if self.finished_at is None:
            return None
        if self.started_at is not None:
            micros = (self.finished_at - self.started_at) // timedelta(microseconds=1)
            seconds = (micros + 500_000) // 1_000_000
            if seconds >= 0:  # else the clocks disagree, and the times say nothing
                return seconds
        return self.reported_seconds

    def _report(self, kind: str, said: dict[str, Any]) -> None:
        reported = {**(self.reported_names or {}), kind: said}
        self.reported_names = {k: v for k, v in reported.items() if v} or None


def _said(names: Names) -> dict[str, Any]:
    return {
        field.name: value
        for field in fields(names)
        if (value := getattr(names, field.name)) is not None
    }


def _order(said: dict[str, Any]) -> list[tuple[str, str]]:
    """Give what was said a place in an order, so that of two equal times always the same wins."""
    return sorted((name, str(value)) for name, value in said.items())


def _rank(
    end: Build | BuildFinished, at: datetime, seconds: int | None, said: dict[str, Any]
) -> tuple[Any, ...]:
    """Return the order among ends of one build: by time, then by what they say."""
    return (
        at,
        end.status,
        end.error_category or "",
        end.error_type or "",
        end.error_message or "",
        -1 if seconds is None else seconds,
        _order(said),
    )


def new(event: BuildStarted | BuildFinished) -> Build:
    """Return the build of an event as long as nothing else is known of it."""
    return Build(request_hash=event.request_hash, build_id=event.build_id)


_COLUMNS: Final = tuple(field.name for field in fields(Build))


def load(connection: Connection, hashes: Sequence[str]) -> dict[str, dict[str, Build]]:
    """Return the known builds of each of `hashes`, by build_id."""
    found: dict[str, dict[str, Build]] = {request_hash: {} for request_hash in hashes}
    if hashes:
        t = build_metrics
        query = select(*(t.c[column] for column in _COLUMNS)).where(
            dialects.is_any(connection, t.c.request_hash, hashes)
        )
        for row in connection.execute(query):
            build = Build(**row._mapping)
            found[build.request_hash][build.build_id] = build
    return found


def save(connection: Connection, builds: Iterable[Build]) -> None:
    """Write builds that are new (without `id`) or changed."""
    t = build_metrics
    new, changed = [], []
    for build in sorted(builds, key=lambda build: build.key):
        row = {column: getattr(build, column) for column in _COLUMNS if column != "id"}
        if build.id is None:
            new.append(row)
        else:
            changed.append({**row, "row_id": build.id})
    if new:
        connection.execute(insert(t), new)
    if changed:
        values: dict[str, Any] = {
            column: bindparam(column) for column in _COLUMNS if column != "id"
        }
        connection.execute(update(t).where(t.c.id == bindparam("row_id")).values(values), changed)


def save_errors(
    connection: Connection, changes: Iterable[tuple[Build, Ended | None, Ended | None]]
) -> None:
    """Keep one row of `error_stats` per failed build; a change is (build, before, now)."""
    t = error_stats
    gone, new = [], []
    for build, before, now in changes:
        if before is not None and before.status in FAILED_STATUSES:
            gone.append({"hash": build.request_hash, "build": build.build_id})
        if now is not None and now.status in FAILED_STATUSES:
            new.append(
                {
                    "timestamp": now.at,
                    "error_category": now.category,
                    "error_type": now.type,
                    "version": now.version,
                    "target": now.target,
                    "profile": now.profile,
                    "request_hash": build.request_hash,
                    "build_id": build.build_id,
                }
            )
    if gone:
        here = (t.c.request_hash == bindparam("hash")) & (t.c.build_id == bindparam("build"))
        connection.execute(delete(t).where(here), gone)
    if new:
        connection.execute(insert(t), new)
