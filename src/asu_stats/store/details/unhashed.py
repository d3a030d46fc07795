"""Requests and builds without a hash: counted, and linked to nothing else.

Older servers kept no hashes, and some servers reject a request before they compute its hash.

A request without a hash has no row in `request_metadata`, no days and no wait. A build without a
hash consists of a single event. They change nothing that is known, and cost other events nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from asu_stats.events import BuildFinished, Event, RequestReceived
from asu_stats.store.details import builds as build_rows
from asu_stats.store.details.builds import Change
from asu_stats.store.details.requests import Received
from asu_stats.store.rollups import counting
from asu_stats.store.rollups.deltas import Deltas
from asu_stats.times import naive


class Unhashed(NamedTuple):
    """The requests, and the ends of builds."""

    requests: Sequence[Received] = ()
    ends: Sequence[Change] = ()


def of(events: Sequence[Event]) -> Unhashed:
    """Return those of `events` that have no request hash, usually none."""
    found = [event for event in events if not event.request_hash]
    return Unhashed(
        [(event, naive(event.time)) for event in found if isinstance(event, RequestReceived)],
        [_ended(event) for event in found if isinstance(event, BuildFinished)],
    )


def write(connection: Connection, deltas: Deltas, ends: Sequence[Change]) -> None:
    """Write the details of new builds without hash, and count them."""
    for build, _, now in ends:
        attempt = build.attempt()
        if now is not None and attempt is not None:
            counting.add_ended_build(deltas, now)
            counting.add_attempt(deltas, attempt)
    build_rows.save(connection, (build for build, _, _ in ends))
    build_rows.save_errors(connection, ends)


def _ended(event: BuildFinished) -> Change:
    """Return the build that consists of a single event."""
    build = build_rows.new(event)
    build.finish(event)
    build.settle(None)
    return build, None, build.ended()
