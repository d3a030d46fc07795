"""Failures of a time range as rows: what failed, for whom, with what error, how often.

A row is what `stats_failures` has of a day under one key, with the names that its numbers stand
for. Filters are names of its fields, such as `version`.
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
    """Failures of one day and request."""

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
        """What is counted once in `requests_hit`; a request without hash is like no other."""
        return self.request_hash or self


class Known(NamedTuple):
    """What a fingerprint stands for."""

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
_NOBODY: Final = (UNKNOWN,) * 3


@lru_cache(maxsize=16)
def _select(fields: tuple[str, ...], *, with_package: bool) -> Select[Any]:
    window = _f.date.between(bindparam("start", type_=Date), bindparam("end", type_=Date))
    some = (_f.failed_builds != 0) | (_f.rejected_requests != 0)
    same = [_f[name] == bindparam(name, type_=_f[name].type) for name in fields]
    if with_package:
        same.append(_f.package != literal_column("''"))
    return select(*_COLUMNS).where(window, some, *same)


_STORED: Final = {"fingerprint": "fingerprint", "category": "error_category", "type": "error_type"}
_DEVICE: Final = ("version", "target", "profile")


def read(
    connection: Connection,
    window: Window,
    filters: Mapping[str, str],
    *,
    with_package: bool = False,
) -> list[Failure]:
    """Return the failures of `window`, by day; `with_package`: those that name a package."""
    stored = {_STORED[name]: value for name, value in filters.items() if name in _STORED}
    rows = statements.fetch(
        connection,
        _select(tuple(stored), with_package=with_package),
        start=window.start,
        end=window.end,
        **stored,
    )
    known = names.read(connection, {number for row in rows for number in row[5:8]})
    named = {name: value for name, value in filters.items() if name not in _STORED}
    found = []
    for row in rows:
        device, asker, worker = (known.get(number, _NOBODY) for number in row[5:8])
        fields: list[Any] = [*row[:5], *device, *asker[:2], worker[0], *row[8:]]
        failure = Failure(*fields)
        if not named or all(getattr(failure, name) == value for name, value in named.items()):
            found.append(failure)
    return found


def by_fingerprint(
    connection: Connection, window: Window, filters: Mapping[str, str]
) -> dict[str, dict[names.Names, int]]:
    """Return the errors of `window` by fingerprint and by version, target and profile.

    Those whose text was not read have an empty fingerprint.
    """
    (totals,) = sums.cubes(connection, window, FINGERPRINTS)
    found = [(key, errors) for key, (errors,) in totals.rows()]
    known = names.read(connection, {key[-1] for key, _ in found})
    groups: dict[str, dict[names.Names, int]] = defaultdict(lambda: defaultdict(int))
    for (fingerprint, category, error_type, number), errors in found:
        device = known.get(number, _NOBODY)
        if filters:
            own = category, error_type, *device
            if any(own[_PLACES[name]] != value for name, value in filters.items()):
                continue
        groups[fingerprint][device] += errors
    return groups


_PLACES: Final = {"category": 0, "type": 1, "version": 2, "target": 3, "profile": 4}


def requests_hit(failures: Iterable[Failure]) -> int:
    """Return the number of distinct request hashes; failures without hash are not in it."""
    return len({failure.request_hash for failure in failures} - {NO_HASH})


def devices(failures: Iterable[Failure]) -> int:
    """Return the number of distinct (target, profile)."""
    return len({failure.device for failure in failures})


def _known(given: FromClause) -> Select[Any]:
    t = error_fingerprints.c
    columns = t.pattern, t.error_category, t.error_type, t.example, t.example_hash
    same = t.fingerprint == given.c.fingerprint
    return select(t.fingerprint, *columns).join_from(given, error_fingerprints, same)


_FINGERPRINT: Final = (("fingerprint", _f.fingerprint.type),)


def known(connection: Connection, fingerprints: Iterable[str]) -> dict[str, Known]:
    """Return what fingerprints stand for; with a public floor, the pattern instead of a text."""
    rows = [(each,) for each in sorted(set(fingerprints))]
    found = statements.fetch_for(connection, _known, _FINGERPRINT, rows)
    every = {row[0]: Known(*row[1:]) for row in found}
    if not floor.least():
        return every
    # A text holds names, and the hash identifies a request.
    return {
        name: each._replace(example=each.pattern, request_hash=None) for name, each in every.items()
    }


def is_shown(failures: Iterable[Failure]) -> bool:
    """Tell whether what failures have in common is shown: it hit enough requests."""
    return not floor.least() or requests_hit(failures) >= floor.least()


def _seen(given: FromClause) -> Select[Any]:
    """Select the first and last day on which given fingerprints have failures."""
    here = (_f.fingerprint == given.c.fingerprint) & (
        (_f.failed_builds != 0) | (_f.rejected_requests != 0)
    )
    days = select(_f.date).where(here).correlate(given).limit(1)
    first = days.order_by(_f.date).scalar_subquery()
    last = days.order_by(_f.date.desc()).scalar_subquery()
    return select(given.c.fingerprint, first.label("first"), last.label("last"))


def seen(connection: Connection, fingerprints: Iterable[str]) -> dict[str, tuple[date, date]]:
    """Return the first and last UTC day, of all that are known, of those that have failures."""
    rows = [(each,) for each in sorted(set(fingerprints))]
    found = statements.fetch_for(connection, _seen, _FINGERPRINT, rows)
    return {name: (first, last) for name, first, last in found if first is not None}


_HASH: Final = _f.request_hash


def _hit(given: FromClause) -> Select[Any]:
    """Select how many request hashes given fingerprints hit in given days."""
    here = (_f.fingerprint == given.c.fingerprint) & _f.date.between(given.c.start, given.c.end)
    some = ((_f.failed_builds != 0) | (_f.rejected_requests != 0)) & (_HASH != NO_HASH)
    hit = select(func.count(_HASH.distinct())).where(here, some).correlate(given)
    return select(given.c.fingerprint, hit.scalar_subquery().label("hit"))


def patterns(connection: Connection, window: Window, fingerprints: Iterable[str]) -> dict[str, str]:
    """Return the patterns of those fingerprints that hit enough requests to be shown."""
    wanted = [(each, window.start, window.end) for each in sorted(set(fingerprints) - {""})]
    fields = (*_FINGERPRINT, ("start", _f.date.type), ("end", _f.date.type))
    hit = statements.fetch_for(connection, _hit, fields, wanted)
    shown = [name for name, requests in hit if requests >= floor.least()]
    return {name: each.pattern for name, each in known(connection, shown).items()}


def basis(connection: Connection, window: Window, method: str, *, found: Sequence[object]) -> Basis:
    """Return what an insight on failures rests on: ended builds and requests of `window`."""
    columns = "successful_builds", "failed_builds", "total_requests", "rejected_requests"
    days = sums.days(connection, window, *columns)
    builds = sum(row[1] + row[2] for row in days)
    requests = sum(row[3] + row[4] for row in days)
    enough = bool(builds or requests or found)
    return {"builds": builds, "requests": requests, "method": method, "enough": enough}
