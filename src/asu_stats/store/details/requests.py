"""Requests: rows of `request_metadata` and `client_stats`.

The names of a request hash are those of its earliest request. They do not depend on the order of
arrival, even if requests of one hash contradict each other.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple, Self, TypeAlias

from sqlalchemy import (
    Connection,
    FromClause,
    Select,
    Update,
    select,
    update,
)

from asu_stats.events import (
    FAILED_STATUSES,
    UNKNOWN,
    UNTRACED_OUTCOMES,
    WAITING_OUTCOMES,
    RequestReceived,
)
from asu_stats.store.database import partitions, statements
from asu_stats.store.database.schema import client_stats, error_stats, request_metadata
from asu_stats.store.details import package_lists
from asu_stats.store.rollups.counting import EndedWait, Rejection

# `ended_at` of a request whose build has not ended: later than any end.
NOT_ENDED: Final = datetime.max  # noqa: DTZ901 - stored times have no zone
# `status` of a request without hash: the build that it waited for is unknown.
UNTRACED: Final = "unknown"


# A request, and the time when it was received, without zone.
Received: TypeAlias = tuple[RequestReceived, datetime]


class RequestNames(NamedTuple):
    """The names that a request hash stands for."""

    version: str
    target: str
    profile: str
    diff_packages: bool | None


_names = attrgetter("version", "target", "profile", "diff_packages")
_FEATURES: Final = ("package_count", "has_custom_repos", "has_defaults", "rootfs_size_mb")
_features = attrgetter(*_FEATURES)


@dataclass(slots=True)
class Metadata:
    """A row of `request_metadata`; the names of the fields are its columns."""

    request_hash: str
    version: str
    target: str
    profile: str
    diff_packages: bool
    first_requested_at: datetime
    last_requested_at: datetime
    package_count: int | None = None
    has_custom_repos: bool | None = None
    has_defaults: bool | None = None
    rootfs_size_mb: int | None = None
    total_requests: int = 0
    cache_hits: int = 0
    successful_builds: int = 0
    failed_builds: int = 0
    request_number: int = 0

    @classmethod
    def of(cls, request: RequestReceived, received: datetime, number: int) -> Self:
        """Return the row of a new hash, before `request` is counted."""
        return cls(
            request.request_hash,
            *_names(request),
            first_requested_at=received,
            last_requested_at=received,
            request_number=number,
        )

    @property
    def names(self) -> RequestNames:
        """Version, target, profile and diff_packages of the hash."""
        return RequestNames(*_names(self))

    def count_request(self, request: RequestReceived, received: datetime) -> bool:
        """Count `request`. Returns whether the names of the hash changed."""
        changed = False
        if received <= self.first_requested_at:
            mine, names = _names(self), _names(request)
            if (received, names) < (self.first_requested_at, mine):
                self.first_requested_at = received
                self.version, self.target, self.profile, self.diff_packages = names
                changed = mine != names
        if received > self.last_requested_at:
            self.last_requested_at = received
        self.total_requests += request.outcome != "rejected"
        self.cache_hits += request.outcome == "cache_hit"
        if (mine := _features(self)) != (theirs := _features(request)):
            for field, known, said in zip(_FEATURES, mine, theirs, strict=True):
                if said is not None and (known is None or said > known):
                    setattr(self, field, said)
        return changed

    def count_build(self, status: str, count: int) -> None:
        """Count builds of the hash by status."""
        self.successful_builds += count * (status == "success")
        self.failed_builds += count * (status in FAILED_STATUSES)


@dataclass(slots=True)
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
    waited_seconds: int | None = None
    client_version: str = UNKNOWN
    package_list: int | None = None

    def keep_waiting(self, *, building: bool) -> None:
        """Wait for the end of a build, whether or not it is `building`."""
        self.status, self.ended_at = "building" if building else "queued", NOT_ENDED
        self.build_id = self.error_category = self.error_type = self.waited_seconds = None

    def ended(self) -> EndedWait | None:
        """Return the fact that counts, `None` while the build has not ended."""
        if self.ended_at == NOT_ENDED:
            return None
        return EndedWait(
            self.timestamp,
            self.request_hash,
            self.client,
            self.version,
            self.status,
            self.error_category,
            self.error_type,
            self.waited_seconds,
        )


_COLUMNS: Final = tuple(field.name for field in fields(Metadata))
_WAIT_COLUMNS: Final = tuple(field.name for field in fields(Wait))
_HASH: Final = (("request_hash", request_metadata.c.request_hash.type),)
_HASH_SINCE: Final = (*_HASH, ("since", client_stats.c.timestamp.type))
_HASH_WITHIN: Final = (
    *_HASH_SINCE,
    *((name, client_stats.c.timestamp.type) for name in ("first", "last", "until")),
)
_values = attrgetter(*_COLUMNS)
# What most requests and builds of a known hash change, and all else.
_COUNTED: Final = (
    *("last_requested_at", "total_requests", "cache_hits"),
    *("successful_builds", "failed_builds"),
)
_counted = attrgetter("request_hash", *_COUNTED)
described = attrgetter(*(name for name in _COLUMNS if name not in _COUNTED))


def _known(given: FromClause) -> Select[Any]:
    """Select the rows of given hashes."""
    t = request_metadata
    same = t.c.request_hash == given.c.request_hash
    return select(*(t.c[column] for column in _COLUMNS)).join_from(given, t, same)


def send_load(connection: Connection, hashes: Iterable[str]) -> Callable[[], dict[str, Metadata]]:
    """Ask for the metadata of each known hash, as in `statements.send`."""
    rows = statements.send_for(connection, _known, _HASH, [(value,) for value in hashes])
    return lambda: {row[0]: Metadata(*row) for row in rows()}


def save(
    connection: Connection,
    metadata: Iterable[Metadata],
    known: Mapping[str, tuple[Any, ...]],
) -> None:
    """Write the rows of hashes, given the `described` values of known ones as they are stored."""
    new, changed, counted = [], [], []
    for item in metadata:
        before = known.get(item.request_hash)
        if before is None:
            new.append(_values(item))
        elif before != described(item):
            changed.append(_values(item))
        else:
            counted.append(_counted(item))
    key, columns = _COLUMNS[:1], _COLUMNS[1:]
    statements.insert(connection, request_metadata, _COLUMNS, sorted(new))
    statements.update(connection, request_metadata, key, columns, sorted(changed))
    statements.update(connection, request_metadata, key, _COUNTED, sorted(counted))


def _waiting(given: FromClause) -> Select[Any]:
    """Select the waiting requests of given hashes that had not ended before given times."""
    t = client_stats
    here = (t.c.request_hash == given.c.request_hash) & (t.c.ended_at >= given.c.since)
    return select(*(t.c[column] for column in _WAIT_COLUMNS)).join_from(given, t, here)


def _waiting_within(given: FromClause) -> Select[Any]:
    """Select the same, reading only the months between the given times."""
    moment = client_stats.c.timestamp
    here = partitions.between(moment, given.c.first, given.c.last)
    return _waiting(given).where(here, partitions.within(moment, "first", "until"))


def send_load_waits(
    connection: Connection, since: Mapping[str, datetime], metadata: Mapping[str, Metadata]
) -> Callable[[], list[Wait]]:
    """Ask for the waits of each hash that had not ended before a time, as in `statements.send`.

    `metadata` of a hash says between which times its requests are.
    """
    if partitions.are_used(connection):
        known = {each: metadata[each] for each in since if each in metadata}
        until = max((each.last_requested_at for each in known.values()), default=None)
        spans = [
            (each, since[each], of.first_requested_at, of.last_requested_at, until)
            for each, of in known.items()
        ]
        spans.sort(key=itemgetter(2, 0))
        rows = statements.send_for(connection, _waiting_within, _HASH_WITHIN, spans)
    else:
        rows = statements.send_for(connection, _waiting, _HASH_SINCE, sorted(since.items()))
    return lambda: [Wait(*row) for row in rows()]


def send_waits_ahead(
    connection: Connection, earliest: Mapping[str, datetime], metadata: Mapping[str, Metadata]
) -> Callable[[Mapping[str, datetime]], list[Wait]]:
    """Ask for waits before it is known which are wanted: those not ended before `earliest` times.

    The returned function takes what `send_load_waits` takes, and asks again if it wants others.
    """
    sent = send_load_waits(connection, earliest, metadata)

    def waits(since: Mapping[str, datetime]) -> list[Wait]:
        if not all(name in earliest and earliest[name] <= at for name, at in since.items()):
            return send_load_waits(connection, since, metadata)()
        return [
            wait
            for wait in sent()
            if (first := since.get(wait.request_hash)) is not None and wait.ended_at >= first
        ]

    return waits


def earliest(
    connection: Connection, waits: Sequence[Wait], digests: Mapping[int, str]
) -> Wait | None:
    """Return the wait that began first. With equal times, the order of arrival does not matter.

    `digests` are known digests of package lists by number.
    """
    if len(waits) < 2:
        return waits[0] if waits else None
    first = min(_began(wait) for wait in waits)
    tied = [wait for wait in waits if _began(wait) == first]
    if len({wait.package_list for wait in tied}) == 1:
        return tied[0]
    lists = (wait.package_list or 0 for wait in tied)
    digests = package_lists.digests(connection, lists, digests)
    return min(tied, key=lambda wait: digests.get(wait.package_list or 0, ""))


asker = attrgetter("client", "client_version", "package_list")
_began = attrgetter("timestamp", "client", "client_version")
_ENDING: Final = (
    *("status", "ended_at", "build_id"),
    *("error_category", "error_type", "waited_seconds"),
)
_ending = attrgetter("id", *_ENDING)


def save_waits(connection: Connection, waits: Iterable[Wait]) -> None:
    """Store the results of waiting requests that were known."""
    if not partitions.are_used(connection):
        rows = [_ending(wait) for wait in waits]
        statements.update(connection, client_stats, ("id",), _ENDING, rows)
        return
    found = sorted(waits, key=attrgetter("timestamp"))
    until = found[-1].timestamp if found else None
    rows = [(*_ending(wait), wait.timestamp, until) for wait in found]
    statements.update_for(connection, _end_waits, _ENDED, rows)


_ENDED: Final = (
    ("id", client_stats.c.id.type),
    *((name, client_stats.c[name].type) for name in _ENDING),
    *((name, client_stats.c.timestamp.type) for name in ("timestamp", "until")),
)


def _end_waits(given: FromClause) -> Update:
    """Set the results of given requests, reading only the months between their times."""
    t, moment = client_stats, client_stats.c.timestamp
    here = (t.c.id == given.c.id) & (moment == given.c.timestamp)
    months = partitions.within(moment, "timestamp", "until")
    return update(t).where(here, months).values({name: given.c[name] for name in _ENDING})


_ROW: Final = (
    "client",
    "timestamp",
    "request_hash",
    "cache_hit",
    "client_version",
    "outcome",
    "version",
    "target",
    "profile",
    "diff_packages",
    *_ENDING,
    *_FEATURES,
    "package_list",
)
_ERROR: Final = (
    "timestamp",
    "error_category",
    "error_type",
    "version",
    "target",
    "request_hash",
    "profile",
    "client",
    "error_message",
    "client_version",
    "fingerprint",
    "package",
)


def save_requests(
    connection: Connection,
    requests: Sequence[Received],
    waits: Mapping[int, Wait],
    package_lists: Mapping[int, int],
    said: Mapping[int, Rejection],
) -> None:
    """Write the rows of new requests.

    `waits`, `package_lists` (numbers) and `said` (errors of rejected requests) are by place in
    `requests`.
    """
    rows = [
        _row(*item, waits.get(place), package_lists.get(place))
        for place, item in enumerate(requests)
    ]
    statements.insert(connection, client_stats, _ROW, rows)
    errors = [_error(*requests[place], rejection) for place, rejection in said.items()]
    statements.insert(connection, error_stats, _ERROR, errors)


# For requests that do not wait. One that waited without a hash has ended in some way.
_STATUS: Final = {
    "cache_hit": "success",
    "cached_failure": "failure",
    "rejected": "rejected",
    **dict.fromkeys(UNTRACED_OUTCOMES, UNTRACED),
}


def _row(
    request: RequestReceived, received: datetime, wait: Wait | None, package_list: int | None
) -> tuple[Any, ...]:
    """Return the row of a request, in the order of `_ROW`."""
    if wait is None:
        category, kind = request.error_category, request.error_type
        ending = (None, _STATUS[request.outcome], None, None, category, kind, None)
    else:
        ending = _ending(wait)
    return (
        request.client,
        received,
        request.request_hash,
        request.outcome == "cache_hit",
        request.client_version,
        request.outcome,
        request.version,
        request.target,
        request.profile,
        request.diff_packages,
        *ending[1:],
        *_features(request),
        package_list,
    )


def _error(request: RequestReceived, received: datetime, said: Rejection) -> tuple[Any, ...]:
    """Return the row of a rejection, in the order of `_ERROR`."""
    return (
        received,
        request.error_category,
        request.error_type,
        request.version,
        request.target,
        request.request_hash,
        request.profile,
        request.client,
        request.error_message,
        request.client_version,
        said.fingerprint,
        said.package or None,
    )


def new_wait(request: RequestReceived, received: datetime) -> Wait | None:
    """Return the wait that begins with a request, `None` if it does not wait."""
    if request.outcome not in WAITING_OUTCOMES:
        return None
    return Wait(
        id=None,
        request_hash=request.request_hash,
        timestamp=received,
        client=request.client,
        version=request.version,
        client_version=request.client_version,
    )
