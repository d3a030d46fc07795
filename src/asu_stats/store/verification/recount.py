"""Recounts rollups from the details, one day at a time, for `verify`.

Detail rows, live and archived, are converted back into facts, and the facts are counted with the
table that recording uses: `counting.COUNTS`. Distinct counts are computed from the details of the
day, independently of `request_days`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    DateTime,
    FromClause,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    cast,
    exists,
    extract,
    func,
    literal,
    or_,
    select,
)

from asu_stats.error_types import classify
from asu_stats.events import NO_HASH, UNKNOWN
from asu_stats.store.archive import segments
from asu_stats.store.archive.archive import TIMES, counted
from asu_stats.store.database import citus, statements
from asu_stats.store.database.dialects import Row
from asu_stats.store.database.schema import (
    build_metrics,
    client_stats,
    error_stats,
    request_days,
    request_metadata,
)
from asu_stats.store.details import request_gaps
from asu_stats.store.details.request_days import ACCEPTED, REJECTED, SPAN, Days, RequestDay
from asu_stats.store.rollups import facts, gaps, phases
from asu_stats.store.rollups.counting import COUNTS, FIELDS, NUMBERED, Count, amounts, picker
from asu_stats.store.rollups.definitions import (
    DAILY,
    DISTINCT,
    GAPS,
    HOURLY,
    NEVER,
    PHASES,
    UNTIMED,
    WAITS,
    Key,
    Rollup,
)
from asu_stats.store.rollups.deltas import Deltas
from asu_stats.store.rollups.facts import Fact
from asu_stats.store.rollups.names import number_of
from asu_stats.times import bounds, midnight

_ROWS: Final = 1_000  # details at a time: counting blocks other threads


UNKNOWN_KIND: Final = classify(None)
# Values in keys for null in a detail row: one that was inserted by hand, or by an older release.
_NOTHING: Final[Mapping[str, str | int]] = {
    "error_category": UNKNOWN_KIND.category,
    "error_type": UNKNOWN_KIND.type,
    "fingerprint": "",
    "package": "",
    "client": UNKNOWN,
    "client_version": UNKNOWN,
    "worker_id": UNKNOWN,
    "package_list": 0,
}


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """A detail table, its time column, and the facts of each of its rows."""

    rows: FromClause
    time: str
    facts: tuple[type[Fact], ...]


# The counted day: as a date, and as its first moment and the first moment after it.
DAY: Final = bindparam("day", type_=Date)
_FIRST: Final = bindparam("first", type_=DateTime)
_AFTER: Final = bindparam("after", type_=DateTime)


def on_day(column: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the condition that a stored time lies on the UTC day of `parameters_of`."""
    return and_(column >= _FIRST, column < _AFTER)


# The details of the day. Archived ones count like live ones.
_requests, _builds, _errors = (
    counted(table, on_day) for table in (client_stats, build_metrics, error_stats)
)
_r, _b = _requests.c, _builds.c


def made_of(kind: type[Fact], rows: FromClause) -> tuple[ColumnElement[Any], ...]:
    """Return the columns of detail rows that form a fact, in the order of its fields.

    A request inserted by hand has the outcome `queued` and no end. Its `cache_hit` and `status`
    decide.
    """
    c = rows.c
    if kind is facts.Request:
        outcome = case((c.cache_hit, "cache_hit"), else_=c.outcome)
        return outcome, c.diff_packages, c.request_hash != NO_HASH, c.package_list.is_not(None)
    if kind is facts.RequestOptions:
        features = c.has_custom_repos, c.has_defaults, c.rootfs_size_mb > 0
        return c.outcome, *features, c.package_count.is_not(None)
    if kind is facts.Wait:
        waited = or_(c.ended_at.is_not(None), and_(c.outcome == "queued", ~c.cache_hit))
        return case((waited, c.status)), c.waited_seconds.is_not(None)
    if kind is facts.Build:
        return c.status, c.duration_seconds, c.diff_packages
    if kind is facts.Attempt:
        return (c.status,)
    return c["count"], c.build_id.is_(None)


def totals(kind: type[Fact], rollup: Rollup, rows: Iterable[tuple[Row, int]]) -> Counter[str]:
    """Return the sums that facts add to a rollup; `rows` are the fields of a fact and its count."""
    sums: Counter[str] = Counter()
    for count in COUNTS[kind]:
        if count.rollup is rollup:
            for fields, times in rows:
                for column, amount in zip(rollup.adds, amounts(count, kind(*fields)), strict=False):
                    sums[column] += times * amount
    return sums


