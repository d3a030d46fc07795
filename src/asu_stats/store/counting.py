"""What one request, one ended build and one ended wait add to the rollups (contract §2).

The only place that says which event counts where. Everything here is a sum over such additions;
when something known changes, what it added before is taken back (`sign=-1`).
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from asu_stats.events import FAILED_STATUSES, IMPORTED_OUTCOMES, UNTRACED_OUTCOMES, RequestReceived
from asu_stats.store.rollups import (
    CLIENT_DEVICES,
    CLIENT_ERRORS,
    CLIENT_VERSIONS,
    CLIENTS,
    DAILY,
    DURATIONS,
    ERRORS,
    HOURLY_CLIENTS,
    HOURLY_PROFILES,
    LEGACY,
    PACKAGES,
    PROFILES,
    VERSION_TARGET,
    Deltas,
)


def naive(instant: datetime) -> datetime:
    """Return a UTC instant as the store keeps it: without zone."""
    return instant.replace(tzinfo=None)


def hour_of(instant: datetime) -> datetime:
    """Return the beginning of the hour of a stored time."""
    return instant.replace(minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Ended:
    """An ended build, as far as it counts."""

    at: datetime
    status: str
    seconds: int | None
    version: str
    target: str
    profile: str
    category: str | None
    type: str | None
    diff_packages: bool | None


@dataclass(frozen=True, slots=True)
class EndedWait:
    """A request of a client whose build has ended: counted on the day of the request (§2.5)."""

    requested_at: datetime
    client: str
    version: str
    status: str
    category: str | None
    type: str | None


# What a request adds to the first sums of `stats_daily`, by outcome and diff_packages.
_DAILY: Final = {
    (outcome, diff): (
        *(1, int(outcome == "cache_hit"), 0, 0, 0, int(diff is True), int(diff is False)),
        *(int(outcome == "queued"), int(outcome == "joined"), int(outcome == "cached_failure")),
    )
    for outcome in IMPORTED_OUTCOMES
    for diff in (True, False, None)
}


def add_request(deltas: Deltas, request: RequestReceived, received: datetime) -> None:
    """Count a request by its outcome; distinct counts are added by `request_days`."""
    outcome, version, target, profile = (
        request.outcome,
        request.version,
        request.target,
        request.profile,
    )
    client, day, hour = request.client, received.date(), hour_of(received)
    if outcome == "rejected":
        _add_rejected(deltas, request, day, hour)
        return
    hit = (1, 1) if outcome == "cache_hit" else (1,)
    of_client = (1, 0, 0, 1) if outcome == "cached_failure" else hit
    daily = _DAILY[outcome, request.diff_packages]
    deltas.add(DAILY, (day,), daily)
    deltas.add(VERSION_TARGET, (day, version, target), daily[:2] + _NO_BUILD + daily[5:7])
    deltas.add(PROFILES, (day, version, target, profile), hit)
    deltas.add(HOURLY_PROFILES, (hour, version, target, profile), hit)
    deltas.add(CLIENTS, (day, client), of_client)
    deltas.add(HOURLY_CLIENTS, (hour, client, version), of_client)
    deltas.add(CLIENT_VERSIONS, (day, client, version, request.client_version), _ONE)
    deltas.add(CLIENT_DEVICES, (day, client, target, profile), _ONE)
    if outcome == "queued":
        deltas.add(LEGACY, (day, version), (1, 0, 0, 0, *daily[5:7]))
    elif outcome == "cache_hit":
        deltas.add(LEGACY, (day, version), (0, 1))


def add_packages(
    deltas: Deltas, request: RequestReceived, received: datetime, package_list: int
) -> None:
    """Count that a request asked for a list of packages."""
    deltas.add(PACKAGES, (received.date(), request.version, request.target, package_list), _ONE)


def add_unhashed(deltas: Deltas, request: RequestReceived, received: datetime) -> None:
    """Count beside `add_request` what can't be known of a request without hash.

    Which request it is, and where it waited, how its build ended for the client.
    """
    if request.outcome == "rejected":
        return
    client, day = request.client, received.date()
    untraced = int(request.outcome in UNTRACED_OUTCOMES)
    for rollup, key in ((DAILY, (day,)), (CLIENTS, (day, client))):
        deltas.add_one(rollup, key, "requests_without_hash", 1)
        deltas.add_one(rollup, key, "untraced_requests", untraced)
    of_hour = hour_of(received), client, request.version
    deltas.add_one(HOURLY_CLIENTS, of_hour, "untraced_requests", untraced)


_ONE: Final = (1,)
_NO_BUILD: Final = (0, 0, 0, 0)  # good, bad, timed, seconds


def _add_rejected(deltas: Deltas, request: RequestReceived, day: date, hour: datetime) -> None:
    client, kind = request.client, (request.error_category, request.error_type)
    deltas.add(DAILY, (day,), (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))
    deltas.add(CLIENTS, (day, client), (0, 0, 0, 0, 1))
    deltas.add(HOURLY_CLIENTS, (hour, client, request.version), (0, 0, 0, 0, 1))
    deltas.add(ERRORS, (day, *kind, request.version, request.target), _ONE)
    deltas.add(CLIENT_ERRORS, (day, client, *kind), _ONE)


def add_ended(deltas: Deltas, ended: Ended, sign: int = 1) -> None:
    """Count an ended build on the day it finished."""
    day, hour = ended.at.date(), hour_of(ended.at)
    if ended.status == "cancelled":
        deltas.add(DAILY, (day,), (0,) * 13 + (sign,))
        return
    good = sign * (ended.status == "success")
    bad = sign * (ended.status in FAILED_STATUSES)
    timed = good * (ended.seconds is not None)
    seconds = timed * (ended.seconds or 0)
    names = ended.version, ended.target, ended.profile
    timeout = sign * (ended.status == "timeout")
    deltas.add(DAILY, (day,), (0, 0, good, bad, seconds, 0, 0, 0, 0, 0, 0, timed, timeout))
    deltas.add(VERSION_TARGET, (day, *names[:2]), (0, 0, good, bad, timed, seconds))
    deltas.add(PROFILES, (day, *names), (0, 0, good, bad, timed, seconds))
    deltas.add(HOURLY_PROFILES, (hour, *names), (0, 0, good, bad, timed, seconds))
    diff = good * (ended.diff_packages is True), good * (ended.diff_packages is False)
    deltas.add(LEGACY, (day, ended.version), (0, 0, good, bad, *diff))
    if timed:
        deltas.add(DURATIONS, (day, ended.version, ended.seconds), (timed,))
    if bad:
        deltas.add(ERRORS, (day, ended.category, ended.type, *names[:2]), (bad,))


def add_ended_wait(deltas: Deltas, wait: EndedWait, sign: int = 1) -> None:
    """Count for its client how a request's build ended; a cancelled one leaves it pending."""
    day = wait.requested_at.date()
    good = sign * (wait.status == "success")
    bad = sign * (wait.status in FAILED_STATUSES)
    if not (good or bad):
        return
    deltas.add(CLIENTS, (day, wait.client), (0, 0, good, bad))
    hour = hour_of(wait.requested_at)
    deltas.add(HOURLY_CLIENTS, (hour, wait.client, wait.version), (0, 0, good, bad))
    if bad:
        deltas.add(CLIENT_ERRORS, (day, wait.client, wait.category, wait.type), (bad,))
