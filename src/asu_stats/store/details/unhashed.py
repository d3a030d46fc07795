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
from asu_stats.store.details import errors, package_lists, requests
from asu_stats.store.details.builds import Change
from asu_stats.store.details.errors import NOTHING
from asu_stats.store.details.requests import Received
from asu_stats.store.rollups import counting
from asu_stats.store.rollups.deltas import Deltas
from asu_stats.times import naive


class Written(NamedTuple):
    """The rows that were written."""

    requests: Sequence[Received] = ()
    ends: Sequence[Change] = ()


def of(events: Sequence[Event]) -> list[Event]:
    """Return those of `events` that have no request hash, usually none."""
    return [event for event in events if not event.request_hash]


def write(connection: Connection, deltas: Deltas, events: Sequence[Event]) -> Written:
    """Write the details of new events without hash, and count them."""
    if not events:
        return Written()
    received = [
        (event, naive(event.time)) for event in events if isinstance(event, RequestReceived)
    ]
    lists = package_lists.send_numbers(connection, [request for request, _ in received])()
    ends = [_ended(event) for event in events if isinstance(event, BuildFinished)]
    said = errors.add_fingerprints(connection, received, [build for build, _, _ in ends])
    for place, (request, at) in enumerate(received):
        counting.add_request(deltas, request, at, lists.get(place), said.get(place, NOTHING))
    requests.save_requests(connection, received, {}, lists, said)
    for build, _, now in ends:
        attempt = build.attempt()
        if now is not None and attempt is not None:
            counting.add_ended_build(deltas, now)
            counting.add_attempt(deltas, attempt)
    build_rows.save(connection, (build for build, _, _ in ends))
    build_rows.save_errors(connection, ends)
    return Written(received, ends)


def _ended(event: BuildFinished) -> Change:
    """Return the build that consists of a single event."""
    build = build_rows.new(event)
    build.finish(event)
    build.settle(None)
    return build, None, build.ended()
