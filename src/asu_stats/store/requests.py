"""Requests as the store knows them: rows of `request_metadata` and `client_stats`.

The names of a request hash are those of its earliest request, so they do not depend on the order
of arrival even where requests of one hash contradict each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import Connection, bindparam, insert, select, update

from asu_stats.events import FAILED_STATUSES, WAITING_OUTCOMES, RequestReceived
from asu_stats.store import dialects
from asu_stats.store.counting import EndedWait, naive
from asu_stats.store.tables import client_stats, error_stats, request_metadata

# `ended_at` of a request whose build has not ended: later than any end.
NOT_ENDED: Final = datetime.max  # noqa: DTZ901 - stored times have no zone


class RequestNames(NamedTuple):
    """What a request hash stands for."""

    version: str
    target: str
    profile: str
    diff_packages: bool | None


@dataclass(slots=True, kw_only=True)
class Metadata:
    """A row of `request_metadata`; the names of the fields are its columns."""

    request_hash: str
    version: str
    target: str
    profile: str
    diff_packages: bool
    package_count: int | None = None
    has_custom_repos: bool | None = None
    has_defaults: bool | None = None
    rootfs_size_mb: int | None = None
    first_requested_at: datetime
    last_requested_at: datetime
    total_requests: int = 0
    cache_hits: int = 0
    successful_builds: int = 0
    failed_builds: int = 0
    request_number: int = 0

    @classmethod
    def of(cls, request: RequestReceived) -> Self:
        """Return the row of a hash that was never asked for before, not counting `request` yet."""
        received = naive(request.time)
        return cls(
            request_hash=request.request_hash,
            version=request.version,
            target=request.target,
            profile=request.profile,
            diff_packages=request.diff_packages,
            first_requested_at=received,
            last_requested_at=received,
        )

    @property
    def names(self) -> RequestNames:
        """Version, target, profile and diff_packages of the hash."""
        return RequestNames(self.version, self.target, self.profile, self.diff_packages)

    def take(self, request: RequestReceived) -> None:
        """Count `request` in."""
        received, names = naive(request.time), _names(request)
        if (received, names) < (self.first_requested_at, self.names):
            self.first_requested_at = received
            self.version, self.target, self.profile = names[:3]
            self.diff_packages = request.diff_packages
        self.last_requested_at = max(self.last_requested_at, received)
        self.total_requests += request.outcome != "rejected"
        self.cache_hits += request.outcome == "cache_hit"
        for field in ("package_count", "has_custom_repos", "has_defaults", "rootfs_size_mb"):
            known, said = getattr(self, field), getattr(request, field)
            if said is not None and (known is None or said > known):
                setattr(self, field, said)

    def count_build(self, status: str, count: int) -> None:
        """Count builds of the hash by how they ended."""
        self.successful_builds += count * (status == "success")
        self.failed_builds += count * (status in FAILED_STATUSES)


@dataclass(slots=True, kw_only=True)
class Wait:
    """A request that waits, or waited, for a build; `id` is its row in `client_stats`."""

    id: int | None
    request_hash: str
    timestamp: datetime
    client: str
    version: str
    status: str = "queued"
    ended_at: datetime = NOT_ENDED
    build_id: str | None = None
    error_category: str | None = None
    error_type: str | None = None

    def ended(self) -> EndedWait | None:
        """Return what counts of it, `None` while the build has not ended."""
        if self.ended_at == NOT_ENDED:
            return None
        return EndedWait(
            self.timestamp,
            self.client,
            self.version,
            self.status,
            self.error_category,
            self.error_type,
        )


def _names(request: RequestReceived) -> RequestNames:
    return RequestNames(request.version, request.target, request.profile, request.diff_packages)


_COLUMNS: Final = tuple(field.name for field in fields(Metadata))
_WAIT_COLUMNS: Final = tuple(field.name for field in fields(Wait))


def load(connection: Connection, hashes: Sequence[str]) -> dict[str, Metadata]:
    """Return what is known of each of `hashes`."""
    t = request_metadata
    query = select(*(t.c[column] for column in _COLUMNS)).where(
        dialects.is_any(connection, t.c.request_hash, hashes)
    )
    return {row.request_hash: Metadata(**row._mapping) for row in connection.execute(query)}


def save(connection: Connection, new: Iterable[Metadata], changed: Iterable[Metadata]) -> None:
    """Write the rows of hashes."""
    t = request_metadata
    rows, updates = (
        [
            {column: getattr(item, column) for column in _COLUMNS}
            for item in sorted(items, key=lambda item: item.request_hash)
        ]
        for items in (new, changed)
    )
    if rows:
        connection.execute(insert(t), rows)
    if updates:
        for row in updates:
            row["hash"] = row.pop("request_hash")
        values: dict[str, Any] = {
            column: bindparam(column) for column in _COLUMNS if column != "request_hash"
        }
        here = t.c.request_hash == bindparam("hash")
        connection.execute(update(t).where(here).values(values), updates)


def load_waits(connection: Connection, since: dict[str, datetime]) -> list[Wait]:
    """Return the waiting requests of each hash that had not ended before the given time."""
    t = client_stats
    given = dialects.rows_of(
        connection,
        [
            ("request_hash", t.c.request_hash.type, list(since)),
            ("since", t.c.timestamp.type, list(since.values())),
        ],
    )
    query = select(*(t.c[column] for column in _WAIT_COLUMNS)).join_from(
        given,
        t,
        (t.c.request_hash == given.c.request_hash) & (t.c.ended_at >= given.c.since),
    )
    return [Wait(**row._mapping) for row in connection.execute(query)]


def save_waits(connection: Connection, waits: Iterable[Wait]) -> None:
    """Write how known waiting requests have ended."""
    t = client_stats
    columns = ("status", "ended_at", "build_id", "error_category", "error_type")
    rows = [{"row_id": w.id, **{c: getattr(w, c) for c in columns}} for w in waits]
    if rows:
        values: dict[str, Any] = {column: bindparam(column) for column in columns}
        connection.execute(update(t).where(t.c.id == bindparam("row_id")).values(values), rows)


def save_requests(
    connection: Connection, requests: Sequence[RequestReceived], waits: dict[int, Wait]
) -> None:
    """Write the rows of new requests; `waits` are those that wait, by place in `requests`."""
    rows, errors = [], []
    for place, request in enumerate(requests):
        wait = waits.get(place)
        rows.append(_row(request, wait))
        if request.outcome == "rejected":
            errors.append(_error_row(request))
    if rows:
        connection.execute(insert(client_stats), rows)
    if errors:
        connection.execute(insert(error_stats), errors)


def _row(request: RequestReceived, wait: Wait | None) -> dict[str, Any]:
    status = {"cache_hit": "success", "cached_failure": "failure", "rejected": "rejected"}
    return {
        "client": request.client,
        "timestamp": naive(request.time),
        "request_hash": request.request_hash,
        "cache_hit": request.outcome == "cache_hit",
        "status": wait.status if wait else status[request.outcome],
        "client_version": request.client_version,
        "outcome": request.outcome,
        "version": request.version,
        "target": request.target,
        "profile": request.profile,
        "diff_packages": request.diff_packages,
        "ended_at": wait.ended_at if wait else None,
        "build_id": wait.build_id if wait else None,
        "error_category": wait.error_category if wait else request.error_category,
        "error_type": wait.error_type if wait else request.error_type,
    }


def _error_row(request: RequestReceived) -> dict[str, Any]:
    return {
        "timestamp": naive(request.time),
        "error_category": request.error_category,
        "error_type": request.error_type,
        "version": request.version,
        "target": request.target,
        "profile": request.profile,
        "request_hash": request.request_hash,
        "client": request.client,
        "error_message": request.error_message,
    }


def new_wait(request: RequestReceived) -> Wait | None:
    """Return the wait that a request begins, `None` where it waits for nothing."""
    if request.outcome not in WAITING_OUTCOMES:
        return None
    return Wait(
        id=None,
        request_hash=request.request_hash,
        timestamp=naive(request.time),
        client=request.client,
        version=request.version,
    )
