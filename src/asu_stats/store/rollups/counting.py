"""`COUNTS` declares for every fact to which sums of which rollups it adds.

Recording (`add_…` below) and recounting (`recount`) use this one table. Everything in a rollup is a
sum of such amounts. When a known fact changes, its old amounts are subtracted (`sign=-1`). Distinct
counts are different: see `request_days` and `definitions.DISTINCT`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any, Final

from asu_stats.events import NO_HASH, UNKNOWN, RequestReceived
from asu_stats.store.rollups import facts
from asu_stats.store.rollups.definitions import (
    ATTEMPTS,
    BUSY_SECONDS,
    CLIENT_DEVICES,
    CLIENT_ERRORS,
    CLIENT_VERSIONS,
    CLIENTS,
    DAILY,
    DURATIONS,
    ERRORS,
    FAILURES,
    HOURLY,
    HOURLY_CLIENTS,
    HOURLY_PROFILES,
    LEGACY,
    PACKAGE_COUNTS,
    PACKAGES,
    PHASES,
    PROFILES,
    REPEATS,
    ROOTFS_SIZES,
    UNTIMED,
    VERSION_TARGET,
    WAITS,
    Key,
    Rollup,
)
from asu_stats.store.rollups.deltas import Deltas
from asu_stats.store.rollups.names import Names, number_of


@dataclass(frozen=True, slots=True, eq=False)
class Count:
    """The sums of one rollup that a fact adds to.

    `key` names the fact's fields that form the rollup's key, after its day or hour. `sums` maps a
    column of the rollup to the property of the fact that is added to it.
    """

    rollup: Rollup
    key: tuple[str, ...]
    sums: Mapping[str, str]


_DEVICE: Final = ("version", "target", "profile")
_ERROR: Final = ("error_category", "error_type")
_REQUESTS: Final = {"request_count": "accepted", "cache_hits": "cache_hit"}
_BUILDS: Final = {
    "success_count": "succeeded",
    "failure_count": "failed",
    "timed_builds": "timed",
    "build_time_seconds": "timed_seconds",
}
_DIFF: Final = {
    "diff_packages_true": "with_diff_packages",
    "diff_packages_false": "without_diff_packages",
}
_CLIENT_REQUESTS: Final = {
    "requests": "accepted",
    "cache_hits": "cache_hit",
    "failed_builds": "cached_failure",  # failed immediately, see docs/reference/figures.md
    "rejected_requests": "rejected",
    "untraced_requests": "untraced",
}
_WITHOUT_HASH: Final = {
    "requests_without_hash": "without_hash",
    "rejected_without_hash": "rejected_without_hash",
}
_PATTERNS: Final = {
    "custom_repos_true": "with_custom_repos",
    "custom_repos_false": "without_custom_repos",
    "defaults_true": "with_defaults",
    "defaults_false": "without_defaults",
    "rootfs_size_true": "with_rootfs_size",
    "rootfs_size_false": "without_rootfs_size",
}
_MADE: Final = ("device", "asker", "worker", "package_list")
_FAILURE: Final = ("fingerprint", *_ERROR, "package", *_MADE, "request_hash")
_CLIENT_BUILDS: Final = {"successful_builds": "succeeded", "failed_builds": "failed"}

COUNTS: Final[Mapping[type[facts.Fact], Sequence[Count]]] = {
    # On the day and in the hour in which the request was received.
    facts.Request: (
        Count(
            DAILY,
            (),
            {
                "total_requests": "accepted",
                "cache_hits": "cache_hit",
                **_DIFF,
                "queued_requests": "queued",
                "joined_requests": "joined",
                "cached_failures": "cached_failure",
                "rejected_requests": "rejected",
                "untraced_requests": "untraced",
                **_WITHOUT_HASH,
            },
        ),
        Count(VERSION_TARGET, _DEVICE[:2], {**_REQUESTS, **_DIFF}),
        Count(PROFILES, _DEVICE, _REQUESTS),
        Count(HOURLY_PROFILES, _DEVICE, {**_REQUESTS, "queued_requests": "queued"}),
        Count(CLIENTS, ("client",), {**_CLIENT_REQUESTS, **_WITHOUT_HASH}),
        Count(HOURLY_CLIENTS, ("client", "version"), _CLIENT_REQUESTS),
        Count(CLIENT_VERSIONS, ("client", "version", "client_version"), {"requests": "accepted"}),
        Count(CLIENT_DEVICES, ("client", "target", "profile"), {"requests": "accepted"}),
        Count(CLIENT_ERRORS, ("client", *_ERROR), {"errors": "rejected"}),
        Count(PACKAGES, (*_DEVICE, "package_list"), {"requests": "with_package_list"}),
        Count(
            REPEATS,
            ("client", "request_hash"),
            {"rejected": "rejected_with_hash", "cached_failures": "cached_failure_with_hash"},
        ),
        Count(
            LEGACY,
            ("version",),
            {
                "request": "queued",
                "cache_hit": "cache_hit",
                "diff_packages_true": "queued_with_diff_packages",
                "diff_packages_false": "queued_without_diff_packages",
            },
        ),
    ),
    # On the day on which the request was received.
    facts.RequestOptions: (
        Count(CLIENT_VERSIONS, ("client", "version", "client_version"), _PATTERNS),
        Count(
            ROOTFS_SIZES, ("version", "client", "rootfs_size_mb"), {"requests": "with_rootfs_size"}
        ),
        Count(
            PACKAGE_COUNTS,
            ("version", "client", "package_count"),
            {"requests": "with_package_count"},
        ),
    ),
    # On the day and in the hour in which the request was received, once its build has ended.
    facts.Wait: (
        Count(CLIENTS, ("client",), _CLIENT_BUILDS),
        Count(HOURLY_CLIENTS, ("client", "version"), _CLIENT_BUILDS),
        Count(CLIENT_ERRORS, ("client", *_ERROR), {"errors": "failed"}),
        Count(REPEATS, ("client", "request_hash"), {"failed_builds": "failed"}),
        Count(WAITS, ("hour_of_week", "waited_seconds"), {"requests": "timed"}),
    ),
    # On the day and in the hour in which the build ended.
    facts.Build: (
        Count(
            DAILY,
            (),
            {
                "successful_builds": "succeeded",
                "failed_builds": "failed",
                "timeout_builds": "timed_out",
                "cancelled_builds": "cancelled",
                "timed_builds": "timed",
                "total_build_time_seconds": "timed_seconds",
            },
        ),
        Count(VERSION_TARGET, _DEVICE[:2], _BUILDS),
        Count(PROFILES, _DEVICE, _BUILDS),
        Count(HOURLY_PROFILES, _DEVICE, _BUILDS),
        Count(DURATIONS, ("version", "duration_seconds"), {"builds": "timed"}),
        Count(BUSY_SECONDS, ("duration_seconds",), {"builds": "with_duration"}),
        Count(
            LEGACY,
            ("version",),
            {
                "build_completed": "succeeded",
                "failure": "failed",
                "diff_packages_true": "succeeded_with_diff_packages",
                "diff_packages_false": "succeeded_without_diff_packages",
            },
        ),
    ),
    # On the day on which the build ended, by client and packages.
    facts.Attempt: (
        Count(
            ATTEMPTS,
            (*_MADE, "seconds"),
            {"successful_builds": "succeeded", "failed_builds": "failed"},
        ),
        Count(FAILURES, _FAILURE, {"failed_builds": "failed"}),
    ),
    # On the day of the failed build or the rejected request.
    facts.Error: (
        Count(ERRORS, (*_ERROR, "version", "target"), {"errors": "errors"}),
        Count(FAILURES, _FAILURE, {"rejected_requests": "rejections"}),
    ),
    # On the day on which the build ended.
    facts.Phase: (
        Count(PHASES, ("phase", "version", "worker", "milliseconds"), {"builds": "builds"}),
    ),
}

# The fields of keys: columns of the fact's detail table, or numbers of `NUMBERED`.
FIELDS: Final[Mapping[type[facts.Fact], tuple[str, ...]]] = {
    facts.Request: (*_DEVICE, "client", "client_version", *_ERROR, "request_hash", "package_list"),
    facts.RequestOptions: (
        "client",
        "version",
        "client_version",
        "rootfs_size_mb",
        "package_count",
    ),
    facts.Wait: (
        *("client", "version", *_ERROR, "request_hash"),
        *("hour_of_week", "waited_seconds"),
    ),
    facts.Build: (*_DEVICE, "duration_seconds"),
    facts.Attempt: (*_FAILURE, "seconds"),
    facts.Error: (*_FAILURE, "version", "target"),
    facts.Phase: ("phase", "version", "worker", "milliseconds"),
}
# Numbers in keys, and the columns whose names they stand for.
NUMBERED: Final[Mapping[str, tuple[str, ...]]] = {
    "device": _DEVICE,
    "asker": ("client", "client_version"),
    "worker": ("worker_id",),
}


@dataclass(frozen=True, slots=True)
class EndedBuild:
    """An ended build, with the data that figures need. `at` is its end, UTC without zone."""

    at: datetime
    status: str
    duration_seconds: int | None
    version: str
    target: str
    profile: str
    error_category: str | None
    error_type: str | None
    diff_packages: bool | None
    # Name and milliseconds of each phase of a successful build, and its worker.
    phases: tuple[tuple[str, int], ...] = ()
    worker: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class Attempt:
    """An ended build with its client, packages and error. `at` is its end.

    `device` are version, target and profile, `asker` client and client version of the earliest
    request that waited for it; `package_list` is what that request named, 0 if it named nothing.
    """

    at: datetime
    status: str
    fingerprint: str
    error_category: str
    error_type: str
    package: str
    device: Names
    asker: Names
    worker: Names
    package_list: int
    request_hash: str
    seconds: int = UNTIMED  # duration of a successful build


@dataclass(frozen=True, slots=True)
class Rejection:
    """Fingerprint of an error, and the package that it names, if any."""

    fingerprint: str = ""
    package: str = ""


@dataclass(frozen=True, slots=True)
class EndedWait:
    """A request of a client whose build has ended. It counts on the day of the request.

    `waited_seconds` passed until the build started; `None` if that is not known.
    """

    requested_at: datetime
    request_hash: str
    client: str
    version: str
    status: str
    error_category: str | None
    error_type: str | None
    waited_seconds: int | None

    @property
    def hour_of_week(self) -> int:
        """The hour of the week of the request: 0 is Monday 00:00."""
        return self.requested_at.weekday() * 24 + self.requested_at.hour


_request_fields = attrgetter(
    *FIELDS[facts.Request][:-1]
)  # all except the list, whose number is added
_option_fields = attrgetter(*FIELDS[facts.RequestOptions])
_wait_fields = attrgetter(*FIELDS[facts.Wait])
_build_fields = attrgetter(*FIELDS[facts.Build])
_error_fields = attrgetter(*_ERROR, "version", "target")
_NOT_COUNTED: Final = (0,) * len(_MADE)
_NOBODY: Final[Names] = (UNKNOWN,)


def add_request(
    deltas: Deltas,
    request: RequestReceived,
    received: datetime,
    package_list: int | None,
    said: Rejection,
) -> None:
    """Count a request and, if it was rejected, its error.

    `package_list` is the number of its list; `said` has fingerprint and package of its error.
    """
    fact = facts.Request(
        request.outcome,
        request.diff_packages,
        request.request_hash != NO_HASH,
        package_list is not None,
    )
    _add(deltas, fact, received, (*_request_fields(request), package_list))
    if fact.rejected:
        category, error_type, *names = _error_fields(request)
        device = request.version, request.target, request.profile
        asker = request.client, request.client_version
        numbers = _numbers(deltas, device, asker, _NOBODY)
        key = said.fingerprint, category, error_type, said.package, *numbers, 0
        _add(deltas, _REJECTION, received, (*key, request.request_hash, *names))
        return
    size = request.rootfs_size_mb
    features = facts.RequestOptions(
        request.outcome,
        request.has_custom_repos,
        request.has_defaults,
        None if size is None else size > 0,
        request.package_count is not None,
    )
    _add(deltas, features, received, _option_fields(request))


def add_ended_build(deltas: Deltas, build: EndedBuild, sign: int = 1) -> None:
    """Count an ended build and, if it failed, its error."""
    fact = facts.Build(build.status, build.duration_seconds, build.diff_packages)
    _add(deltas, fact, build.at, _build_fields(build), sign)
    if fact.failed:
        category, error_type, *names = _error_fields(build)
        key = "", category, error_type, "", *_NOT_COUNTED, ""
        _add(deltas, _FAILED_BUILD, build.at, (*key, *names), sign)
    for phase, milliseconds in build.phases:
        _add(deltas, _ONE_PHASE, build.at, (phase, build.version, build.worker, milliseconds), sign)


def add_attempt(deltas: Deltas, attempt: Attempt, sign: int = 1) -> None:
    """Count an ended build by client and packages and, if it failed, by fingerprint."""
    numbers = _numbers(deltas, attempt.device, attempt.asker, attempt.worker)
    kind = attempt.fingerprint, attempt.error_category, attempt.error_type, attempt.package
    fields = *kind, *numbers, attempt.package_list, attempt.request_hash, attempt.seconds
    _add(deltas, facts.Attempt(attempt.status), attempt.at, fields, sign)


def _numbers(deltas: Deltas, *names: Names) -> list[int]:
    """Return the numbers of names, and store the names with the deltas."""
    numbers = [number_of(each) for each in names]
    deltas.names.update(zip(numbers, names, strict=True))
    return numbers


def add_ended_wait(deltas: Deltas, wait: EndedWait, sign: int = 1) -> None:
    """Count the result of a request for its client; a cancelled build leaves it pending."""
    fact = facts.Wait(wait.status, wait.waited_seconds is not None)
    _add(deltas, fact, wait.requested_at, _wait_fields(wait), sign)


_REJECTION: Final = facts.Error(1, is_rejection=True)
_FAILED_BUILD: Final = facts.Error(1, is_rejection=False)
_ONE_PHASE: Final = facts.Phase(1)


def _add(
    deltas: Deltas, fact: facts.Fact, at: datetime, fields: Sequence[Any], sign: int = 1
) -> None:
    """Add the amounts of a fact to each rollup; `fields` are the values of its `FIELDS`."""
    values = (at.date(), at.replace(minute=0, second=0, microsecond=0), *fields)
    for rollup, key_of, added in _plan(fact, sign):
        deltas.add(rollup, key_of(values), added)


@lru_cache(maxsize=1 << 16, typed=True)  # facts of two kinds may have equal fields
def _plan(
    fact: facts.Fact, sign: int
) -> list[tuple[Rollup, Callable[[Sequence[Any]], Key], tuple[int, ...]]]:
    """Return the rollups that a fact adds to, with its keys and amounts."""
    kind = type(fact)
    plan = []
    for count in COUNTS[kind]:
        found = amounts(count, fact)
        if found:
            time = "hour" if count.rollup in HOURLY else "day"
            key_of = picker(("day", "hour", *FIELDS[kind]), (time, *count.key))
            plan.append((count.rollup, key_of, tuple(sign * amount for amount in found)))
    return plan


@lru_cache(maxsize=1 << 16, typed=True)  # facts of two types may be equal tuples
def amounts(count: Count, fact: facts.Fact) -> tuple[int, ...]:
    """Return the amounts that a fact adds to a rollup, in column order, without trailing zeros."""
    names = (count.sums.get(column) for column in count.rollup.adds)
    found = [0 if name is None else int(getattr(fact, name)) for name in names]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def picker(names: Sequence[str], wanted: Sequence[str]) -> Callable[[Sequence[Any]], Key]:
    """Return a function that picks the `wanted` values, as a tuple, from values of `names`."""
    places = [names.index(name) for name in wanted]
    if len(places) > 1:
        return itemgetter(*places)
    return itemgetter(slice(places[0], places[0] + 1) if places else slice(0))
