"""Failures of a time range as rows: error, device, client, worker, request hash and count.

A row of `stats_failures` holds numbers of names; `read` returns the names. Filters are fields of a
row, such as `version`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Date, FromClause, Select, bindparam, func, literal_column, select

from asu_stats.events import NO_HASH, UNKNOWN
from asu_stats.reports import floor, sums
from asu_stats.reports.insights.basis import Basis
from asu_stats.reports.packages import branch_of
from asu_stats.store.blocks.cubes import FINGERPRINTS
from asu_stats.store.database import statements
from asu_stats.store.database.schema import error_fingerprints
from asu_stats.store.rollups import names
from asu_stats.store.rollups.definitions import FAILURES
from asu_stats.windows import Window

Device = tuple[str, str]


@dataclass(slots=True, eq=False)
class Failure:
    """Failed builds and rejected requests with one key of `stats_failures`."""

    day: date
    fingerprint: str
    category: str
    type: str
    package: str
    version: str
    target: str
    profile: str
    client: str
    client_version: str
    worker: str
    package_list: int
    request_hash: str
    failed_builds: int
    rejected_requests: int

    @property
    def count(self) -> int:
        return self.failed_builds + self.rejected_requests

    @property
    def device(self) -> Device:
        return self.target, self.profile

    @property
    def branch(self) -> str:
        return branch_of(self.version)

    @property
    def request(self) -> object:
        """Identity of the request. A failure without hash is a request of its own."""
        return self.request_hash or self


class FingerprintText(NamedTuple):
    """Pattern, category and type of a fingerprint, with the earliest text and its request hash."""

    pattern: str
    category: str
    type: str
    example: str | None
    request_hash: str | None


_f: Final = FAILURES.table.c
_COLUMNS: Final = (
    *(_f.date, _f.fingerprint, _f.error_category, _f.error_type, _f.package, _f.device),
    *(_f.asker, _f.worker, _f.package_list, _f.request_hash),
    *(_f.failed_builds, _f.rejected_requests),
)
_UNKNOWN_NAMES: Final = (UNKNOWN,) * 3


@lru_cache(maxsize=16)
def _select(fields: tuple[str, ...], *, with_package: bool) -> Select[Any]:
    window = _f.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date))
    nonzero = (_f.failed_builds != 0) | (_f.rejected_requests != 0)
    same = [_f[name] == bindparam(name, type_=_f[name].type) for name in fields]
    if with_package:
        same.append(_f.package != literal_column("''"))
    return select(*_COLUMNS).where(window, nonzero, *same)


_STORED: Final = {"fingerprint": "fingerprint", "category": "error_category", "type": "error_type"}
_DEVICE: Final = ("version", "target", "profile")


def read(
    connection: Connection,
    window: Window,
    filters: Mapping[str, str],
    *,
    with_package: bool = False,
) -> list[Failure]:
    """Return the failures of `window`; with `with_package`, only those that name a package."""
    stored = {_STORED[name]: value for name, value in filters.items() if name in _STORED}
    rows = statements.fetch(
        connection,
        _select(tuple(stored), with_package=with_package),
        start=window.start,
        end=window.end,
        **stored,
    )
    names_of = names.read(connection, {number for row in rows for number in row[5:8]})
    unstored = {name: value for name, value in filters.items() if name not in _STORED}
    found = []
    for row in rows:
        device, client, worker = (names_of.get(number, _UNKNOWN_NAMES) for number in row[5:8])
        fields: list[Any] = [*row[:5], *device, *client[:2], worker[0], *row[8:]]
        failure = Failure(*fields)
        if unstored and any(getattr(failure, name) != value for name, value in unstored.items()):
            continue
        found.append(failure)
    return found


def by_fingerprint(
    connection: Connection, window: Window, filters: Mapping[str, str]
) -> dict[str, dict[names.Names, int]]:
    """Return the errors of `window` by fingerprint and by version, target and profile.

    Errors of older archive files, whose text was not read, have an empty fingerprint.
    """
    (totals,) = sums.cubes(connection, window, FINGERPRINTS)
    found = [(key, errors) for key, (errors,) in totals.rows()]
    names_of = names.read(connection, {key[-1] for key, _ in found})
    groups: dict[str, dict[names.Names, int]] = defaultdict(lambda: defaultdict(int))
    for (fingerprint, category, error_type, number), errors in found:
        device = names_of.get(number, _UNKNOWN_NAMES)
        if filters:
            fields = category, error_type, *device
            if any(fields[_FIELDS[name]] != value for name, value in filters.items()):
                continue
        groups[fingerprint][device] += errors
    return groups


_FIELDS: Final = {"category": 0, "type": 1, "version": 2, "target": 3, "profile": 4}


def requests_hit(failures: Iterable[Failure]) -> int:
    """Return the number of distinct request hashes, without failures that have no hash."""
    return len({failure.request_hash for failure in failures} - {NO_HASH})


def devices(failures: Iterable[Failure]) -> int:
    """Return the number of distinct (target, profile)."""
    return len({failure.device for failure in failures})


def _select_texts(given: FromClause) -> Select[Any]:
    t = error_fingerprints.c
    columns = t.pattern, t.error_category, t.error_type, t.example, t.example_hash
    same = t.fingerprint == given.c.fingerprint
    return select(t.fingerprint, *columns).join_from(given, error_fingerprints, same)


_FINGERPRINT: Final = (("fingerprint", _f.fingerprint.type),)


def texts(connection: Connection, fingerprints: Iterable[str]) -> dict[str, FingerprintText]:
    """Return the texts of fingerprints; with a public floor, the pattern as the example."""
    rows = [(each,) for each in sorted(set(fingerprints))]
    found = statements.fetch_for(connection, _select_texts, _FINGERPRINT, rows)
    stored = {row[0]: FingerprintText(*row[1:]) for row in found}
    if not floor.min_requests():
        return stored
    # A text contains names, and the hash identifies a request.
    return {
        name: text._replace(example=text.pattern, request_hash=None)
        for name, text in stored.items()
    }


def is_shown(failures: Iterable[Failure]) -> bool:
    """Return whether failures hit enough request hashes for the public floor."""
    return not floor.min_requests() or requests_hit(failures) >= floor.min_requests()


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
    rows = [(each,) for each in sorted(set(fingerprints))]
    found = statements.fetch_for(connection, _select_days, _FINGERPRINT, rows)
    return {name: (first, last) for name, first, last in found if first is not None}


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


def basis(connection: Connection, window: Window, method: str, *, found: Sequence[object]) -> Basis:
    """Return the basis of an insight on failures: ended builds and requests of `window`.

    There is enough data if there are builds, requests, or any failures in `found`.
    """
    columns = "successful_builds", "failed_builds", "total_requests", "rejected_requests"
    days = sums.days(connection, window, *columns)
    builds = sum(row[1] + row[2] for row in days)
    requests = sum(row[3] + row[4] for row in days)
    enough = bool(builds or requests or found)
    return {"builds": builds, "requests": requests, "method": method, "enough": enough}
