"""Fingerprints and packages of the errors of a batch."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from asu_stats.events import FAILED_STATUSES, UNKNOWN, BuildFinished, Event, RequestReceived
from asu_stats.store.details import error_fingerprints
from asu_stats.store.details.builds import Build
from asu_stats.store.details.error_fingerprints import ErrorOccurrence, Known, Resolved
from asu_stats.store.details.requests import Received
from asu_stats.store.rollups.counting import Rejection
from asu_stats.times import naive

NO_ERROR: Final = Rejection()


def send_known(
    connection: Connection, requests: Sequence[Received], builds: Iterable[Event]
) -> Known:
    """Ask for the known fingerprints of the errors of new events, as in `statements.send`."""
    ends = [
        (event, naive(event.time))
        for event in builds
        if isinstance(event, BuildFinished) and event.status in FAILED_STATUSES
    ]
    errors = [_occurrence(*requests[place]) for place in _rejected(requests)]
    errors += [_occurrence(event, at) for event, at in ends]
    return error_fingerprints.send_known(connection, errors)


def add_fingerprints(
    connection: Connection,
    requests: Sequence[Received],
    ended: Sequence[Build],
    known: Known,
) -> tuple[dict[int, Rejection], Resolved]:
    """Return fingerprint and package of rejected requests, by place, and set those of builds.

    Also returns what to keep. `known` comes from `send_known`, for the events of both.
    """
    rejected = _rejected(requests)
    failed = [
        (build, build.finished_at)
        for build in ended
        if build.status in FAILED_STATUSES and build.finished_at is not None
    ]
    said = [_occurrence(*requests[place]) for place in rejected]
    said += [_occurrence(build, at) for build, at in failed]
    found = error_fingerprints.resolve(connection, said, known)
    for (build, _), rejection in zip(failed, found.errors[len(rejected) :], strict=True):
        build.name_error(rejection)
    return dict(zip(rejected, found.errors, strict=False)), found


def _rejected(requests: Sequence[Received]) -> list[int]:
    return [place for place, (request, _) in enumerate(requests) if request.outcome == "rejected"]


def _occurrence(source: RequestReceived | BuildFinished | Build, at: datetime) -> ErrorOccurrence:
    return ErrorOccurrence(
        source.error_category or UNKNOWN,
        source.error_type or UNKNOWN,
        source.error_message,
        at,
        source.request_hash,
    )
