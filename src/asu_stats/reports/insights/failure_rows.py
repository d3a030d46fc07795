"""Failures of a time range as rows: error, device, client, worker, request hash and count.

Filters are columns of names, such as `version`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np
from sqlalchemy import Connection, Date, FromClause, Select, bindparam, func, select

from asu_stats.events import NO_HASH, UNKNOWN, shown_text
from asu_stats.reports import floor, sums
from asu_stats.reports.insights.basis import Basis
from asu_stats.store.blocks import cached, reader
from asu_stats.store.blocks import rows as day_rows
from asu_stats.store.blocks.columns import Mask, Names, distinct, numbered, total
from asu_stats.store.blocks.cubes import FINGERPRINTS
from asu_stats.store.blocks.keys import Ints
from asu_stats.store.blocks.rows import DayRows, Rows
from asu_stats.store.database import statements
from asu_stats.store.database.dialects import Row
from asu_stats.store.database.schema import error_fingerprints
from asu_stats.store.rollups.definitions import FAILURES
from asu_stats.store.rollups.names import name_numbers
from asu_stats.windows import Window

NAMES_AT_ONCE: Final = 1 << 16  # in memory, where a client may have made them up

_f: Final = FAILURES.table.c
_NUMBERED: Final = ("device", "asker", "worker")


def _of_day() -> Select[Any]:
    """Select the failures of a day, with names for numbers."""
    tables = [name_numbers.alias(column) for column in _NUMBERED]
    source: FromClause = FAILURES.table
    for table, column in zip(tables, _NUMBERED, strict=True):
        source = source.outerjoin(table, table.c.number == _f[column])
    stored = _f.fingerprint, _f.error_category, _f.error_type, _f.package
    numbers = _f.package_list, _f.request_hash, _f.failed_builds, _f.rejected_requests
    nonzero = (_f.failed_builds != 0) | (_f.rejected_requests != 0)
    return (
        select(*stored, *(table.c.names for table in tables), *numbers)
        .select_from(source)
        .where(_f.date == bindparam("day", type_=Date), nonzero)
    )


def _split(row: Row) -> Sequence[Any]:
    *stored, device, asker, worker, package_list, request_hash, failed, rejected = row
    device, asker, worker = device or (UNKNOWN,) * 3, asker or (UNKNOWN,) * 2, worker or (UNKNOWN,)
    request = 0
    if request_hash != NO_HASH:  # as unlikely to be equal as numbers of names
        digest = blake2b(request_hash.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        request = int.from_bytes(digest, signed=True)
    return (*stored, *device, *asker, *worker, package_list, request, failed, rejected)


OF_DAY: Final = DayRows(
    _of_day(),
    (
        *("fingerprint", "category", "type", "package", "version", "target", "profile"),
        *("client", "client_version", "worker"),
    ),
    ("package_list", "request", "failed_builds", "rejected_requests"),
    _split,
)


_ALL: Final = slice(None)


class Failures:
    """Failed builds and rejected requests, a row for each key of `stats_failures`."""

    def __init__(self, found: Rows) -> None:
        self._rows = found
        self._names: dict[str, Names] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def name(self, name: str) -> Names:
        """Return a column of names."""
        if name not in self._names:
            self._names[name] = self._rows.name(name)
        return self._names[name]

    def equal(self, name: str, value: str, rows: slice = _ALL) -> Mask:
        """Return which rows, of some, have a value in a column of names."""
        return self._rows.equal(name, value, rows)

    def number(self, name: str) -> Ints:
        """Return a column of whole numbers."""
        return self._rows.number(name)

    def where(self, mask: Mask) -> "Failures":
        """Return some of the rows."""
        found = Failures(self._rows.where(mask))
        if "request" in self.__dict__:  # faster than from the hashes
            found.request = numbered(self.request[mask])[0]
        return found

    @cached_property
    def failed(self) -> "Failures":
        """The failed builds, without rejected requests."""
        return self.where(self.number("failed_builds") != 0)

    @property
    def day(self) -> Ints:
        return self._rows.day

    @cached_property
    def count(self) -> Ints:
        return self.number("failed_builds") + self.number("rejected_requests")

    @cached_property
    def device(self) -> Ints:
        """Return a number from 0 for each row, equal for equal (target, profile)."""
        return numbered(self.name("target").codes, self.name("profile").codes)[0]

    @property
    def devices(self) -> int:
        """The number of distinct (target, profile)."""
        return int(self.device.max(initial=-1)) + 1

    @cached_property
    def has_hash(self) -> Mask:
        found: Mask = self.number("request") != 0
        return found

    @cached_property
    def request(self) -> Ints:
        """Return a number from 0 for each row, equal for equal requests.

        A failure without hash is a request of its own.
        """
        hashes = self.number("request")
        order = np.argsort(hashes)
        ordered = hashes[order]
        begins = (np.diff(ordered, prepend=0) != 0) | (ordered == 0)
        begins[:1] = True
        found = np.empty(len(self), np.int64)
        found[order] = np.cumsum(begins) - 1
        return found

    @cached_property
    def once(self) -> Mask:
        """Return for each row whether it is the only one of its request."""
        found: Mask = np.bincount(self.request)[self.request] == 1
        return found

    def pairs(self, of: Ints, rows: Mask | None = None) -> Ints:
        """Return a row of each distinct pair of a request and a value `of`, among some rows."""
        once = self.once if rows is None else self.once & rows
        again = np.flatnonzero(~self.once if rows is None else ~self.once & rows)
        _, firsts = numbered(self.request[again], of[again])
        return np.concatenate((np.flatnonzero(once), again[firsts]))


class Group(NamedTuple):
    """Failures together: their number, distinct hashes and devices, first and last day."""

    failures: int
    requests_hit: int
    devices: int
    first_seen: date
    last_seen: date


class Groups(NamedTuple):
    """The same of each group, in columns. Days are ordinals."""

    failures: Ints
    requests_hit: Ints
    devices: Ints
    first_seen: Ints
    last_seen: Ints

    def of(self, group: int) -> Group:
        """Return one group."""
        failures, hit, devices, first, last = (int(column[group]) for column in self)
        days = date.fromordinal(first), date.fromordinal(last)
        return Group(failures, hit, devices, *days)


def grouped(failures: Failures, group: Ints, groups: int) -> Groups:
    """Return what the failures of each group are together. No group is empty."""
    last = np.zeros(groups, np.int64)
    np.maximum.at(last, group, failures.day)
    return Groups(
        total(group, groups, failures.count),
        requests_hit(failures, group, groups),
        distinct(group, groups, failures.device),
        first_days(failures, group, groups),
        last,
    )


def first_days(failures: Failures, group: Ints, groups: int) -> Ints:
    """Return the ordinal of the first day with failures of each group. No group is empty."""
    first = np.full(groups, date.max.toordinal())
    np.minimum.at(first, group, failures.day)
    return first


def requests_hit(failures: Failures, group: Ints, groups: int) -> Ints:
    """Return the number of distinct request hashes of each group."""
    rows = failures.pairs(group, failures.has_hash)
    return np.bincount(group[rows], minlength=groups)


def hidden(failures: Failures, group: Ints, groups: int) -> Mask:
    """Return which groups hit too few request hashes for the public floor."""
    found: Mask = requests_hit(failures, group, groups) < floor.min_requests()
    return found


class Errors(NamedTuple):
    """Errors by fingerprint and device: columns of them, and their numbers."""

    fingerprint: Names
    version: Names
    device: Ints  # equal for equal (target, profile)
    counts: Ints


def by_fingerprint(connection: Connection, window: Window, filters: Mapping[str, str]) -> Errors:
    """Return the errors of `window` by fingerprint and device.

    Errors of older archive files, whose text was not read, have an empty fingerprint.
    """
    (totals,) = sums.cubes(connection, window, FINGERPRINTS)
    columns, count = totals.columns()
    matching = np.ones(len(count), bool)
    for name, value in filters.items():
        matching &= columns[_PLACES[name]].equal(value)
    fingerprint, _, _, version, target, profile = (column.where(matching) for column in columns)
    device, _ = numbered(target.codes, profile.codes)
    return Errors(fingerprint, version, device, count[matching])


_PLACES: Final = {"category": 1, "type": 2, "version": 3}


class FingerprintText(NamedTuple):
    """Pattern, category and type of a fingerprint, with the earliest text and its request hash."""

    pattern: str
    category: str
    type: str
    example: str | None
    request_hash: str | None


def send(connection: Connection, window: Window) -> None:
    """Ask for what `read` and `basis` need, and do not wait for it."""
    day_rows.send(connection, window.start, window.end, OF_DAY)
    send_basis(connection, window)


def read(connection: Connection, window: Window, filters: Mapping[str, str]) -> Failures:
    """Return the failures of `window`. All are remembered until a day changes."""
    memories, key = cached.of(connection).memories, (Failures, window)
    changes = reader.changes(connection, window.start, window.end)
    known: _Known | None = memories.get(key)
    if known is None or known.changes != changes:
        rows = day_rows.read(connection, window.start, window.end, OF_DAY)
        memories.put(key, known := _Known(changes, Failures(rows), 6 * rows.columns.nbytes))
    found = known.failures
    for name, value in filters.items():
        found = found.where(found.equal(name, value))
    return found


class _Known(NamedTuple):
    changes: Mapping[int, int]
    failures: Failures
    bytes: int  # with the columns derived, roughly


def _select_texts(given: FromClause) -> Select[Any]:
    t = error_fingerprints.c
    columns = t.pattern, t.error_category, t.error_type, t.example, t.example_hash
    same = t.fingerprint == given.c.fingerprint
    return select(t.fingerprint, *columns).join_from(given, error_fingerprints, same)


_FINGERPRINT: Final = (("fingerprint", _f.fingerprint.type),)


def texts(connection: Connection, fingerprints: Iterable[str]) -> dict[str, FingerprintText]:
    """Return the texts of fingerprints, with shortened hashes in the example.

    With a public floor, the pattern is the example.
    """
    return send_texts(connection, fingerprints)()


def send_texts(
    connection: Connection, fingerprints: Iterable[str]
) -> Callable[[], dict[str, FingerprintText]]:
    """Ask for the texts of fingerprints. Return a function that waits for them."""
    rows = [(each,) for each in sorted(set(fingerprints))]
    sent = statements.send_for_once(connection, _select_texts, _FINGERPRINT, rows)

    def texts() -> dict[str, FingerprintText]:
        stored = {row[0]: FingerprintText(*row[1:]) for row in sent()}
        if not floor.min_requests():
            return {name: _shown(text) for name, text in stored.items()}
        # A text contains names, and the hash identifies a request.
        return {
            name: text._replace(example=text.pattern, request_hash=None)
            for name, text in stored.items()
        }

    return texts


def _shown(text: FingerprintText) -> FingerprintText:
    example = text.example and shown_text(text.example, text.request_hash)
    return text._replace(example=example)


def _select_days(given: FromClause) -> Select[Any]:
    """Select the first and last day with failures of fingerprints."""
    here = (_f.fingerprint == given.c.fingerprint) & (
        (_f.failed_builds != 0) | (_f.rejected_requests != 0)
    )
    days = select(_f.date).where(here).correlate(given).limit(1)
    first = days.order_by(_f.date).scalar_subquery()
    last = days.order_by(_f.date.desc()).scalar_subquery()
    return select(given.c.fingerprint, first.label("first"), last.label("last"))


def first_and_last_days(
    connection: Connection, fingerprints: Iterable[str]
) -> dict[str, tuple[date, date]]:
    """Return the first and last UTC day with failures, in all data, per fingerprint."""
    return send_first_and_last_days(connection, fingerprints)()


def send_first_and_last_days(
    connection: Connection, fingerprints: Iterable[str]
) -> Callable[[], dict[str, tuple[date, date]]]:
    """Ask for what `first_and_last_days` returns. Return a function that waits for it."""
    rows = [(each,) for each in sorted(set(fingerprints))]
    sent = statements.send_for_once(connection, _select_days, _FINGERPRINT, rows)
    return lambda: {name: (first, last) for name, first, last in sent() if first is not None}


_HASH: Final = _f.request_hash


def _select_hits(given: FromClause) -> Select[Any]:
    """Select the number of distinct request hashes per fingerprint and time range."""
    here = (_f.fingerprint == given.c.fingerprint) & _f.date.between(given.c.start, given.c.end)
    nonzero = ((_f.failed_builds != 0) | (_f.rejected_requests != 0)) & (_HASH != NO_HASH)
    hashes = select(func.count(_HASH.distinct())).where(here, nonzero).correlate(given)
    return select(given.c.fingerprint, hashes.scalar_subquery().label("hashes"))


def patterns(connection: Connection, window: Window, fingerprints: Iterable[str]) -> dict[str, str]:
    """Return the patterns of the fingerprints that hit enough requests for the public floor."""
    rows = [(each, window.start, window.end) for each in sorted(set(fingerprints) - {""})]
    fields = (*_FINGERPRINT, ("start", _f.date.type), ("end", _f.date.type))
    hits = statements.fetch_for(connection, _select_hits, fields, rows)
    shown = [name for name, requests in hits if requests >= floor.min_requests()]
    return {name: text.pattern for name, text in texts(connection, shown).items()}


_BASIS: Final = ("successful_builds", "failed_builds", "total_requests", "rejected_requests")


def send_basis(connection: Connection, window: Window) -> None:
    """Ask for what `basis` needs, and do not wait for it."""
    sums.send_days(connection, window, *_BASIS)


def basis(connection: Connection, window: Window, method: str, *, found: int) -> Basis:
    """Return the basis of an insight on failures: ended builds and requests of `window`.

    There is enough data if there are builds, requests, or failures, of which `found` are known.
    """
    days = sums.days(connection, window, *_BASIS)
    builds = sum(row[1] + row[2] for row in days)
    requests = sum(row[3] + row[4] for row in days)
    enough = bool(builds or requests or found)
    return {"builds": builds, "requests": requests, "method": method, "enough": enough}
