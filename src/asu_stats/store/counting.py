"""What one request, one ended build and one ended wait add to the rollups (contract §2).

The only place that says which event counts where. Everything here is a sum over such additions;
when something known changes, what it added before is taken back (`sign=-1`).
"""

from dataclasses import dataclass
from datetime import datetime

from asu_stats.events import FAILED_STATUSES, RequestReceived
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


@dataclass(frozen=True, slots=True)
class EndedWait:
    """A request of a client whose build has ended: counted on the day of the request (§2.5)."""

    requested_at: datetime
    client: str
    version: str
    status: str
    category: str | None
    type: str | None


def add_request(deltas: Deltas, request: RequestReceived) -> None:
    """Count a request by its outcome; distinct counts are added by `request_days`."""
    received = naive(request.time)
    day, hour = received.date(), hour_of(received)
    if request.outcome == "rejected":
        _add_rejected(deltas, request, received)
        return
    hit = int(request.outcome == "cache_hit")
    known_failure = int(request.outcome == "cached_failure")
    queued = int(request.outcome == "queued")
    joined = int(request.outcome == "joined")
    diff, full = int(request.diff_packages), int(not request.diff_packages)
    version, target, profile, client = (
        request.version,
        request.target,
        request.profile,
        request.client,
    )
    deltas.add(DAILY, (day,), (1, hit, 0, 0, 0, diff, full, queued, joined, known_failure))
    deltas.add(VERSION_TARGET, (day, version, target), (1, hit, 0, 0, 0, 0, diff, full))
    deltas.add(PROFILES, (day, version, target, profile), (1, hit))
    deltas.add(HOURLY_PROFILES, (hour, version, target, profile), (1, hit))
    deltas.add(CLIENTS, (day, client), (1, hit, 0, known_failure))
    deltas.add(HOURLY_CLIENTS, (hour, client, version), (1, hit, 0, known_failure))
    deltas.add(CLIENT_VERSIONS, (day, client, version, request.client_version), (1,))
    deltas.add(CLIENT_DEVICES, (day, client, target, profile), (1,))


def _add_rejected(deltas: Deltas, request: RequestReceived, received: datetime) -> None:
    day, client = received.date(), request.client
    kind = request.error_category, request.error_type
    deltas.add(DAILY, (day,), (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))
    deltas.add(CLIENTS, (day, client), (0, 0, 0, 0, 1))
    deltas.add(HOURLY_CLIENTS, (hour_of(received), client, request.version), (0, 0, 0, 0, 1))
    deltas.add(ERRORS, (day, *kind, request.version, request.target), (1,))
    deltas.add(CLIENT_ERRORS, (day, client, *kind), (1,))


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