_SOURCES: Final = (
    _Source(_requests, "timestamp", (facts.Request, facts.RequestOptions, facts.Wait)),
    _Source(_builds, "finished_at", (facts.Build, facts.Attempt)),
    _Source(_errors, "timestamp", (facts.Error,)),
)


def parameters_of(day: date) -> dict[str, object]:
    """Return the parameters of a UTC day."""
    first = midnight(day)
    return {"day": day, "first": first, "after": first + timedelta(days=1)}


def of_day(connection: Connection, day: date) -> Deltas:
    """Return the sums of the details of `day` for every rollup, including details in files."""
    parameters = parameters_of(day)
    archived = segments.load(connection, TIMES, *bounds(day))
    deltas = Deltas()
    for tally in (
        tally
        for source in _SOURCES
        for tally in _tally(connection, source, archived, parameters, deltas)
    ):
        rollup = tally.count.rollup
        for (fields, found), rows in tally.rows.items():
            if found:
                key = _key(rollup, day, fields)
                added = found if rows == 1 else [rows * amount for amount in found]
                deltas.add(rollup, key, added)
    _count_phases(connection, day, deltas, archived)
    _count_gaps(connection, day, deltas, archived)
    for of, query in _PAIRS.items():
        for client, own, previous, of_client, hashes in statements.fetch(
            connection, query, archived, **parameters
        ):
            deltas.add(of.of_client, (day, client, own or NEVER), (of_client,))
            deltas.add(of.of_hash, (day, previous or NEVER), (hashes,))
            if of.daily:
                deltas.add_one(DAILY, (day,), of.daily, hashes)
    for distinct in DISTINCT:
        width, place = len(distinct.into.key), distinct.of.place(distinct.having)
        place += len(distinct.of.key)
        counts = Counter(row[:width] for row in deltas.of(distinct.of) if row[place])
        for key, count in counts.items():
            deltas.add_one(distinct.into, key, distinct.add, count)
    return deltas


def _key(rollup: Rollup, day: date, fields: Key) -> Key:
    """Return a key of a rollup on a day, from fields that begin with the hour in hourly rollups."""
    if rollup in HOURLY:
        return (datetime.combine(day, time(fields[0])), *fields[1:])
    if rollup is WAITS:
        return (day, day.weekday() * 24 + fields[0], *fields[1:])
    return (day, *fields)


class _Amounts(dict[Row, tuple[int, ...]]):
    """The amounts that a fact adds to one rollup, by the fields of the fact."""

    def __init__(self, count: Count, kind: type[Fact]) -> None:
        super().__init__()
        self._count, self._kind = count, kind

    def __missing__(self, fields: Row) -> tuple[int, ...]:
        self[fields] = found = amounts(self._count, self._kind(*fields))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Tally:
    """Number of rows with the same key and the same amounts in one rollup.

    Keys of hourly rollups begin with the number of the hour, those of daily ones have no time.
    """

    count: Count
    fact: slice  # where the fields of the fact are in a row
    key_of: Callable[[Row], Key]
    amounts: _Amounts
    rows: Counter[tuple[Key, Sequence[int]]] = field(default_factory=Counter)


def _tallies(source: _Source) -> list[_Tally]:
    """Return a tally for each `Count` of the facts of a source."""
    return [
        _Tally(count, fact, key_of, _Amounts(count, kind))
        for kind, count, fact, key_of in _places(source)
    ]


@cache
def _places(
    source: _Source,
) -> Sequence[tuple[type[Fact], Count, slice, Callable[[Row], Key]]]:
    """Return each count of a source: its fact, where that is in a row, and what takes its key."""
    names = [name for name, _ in (*_columns(source), *_numbered(source))]
    places, place = [], 0
    for kind in source.facts:
        fact = slice(place, place := place + len(kind._fields))
        for count in COUNTS[kind]:
            key = ("hour", *count.key) if count.rollup in HOURLY else count.key
            places.append((kind, count, fact, picker(names, key)))
    return places


