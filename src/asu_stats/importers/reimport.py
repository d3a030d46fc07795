"""Detects history that was imported before under another source, which would count twice.

The source of an import is derived from the first row or sample. If that row was pruned since, the
same rows have another source, and therefore other identities.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Table, select

from asu_stats.events import BuildFinished, Event, RequestReceived
from asu_stats.exceptions import OtherHistoryError
from asu_stats.store.archive import segments
from asu_stats.store.archive.archive import ARCHIVES, TIMES
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import build_metrics, client_stats, event_identities
from asu_stats.store.details import identities
from asu_stats.times import bounds, naive

_IMPORTED = ("go-builder:", "redis:")
_SURE = 10  # minimum number of known events of a day; they must also be half of its events
_SOURCE = "urn:asu-stats:go-builder:"

_REQUEST = ("timestamp", "version", "target", "profile")
_BUILD = ("finished_at", "build_id")


def duplicate_check(engine: Engine, place: str) -> Callable[[Sequence[Event]], None]:
    """Return a check of first batches: `OtherHistoryError` if their events are known already."""

    def check(events: Sequence[Event]) -> None:
        days: defaultdict[date, list[Event]] = defaultdict(list)
        for event in events:
            if isinstance(event, RequestReceived | BuildFinished):
                days[event.time.date()].append(event)
        if not days or _is_known(engine, [day[0] for day in days.values()]):
            return
        day = max(days, key=lambda day: len(days[day]))
        happened, before = _before(engine, day, days[day])
        if happened >= min(_SURE, len(days[day])) and 2 * happened >= len(days[day]):
            source = f"--source {before}" if before else "--source with the source that it printed"
            raise OtherHistoryError(
                place,
                f"imported before under another source: {happened} of {len(days[day])} events of "
                f"{day} are in the database. The first rows were deleted since, or this is a copy. "
                f"To continue the earlier import, use {source}; to count the events again, --force",
            )

    return check


def _is_known(engine: Engine, events: Sequence[Event]) -> bool:
    keys = [identities.identity(event) for event in events[:500]]
    known = select(event_identities.c.identity).where(event_identities.c.identity.in_(keys))
    with read_snapshot(engine) as connection:
        return connection.execute(known.limit(1)).first() is not None


def _before(engine: Engine, day: date, events: Sequence[Event]) -> tuple[int, str | None]:
    """Return how many events of a day are known, and their source if their builds contain it."""
    first, after = bounds(day)
    with read_snapshot(engine) as connection:
        requests = [*_rows(connection, client_stats, _REQUEST, first, after)]
        builds = [*_rows(connection, build_metrics, _BUILD, first, after)]
    known_requests = set(requests)
    built = {moment: build_id for moment, build_id in builds if build_id.startswith(_IMPORTED)}
    happened, source = 0, None
    for event in events:
        moment = naive(event.time)
        if isinstance(event, RequestReceived):
            happened += (moment, event.version, event.target, event.profile) in known_requests
        elif build_id := built.get(moment):
            happened += 1
            kind, digest, *_ = build_id.split(":")
            source = _SOURCE + digest if kind == "go-builder" else source
    return happened, source


def _rows(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    first: datetime,
    after: datetime,
) -> Iterator[tuple[Any, ...]]:
    """Yield columns of a detail table's rows in a time range: live, archived, and in files."""
    moment = TIMES[table]
    for each in (table, ARCHIVES[table]):
        here = (each.c[moment] >= first) & (each.c[moment] < after)
        found = connection.execute(select(*(each.c[name] for name in columns)).where(here))
        yield from map(tuple, found)
    names = [column.name for column in table.columns]
    places, time = [names.index(name) for name in columns], names.index(moment)
    for part in segments.between(connection, table, first, after):
        for row in segments.rows_of(connection, table, part.file):
            if first <= row[time] < after:
                yield tuple(row[place] for place in places)
