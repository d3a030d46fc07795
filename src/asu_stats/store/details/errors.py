"""Fingerprints and packages of the errors of a batch."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from asu_stats.events import FAILED_STATUSES, UNKNOWN
from asu_stats.store.details import error_fingerprints
from asu_stats.store.details.builds import Build
from asu_stats.store.details.error_fingerprints import ErrorOccurrence, Resolved
from asu_stats.store.details.requests import Received
from asu_stats.store.rollups.counting import Rejection

NOTHING: Final = Rejection()


def add_fingerprints(
    connection: Connection, requests: Sequence[Received], ended: Sequence[Build]
) -> tuple[dict[int, Rejection], Resolved]:
    """Return fingerprint and package of rejected requests, by place, and set those of builds.

    Also returns what to keep.
    """
    rejected = [
        place for place, (request, _) in enumerate(requests) if request.outcome == "rejected"
    ]
    failed = [
        (build, build.finished_at)
        for build in ended
        if build.status in FAILED_STATUSES and build.finished_at is not None
    ]
    said = [
        ErrorOccurrence(
            request.error_category or UNKNOWN,
            request.error_type or UNKNOWN,
            request.error_message,
            at,
            request.request_hash,
        )
        for request, at in (requests[place] for place in rejected)
    ]
    said += [
        ErrorOccurrence(
            build.error_category or UNKNOWN,
            build.error_type or UNKNOWN,
            build.error_message,
            at,
            build.request_hash,
        )
        for build, at in failed
    ]
    found = error_fingerprints.resolve(connection, said)
    for (build, _), rejection in zip(failed, found.errors[len(rejected) :], strict=True):
        build.name_error(rejection)
    return dict(zip(rejected, found.errors, strict=False)), found