def _tally(
    connection: Connection,
    source: _Source,
    archived: statements.Tables,
    parameters: dict[str, object],
    deltas: Deltas,
) -> list[_Tally]:
    """Count the rows of a source on a day. Names with numbers are added to `deltas`."""
    tallies, numbered = _tallies(source), [names_of for _, names_of in _numbered(source)]
    for found in statements.stream(connection, _QUERIES[source], _ROWS, archived, **parameters):
        rows = found
        if numbered:
            names = [[names_of(row) for names_of in numbered] for row in found]
            numbers = [[number_of(each) for each in of] for of in names]
            for of_row, named in zip(numbers, names, strict=True):
                deltas.names.update(zip(of_row, named, strict=True))
            rows = [(*row, *of_row) for row, of_row in zip(found, numbers, strict=True)]
        made: dict[int, list[Row]] = {}
        for tally in tallies:
            if tally.fact.start not in made:
                made[tally.fact.start] = [row[tally.fact] for row in rows]
            amounts_of_rows = map(tally.amounts.__getitem__, made[tally.fact.start])
            tally.rows.update(zip(map(tally.key_of, rows), amounts_of_rows, strict=True))
    return tallies


def _columns(source: _Source) -> list[tuple[str, ColumnElement[Any]]]:
    """Return the columns of a source to read: those of its facts, the hour, and its names."""
    fields = [("", column) for kind in source.facts for column in made_of(kind, source.rows)]
    names = dict.fromkeys(
        column
        for kind in source.facts
        for name in FIELDS[kind]
        for column in NUMBERED.get(name, (name,))
    )
    return [*fields, ("hour", _hour(source)), *((name, _named(source, name)) for name in names)]


@cache
def _numbered(source: _Source) -> Sequence[tuple[str, Callable[[Row], Key]]]:
    """Return the numbers in keys of a source's facts, and functions that pick their names."""
    columns = [name for name, _ in _columns(source)]
    wanted = dict.fromkeys(name for kind in source.facts for name in FIELDS[kind])
    return [(name, picker(columns, NUMBERED[name])) for name in wanted if name in NUMBERED]


def _named(source: _Source, name: str) -> ColumnElement[Any]:
    """Return a key column."""
    if name == "hour_of_week":  # `_key` adds the day: SQLite rounds 23:59:59.999999 up to it
        return _hour(source)
    if name == "seconds":
        return func.coalesce(case((_b.status == "success", _b.duration_seconds)), UNTIMED)
    if name not in source.rows.c:
        return literal(_NOTHING[name])
    column = source.rows.c[name]
    return func.coalesce(column, _NOTHING[name]) if name in _NOTHING else column


def _hour(source: _Source) -> ColumnElement[int]:
    """Return the hour of the day of a row."""
    return cast(extract("hour", source.rows.c[source.time]), Integer)


def _query(source: _Source) -> Select[Any]:
    return select(*(column for _, column in _columns(source)))


_QUERIES: Final = {source: _query(source) for source in _SOURCES}


def _pairs(of: Days, counts: ColumnElement[bool]) -> Select[Any]:
    """Select the distinct hashes and clients of the requests of a day, summed.

    By client, previous day of the client for the hash, and previous day of any client: the number
    of hashes of the client, and of those that no earlier client of the same day requested.
    """
    d, m = of.table.c, request_metadata.c
    asked = citus.read_first(
        select(m.request_number, _r.client)
        .join_from(_requests, request_metadata, m.request_hash == _r.request_hash)
        .where(counts)
        .distinct()
        .cte("asked")
    )

    def last_day_before(*same: ColumnElement[bool]) -> ColumnElement[date]:
        days = select(d.date).where(d.request_number == asked.c.request_number, d.date < DAY, *same)
        return days.order_by(d.date.desc()).limit(1).scalar_subquery()

    in_order = func.row_number().over(partition_by=asked.c.request_number, order_by=asked.c.client)
    found = select(
        asked.c.client,
        last_day_before(d.client == asked.c.client).label("own"),
        last_day_before().label("previous"),
        in_order.label("place"),
    ).subquery("found")
    groups = found.c.client, found.c.own, found.c.previous
    hashes = func.sum(case((found.c.place == 1, 1), else_=0))
    return select(*groups, func.count(), hashes).group_by(*groups)


_PAIRS: Final = {
    ACCEPTED: _pairs(ACCEPTED, _r.outcome != "rejected"),
    REJECTED: _pairs(REJECTED, _r.outcome == "rejected"),
}


_PHASES: Final = select(_b.phases, _b.version, func.coalesce(_b.worker_id, UNKNOWN)).where(
    _b.status == "success", _b.phases.is_not(None)
)


