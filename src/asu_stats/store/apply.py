"""Writes events: details and the resulting changes of rollups, in one transaction."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Connection, Engine

from asu_stats.events import (
    FAILED_STATUSES,
    BuildStarted,
    Event,
    RequestReceived,
)
from asu_stats.store.archive import errors as archived_errors
from asu_stats.store.archive.archive import Restore
from asu_stats.store.database import changes, locks, statements
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.database.locks import NotAloneError
from asu_stats.store.details import builds as build_rows
from asu_stats.store.details import (
    error_fingerprints,
    errors,
    identities,
    package_lists,
    request_days,
    request_gaps,
    requests,
    unhashed,
)
from asu_stats.store.details.builds import Build, Change
from asu_stats.store.details.error_fingerprints import Resolved
from asu_stats.store.details.errors import NO_ERROR
from asu_stats.store.details.live_counts import Live, Tally
from asu_stats.store.details.request_days import RequestDay
from asu_stats.store.details.request_gaps import AcceptedRequest
from asu_stats.store.details.requests import Metadata, Received, Wait
from asu_stats.store.rollups import counting
from asu_stats.store.rollups import deltas as rollup_deltas
from asu_stats.store.rollups.counting import Attempt, EndedBuild
from asu_stats.store.rollups.deltas import Deltas
from asu_stats.times import midnight, naive

Waits: TypeAlias = Iterable[Wait]
_NOBODY: Final = (None, None, None)

# Writes further rows in the transaction of a batch: for its new requests, and for its builds with
# their end before and after the batch.
ExtraWriter: TypeAlias = Callable[
    [Connection, Sequence[Received], Sequence[tuple[EndedBuild | None, EndedBuild | None]]], None
]


@dataclass(frozen=True, slots=True)
class Applied:
    """Whether each event of a batch was new, in the order given."""

    new: Sequence[bool]


def apply_batch(
    engine: Engine,
    events: Sequence[Event],
    *,
    extra_writer: ExtraWriter | None = None,
    live: Live | None = None,
) -> Applied:
    """Write a batch in one transaction: all of it, or nothing if this raises.

    Raises `StoreUnavailableError` when the database is unreachable.
    """
    try:
        with write_transaction(engine, by_key=True) as connection:
            return apply(connection, events, extra_writer=extra_writer, live=live, alone=False)
    except NotAloneError:
        with write_transaction(engine, by_key=True) as connection:
            return apply(connection, events, extra_writer=extra_writer, live=live)


def apply(
    connection: Connection,
    events: Sequence[Event],
    *,
    extra_writer: ExtraWriter | None = None,
    live: Live | None = None,
    alone: bool = True,
) -> Applied:
    """Write the details of a batch, and the changes of rollups that follow from real changes.

    Known events change nothing, and the order of events changes no figure. `extra_writer` writes
    further rows in the same transaction. `live` says which events count in `/metrics`; without it,
    as in an import, none do. Without `alone`, other batches of other requests run side by side with
    this one, and it raises `NotAloneError` if that is not possible.
    """
    if not events:
        return Applied(())
    hashes = sorted({event.request_hash for event in events if event.request_hash})
    alone = alone or connection.dialect.name == "sqlite" or len(hashes) > locks.MOST_HASHES
    if alone:
        locks.lock_writers(connection)
    else:
        locks.lock_requests(connection, hashes)
    tally = Tally(live)
    known = _Known(
        changes.send_state(connection),
        requests.send_load(connection, hashes),
        locks.send_request_numbers(connection, len(hashes)),
        package_lists.ask(connection, events),
    )
    batch = identities.keep_new(connection, events, tally)
    changed = None
    if batch.new:
        changed = _Batch(connection, batch.new, known, tally, alone=alone)
        changed.write(known.lists)
    with statements.together(connection):
        if changed is not None:
            changed.finish(extra_writer=extra_writer)
        identities.count(connection, batch)
        tally.write(connection)
    return Applied(batch.is_new)


class _Known(NamedTuple):
    """Results of the queries that were sent before the new events were read, to fetch later."""

    state: Callable[[], changes.State]
    metadata: Callable[[], dict[str, Metadata]]
    numbers: statements.Sent
    lists: package_lists.Asked


class _Days(NamedTuple):
    """Days of the accepted and rejected requests of a batch, and what is known of them."""

    accepted: request_gaps.Spans
    known_accepted: statements.Sent
    rejected: set[RequestDay]
    known_rejected: statements.Sent


class _Batch:
    """A batch while it is written: known rows, changed rows, and the sums of the changes.

    Reads that do not depend on each other are sent together, see `statements.send`: the round trips
    of a batch do not depend on its size. `write` writes what belongs to its requests; `finish`
    writes what other batches write too, and waits for nothing.
    """

    def __init__(
        self,
        connection: Connection,
        events: Sequence[Event],
        known: _Known,
        tally: Tally,
        *,
        alone: bool,
    ) -> None:
        self._connection = connection
        self._tally = tally
        self._deltas = Deltas()
        self._facts: list[tuple[Callable[[Deltas, Any, int], None], Any, int]] = []
        self._events = events
        self._unhashed = unhashed.of(events)
        events = [event for event in events if event.request_hash]
        self._requests = [
            (event, naive(event.time)) for event in events if isinstance(event, RequestReceived)
        ]
        self._builds = [event for event in events if not isinstance(event, RequestReceived)]
        hashes = {event.request_hash for event in events}
        self._metadata = {
            request_hash: metadata
            for request_hash, metadata in known.metadata().items()
            if request_hash in hashes
        }
        self._stored = {name: requests.described(of) for name, of in self._metadata.items()}
        self._known_hashes = self._stored.keys()
        self._touched_hashes: set[str] = set()
        self._renamed: set[str] = set()
        self._waits: dict[int, Wait] = {}
        self._changed: dict[build_rows.Key, Build] = {}
        self._ended: list[Build] = []
        self._state = known.state()
        self._numbers = locks.request_numbers(known.numbers, self._state.requests_numbered)
        self._numbered = self._state.requests_numbered
        self._alone = alone
        self._archive = Restore(connection, self._state.archived_before, alone=alone)
        self._ends: list[Change] = []
        self._lists = package_lists.Lists()
        self._new_lists: package_lists.Rows = ()
        self._errors = Resolved()

    def write(self, asked: package_lists.Asked) -> None:
        """Write the details of the batch, and sum the changes of rollups."""
        connection, deltas = self._connection, self._deltas
        received = [*self._requests, *self._unhashed.requests]
        builds_wanted = sorted(self._apply_requests())
        restore_builds = self._send_archived_builds()
        loaded = build_rows.send_load(connection, builds_wanted)
        self._lists, rows_of_lists = asked.numbers([request for request, _ in received])
        days = self._send_days()
        known_errors = errors.send_known(connection, received, self._events)
        waits_ahead = requests.send_waits_ahead(connection, self._moments(), self._metadata)
        lists = self._lists.numbers
        rejected = self._count_requests(received)  # while PostgreSQL reads
        if restore_builds():
            loaded = build_rows.send_load(connection, builds_wanted)
        builds = loaded()
        attempts = {build.key: build.attempt() for of in builds.values() for build in of.values()}
        self._new_lists = rows_of_lists()
        for place, wait in self._waits.items():
            wait.package_list = lists.get(place)
        ends = self._ends = self._apply_builds(builds)
        order = build_rows.ends_in_order(builds)
        since = self._waits_changed(builds, ends, order)
        if self._archive.waits(since):
            waits_ahead = requests.send_waits_ahead(connection, since, self._metadata)
        known_waits = waits_ahead(since)
        ended = [*self._ended, *(build for build, _, _ in self._unhashed.ends)]
        said, self._errors = errors.add_fingerprints(connection, received, ended, known_errors)
        self._resolve_waits(builds, since, order, known_waits)
        self._save_metadata()
        self._count_days(days)  # reads details that are written below
        requests.save_requests(connection, received, self._waits, lists, said)
        self._save_builds(attempts)
        unhashed.write(connection, deltas, self._unhashed.ends)
        # Counted last: meanwhile PostgreSQL writes what was sent.
        for place in rejected:
            counting.add_request(deltas, *received[place], lists.get(place), said[place])
        for add, fact, sign in self._facts:
            add(deltas, fact, sign)
        for request, _ in self._unhashed.requests:
            self._tally.requested(request)
        if self._state.hourly_since:
            deltas.drop_hours(midnight(self._state.hourly_since))

    def finish(self, *, extra_writer: ExtraWriter | None) -> None:
        """Count the change, and write what other batches write too.

        From here to the commit, no other batch does the same.
        """
        connection, deltas = self._connection, self._deltas
        since = min(event.time for event in self._events).date()
        changes.begin_batch(connection, since, self._numbered)
        package_lists.keep(connection, self._new_lists)
        self._errors.keep(connection)
        rollup_deltas.add(connection, deltas)
        changes.stamp_batch(connection, deltas.days())
        if extra_writer:
            ends = [(before, now) for _, before, now in (*self._ends, *self._unhashed.ends)]
            extra_writer(connection, (*self._requests, *self._unhashed.requests), ends)

    def _apply_requests(self) -> set[str]:
        """Collect the requests by hash. Return the hashes whose builds matter to the batch."""
        wanted = {event.request_hash for event in self._builds}
        for place, (request, received) in enumerate(self._requests):
            request_hash = request.request_hash
            metadata = self._metadata.get(request_hash)
            if metadata is None:
                number = next(self._numbers)
                self._numbered = max(self._numbered, number)
                metadata = Metadata.of(request, received, number)
                self._metadata[request_hash] = metadata
                self._renamed.add(request_hash)
            if metadata.count_request(request, received):
                self._renamed.add(request_hash)
            self._touched_hashes.add(request_hash)
            self._tally.requested(request)
            wait = requests.new_wait(request, received)
            if wait is not None:
                self._waits[place] = wait
                wanted.add(request_hash)
        return wanted | self._renamed

    def _count_requests(self, received: Sequence[Received]) -> list[int]:
        """Count the accepted requests. Return the places of the rejected ones."""
        rejected = []
        for place, (request, at) in enumerate(received):
            if request.outcome == "rejected":
                rejected.append(place)
            else:
                number = self._lists.numbers.get(place)
                counting.add_request(self._deltas, request, at, number, NO_ERROR)
        return rejected

    def _send_days(self) -> _Days:
        """Ask for the known days and times of requests near those of the batch."""
        connection = self._connection
        accepted: list[AcceptedRequest] = []
        rejected: set[RequestDay] = set()
        for r, received in self._requests:
            number = self._metadata[r.request_hash].request_number
            if r.outcome == "rejected":
                rejected.add(RequestDay(number, received.date(), r.client))
            else:
                accepted.append(AcceptedRequest(number, r.request_hash, received, r.client))
        known = {self._metadata[request_hash].request_number for request_hash in self._known_hashes}
        spans = request_gaps.send_spans(connection, accepted, known)
        return _Days(
            spans,
            request_days.send_known(connection, request_days.ACCEPTED, spans.of_day.keys(), known),
            rejected,
            request_days.send_known(connection, request_days.REJECTED, rejected, known),
        )

    def _count_days(self, days: _Days) -> None:
        """Count distinct requests and the gaps between accepted ones."""
        connection, deltas, spans = self._connection, self._deltas, days.accepted.of_day
        request_gaps.add(connection, deltas, days.accepted, self._archive)
        accepted, rejected = request_days.ACCEPTED, request_days.REJECTED
        request_days.add(connection, deltas, accepted, spans.keys(), days.known_accepted, spans)
        request_days.add(connection, deltas, rejected, days.rejected, days.known_rejected)

    def _send_archived_builds(self) -> Callable[[], bool]:
        """Ask for the archived builds that the batch changes or that its requests wait for."""
        builds = {(event.request_hash, event.build_id) for event in self._builds}
        return self._archive.send_builds(builds, self._moments())

    def _moments(self) -> dict[str, datetime]:
        """Return, by hash, a time from which on builds and results of waits may change."""
        found = dict.fromkeys(self._renamed, datetime.min)  # noqa: DTZ901 - without zone
        moments = [(wait.request_hash, wait.timestamp) for wait in self._waits.values()]
        moments += [(event.request_hash, naive(event.time)) for event in self._builds]
        for request_hash, moment in moments:
            found[request_hash] = min(moment, found.get(request_hash, moment))
        return found

    def _apply_builds(self, builds: dict[str, dict[str, Build]]) -> list[Change]:
        """Apply the build events. Return the builds whose end changed, before and after."""
        before = {build.key: build.ended() for of in builds.values() for build in of.values()}
        changed = self._changed
        for event in self._builds:
            of = builds[event.request_hash]
            build = of.setdefault(event.build_id, build_rows.new(event))
            changed[build.key] = build
            if isinstance(event, BuildStarted):
                build.start(event)
            elif build.finish(event):
                self._ended.append(build)
        for request_hash, of in builds.items():
            metadata = self._metadata.get(request_hash)
            for build in of.values():
                if build.settle(metadata.names if metadata else None):
                    changed[build.key] = build
        ends = [
            (build, was, now)
            for build in changed.values()
            if (was := before.get(build.key)) != (now := build.ended())
        ]
        for _, was, now in ends:
            self._tally.ended(was, now)
            if was is not None:
                self._facts.append((counting.add_ended_build, was, -1))
            if now is not None:
                self._facts.append((counting.add_ended_build, now, 1))
        self._count_builds(builds, ends)
        return ends

    def _count_builds(
        self,
        builds: dict[str, dict[str, Build]],
        ends: Sequence[Change],
    ) -> None:
        """Update the counts of builds in `request_metadata`."""
        for request_hash in self._touched_hashes - self._known_hashes:
            for build in builds[request_hash].values():
                self._metadata[request_hash].count_build(build.status, 1)
        for build, was, now in ends:
            if build.request_hash in self._known_hashes:
                metadata = self._metadata[build.request_hash]
                self._touched_hashes.add(build.request_hash)
                for end, sign in ((was, -1), (now, 1)):
                    if end is not None:
                        metadata.count_build(end.status, sign)

    def _resolve_waits(
        self,
        builds: dict[str, dict[str, Build]],
        since: Mapping[str, datetime],
        order: Mapping[str, Sequence[tuple[datetime, str]]],
        known_waits: Sequence[Wait],
    ) -> None:
        """Find for each waiting request the build that ended it.

        That is the first build of its hash that ends at or after the request (docs/reference/
        figures.md, Clients). `known_waits` are the requests of each hash that had not ended before
        the earliest change `since`. A request without an end is `building` while a build of its
        hash runs.
        """
        known = [(wait.ended(), wait.ended_at, wait.build_id, wait.status) for wait in known_waits]
        running = {
            request_hash
            for request_hash, of in builds.items()
            if any(build.runs for build in of.values())
        }
        for wait in (*known_waits, *self._waits.values()):
            after = order[wait.request_hash]
            place = bisect_left(after, (wait.timestamp, ""))
            ending = builds[wait.request_hash][after[place][1]] if place < len(after) else None
            if ending is None:
                wait.keep_waiting(building=wait.request_hash in running)
            else:
                _end(wait, ending)
        changed = []
        for wait, before in zip(known_waits, known, strict=True):
            if (wait.ended(), wait.ended_at, wait.build_id, wait.status) != before:
                changed.append(wait)
                if before[0] is not None:
                    self._facts.append((counting.add_ended_wait, before[0], -1))
        for wait in (*changed, *self._waits.values()):
            ended = wait.ended()
            if ended is not None:
                self._facts.append((counting.add_ended_wait, ended, 1))
        requests.save_waits(self._connection, changed)
        self._find_clients(builds, since, (*known_waits, *self._waits.values()))

    def _find_clients(
        self, builds: dict[str, dict[str, Build]], since: Mapping[str, datetime], waits: Waits
    ) -> None:
        """Set client and packages of builds: those of the earliest request that waited for each.

        `waits` are all that ended at or after the time `since` of their hash.
        """
        waits_of: dict[build_rows.Key, list[Wait]] = {}
        for wait in waits:
            if wait.build_id is not None:
                waits_of.setdefault((wait.request_hash, wait.build_id), []).append(wait)
        for request_hash, first in since.items():
            for build in builds[request_hash].values():
                if build.finished_at is None or build.finished_at < first:
                    continue
                first_wait = requests.earliest(
                    self._connection, waits_of.get(build.key, ()), self._lists.digests
                )
                asker = requests.asker(first_wait) if first_wait else _NOBODY
                if build.asked_by(*asker):
                    self._changed[build.key] = build

    def _save_builds(self, attempts: Mapping[build_rows.Key, Attempt | None]) -> None:
        """Write the changed builds and their errors, and count them by client and packages."""
        connection, gone = self._connection, []
        build_rows.save(connection, self._changed.values())
        for build in self._changed.values():
            was, now = attempts.get(build.key), build.attempt()
            if was is not None and was.status in FAILED_STATUSES and build in self._ended:
                gone.append((was.fingerprint, was.at, was.request_hash))
            if was == now:
                continue
            if was is not None:
                self._facts.append((counting.add_attempt, was, -1))
            if now is not None:
                self._facts.append((counting.add_attempt, now, 1))
        build_rows.save_errors(connection, self._ends)
        self._archive.after((*build.key, was) for build, was, _ in self._ends if was is not None)
        if gone and not self._alone:  # another batch may be about to store an earlier example
            raise NotAloneError
        archived_errors.find_examples(connection, error_fingerprints.forget(connection, gone))

    def _waits_changed(
        self,
        builds: dict[str, dict[str, Build]],
        ends: Sequence[Change],
        order: Mapping[str, Sequence[tuple[datetime, str]]],
    ) -> dict[str, datetime]:
        """Return, by hash, the time from which on the results of waits may have changed.

        A request that arrives after the end of the build it waited for may now be the earliest one
        of that build, so the other waits of the build matter too.
        """
        since: dict[str, datetime] = {}
        for event in self._builds:
            if isinstance(event, BuildStarted) and event.request_hash in self._known_hashes:
                # A start that arrives after the end determines how long the requests waited.
                end = builds[event.request_hash][event.build_id].finished_at or requests.NOT_ENDED
                since[event.request_hash] = min(since.get(event.request_hash, end), end)
        for build, was, now in ends:
            for each in (was, now):
                if each is not None:
                    since[build.request_hash] = min(since.get(build.request_hash, each.at), each.at)
        for wait in self._waits.values():
            after = order[wait.request_hash]
            place = bisect_left(after, (wait.timestamp, ""))
            if place < len(after):
                end_at = after[place][0]
                since[wait.request_hash] = min(since.get(wait.request_hash, end_at), end_at)
        return since

    def _save_metadata(self) -> None:
        touched = [self._metadata[request_hash] for request_hash in self._touched_hashes]
        requests.save(self._connection, touched, self._stored)


def _end(wait: Wait, build: Build) -> None:
    """Set the result of `wait`: the end of `build`."""
    assert build.finished_at is not None  # noqa: S101 - only builds that ended are passed
    wait.status, wait.ended_at, wait.build_id = build.status, build.finished_at, build.build_id
    wait.error_category, wait.error_type = build.error_category, build.error_type
    wait.waited_seconds = build.waited_seconds(wait.timestamp)