def _count_phases(
    connection: Connection, day: date, deltas: Deltas, archived: statements.Tables
) -> None:
    """Count the phases of the builds that succeeded on a day."""
    for rows in statements.stream(connection, _PHASES, _ROWS, archived, **parameters_of(day)):
        for said, version, worker in rows:
            for phase, milliseconds in phases.counted(said):
                deltas.add(PHASES, (day, phase, version, worker, milliseconds), (1,))


def _asked() -> Select[Any]:
    """Select a day's accepted requests by hash, with the last one of the nearest day before."""
    d, m = request_days.c, request_metadata.c
    asked = citus.read_first(
        select(_r.request_hash, _r.timestamp, m.request_number)
        .join_from(_requests, request_metadata, m.request_hash == _r.request_hash)
        .where(_r.outcome != "rejected")
        .cte("asked")
    )
    before = (
        select(d.date, d.last_at)
        .where(d.request_number == asked.c.request_number, d.date < DAY)
        .order_by(d.date.desc(), d.last_at.desc())
        .limit(1)
        .correlate(asked)
    )
    return select(
        asked.c.request_hash,
        asked.c.timestamp,
        before.with_only_columns(d.date).scalar_subquery(),
        before.with_only_columns(d.last_at).scalar_subquery(),
    ).order_by(asked.c.request_hash, asked.c.timestamp)


_ASKED: Final = _asked()


def _count_gaps(
    connection: Connection, day: date, deltas: Deltas, archived: statements.Tables
) -> None:
    """Count the gaps that end on a day; `request_days` has the last request before it."""
    rows = statements.fetch(connection, _ASKED, archived, **parameters_of(day))
    for _, of in groupby(rows, itemgetter(0)):
        times: list[datetime] = []
        for _, at, previous, last in of:
            if not times and last is not None:
                times.append(midnight(previous) + timedelta(microseconds=last))
            times.append(at)
        for at, gap in gaps.of_times(times):
            deltas.add(GAPS, (at.date(), gap), (1,))


def _unremembered(of: Days, counts: ColumnElement[bool]) -> Select[Any]:
    """Select hashes and clients of a day that are not in `of.table`: rows inserted by hand."""
    d, m, r = of.table.c, request_metadata.c, client_stats.c
    asked = citus.read_first(
        select(m.request_number, r.client)
        .join_from(client_stats, request_metadata, m.request_hash == r.request_hash)
        .where(on_day(r.timestamp), counts)
        .distinct()
        .cte("asked")
    )
    a = asked.c
    same = d.request_number == a.request_number, d.date == DAY, d.client == a.client
    found = select(a.request_number, DAY.label("date"), a.client)
    return found.where(~exists().where(*same))


_UNREMEMBERED: Final = {
    ACCEPTED: _unremembered(ACCEPTED, client_stats.c.outcome != "rejected"),
    REJECTED: _unremembered(REJECTED, client_stats.c.outcome == "rejected"),
}


def _spans() -> Select[Any]:
    """Select the first and last accepted request of a day's hashes and clients.

    The last two columns are the stored values, in microseconds since midnight.
    """
    d, m = request_days.c, request_metadata.c
    asked = citus.read_first(
        select(m.request_number, _r.client, func.min(_r.timestamp), func.max(_r.timestamp))
        .join_from(_requests, request_metadata, m.request_hash == _r.request_hash)
        .where(_r.outcome != "rejected")
        .group_by(m.request_number, _r.client)
        .cte("asked")
    )
    a = asked.c
    same = (d.request_number == a.request_number) & (d.date == DAY) & (d.client == a.client)
    return select(*a, d.first_at, d.last_at).join_from(asked, request_days, same)


_SPANS: Final = _spans()


def add_missing_days(connection: Connection, day: date) -> None:
    """Add the missing rows of `request_days` and `rejected_days` for the live requests of a day."""
    for of, query in _UNREMEMBERED.items():
        rows = statements.fetch(connection, query, **parameters_of(day))
        statements.insert(connection, of.table, RequestDay._fields, rows)
    archived = segments.load(connection, TIMES, *bounds(day))
    spans = [
        (number, day, client, *span)
        for number, client, first, last, *known in statements.fetch(
            connection, _SPANS, archived, **parameters_of(day)
        )
        if (span := [request_gaps.micros(first), request_gaps.micros(last)]) != known
    ]
    statements.update(connection, request_days, RequestDay._fields, SPAN, spans)
