"""Compares the totals of an import source with those of this database, by day and version."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection

from asu_stats.importers.go_builder import Sums, Totals
from asu_stats.reports import sums
from asu_stats.service.database import opened
from asu_stats.settings import Settings
from asu_stats.store import migrate
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.rollups.definitions import DAILY, LEGACY, VERSION_TARGET, Rollup
from asu_stats.windows import Window

_SECONDS: Final = {DAILY: "total_build_time_seconds", VERSION_TARGET: "build_time_seconds"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One day or version: totals of the source, and of this database."""

    by: str
    name: str
    source: Mapping[str, int]
    target: Mapping[str, int]

    @property
    def missing(self) -> list[str]:
        """Names of the totals that are smaller in this database."""
        return [name for name, count in self.source.items() if self.target[name] < count]

    @property
    def state(self) -> str:
        """`equal`, `fewer here`, or `more here` if this database also has other events."""
        if self.missing:
            return "fewer here"
        return "equal" if self.source == self.target else "more here"


def compare(settings: Settings, totals: Totals) -> list[Comparison]:
    """Return the days and versions of `totals`, each with the totals of the database.

    Days without data in the source are left out. Raises the errors of `service.database.opened`.
    """
    if not totals.days:
        return []
    window = Window(min(totals.days), max(totals.days))
    with opened(settings, writes=False) as engine:
        migrate.check(engine)
        with read_snapshot(engine) as connection:
            days = {
                str(key): row
                for key, row in _target_sums(connection, window, "date", DAILY).items()
            }
            versions = _target_sums(connection, window, "version", VERSION_TARGET)
    by_day = {day.isoformat(): of_day for day, of_day in totals.days.items()}
    return [*_rows("day", by_day, days), *_rows("version", totals.versions, versions)]


def _rows(
    by: str, source: Mapping[str, Sums], target: Mapping[Any, Mapping[str, int]]
) -> Iterator[Comparison]:
    zeros = asdict(Sums())
    for name in sorted(source):
        yield Comparison(by, name, asdict(source[name]), {**zeros, **target.get(name, {})})


def _target_sums(
    connection: Connection, window: Window, by: str, builds: Rollup
) -> dict[Any, dict[str, int]]:
    """Return the sums of rollups by day or version, with the names of `Sums`."""
    found: dict[Any, dict[str, int]] = {}
    for row in sums.rows(connection, LEGACY, (by,), window):
        found[getattr(row, by)] = {name: int(getattr(row, name)) for name in LEGACY.adds}
    for row in sums.rows(connection, builds, (by,), window):
        timed = {"timed_builds": row.timed_builds, "seconds": getattr(row, _SECONDS[builds])}
        found.setdefault(getattr(row, by), {}).update({k: int(n) for k, n in timed.items()})
    return found


_DAILY: Final = {
    "requests": "total_requests",
    "cache_hits": "cache_hits",
    "successful_builds": "successful_builds",
    "failed_builds": "failed_builds",
    "seconds": "total_build_time_seconds",
}


def compare_days(settings: Settings, totals: Mapping[date, Mapping[str, int]]) -> list[Comparison]:
    """Return the days of `totals`, each with the totals of the database. Names as in `_DAILY`."""
    if not totals:
        return []
    window = Window(min(totals), max(totals))
    with opened(settings, writes=False) as engine:
        migrate.check(engine)
        with read_snapshot(engine) as connection:
            found = {day: row for day, *row in sums.days(connection, window, *_DAILY.values())}
    zeros = [0] * len(_DAILY)
    return [
        Comparison(
            "day",
            day.isoformat(),
            {name: totals[day].get(name, 0) for name in _DAILY},
            dict(zip(_DAILY, map(int, found.get(day, zeros)), strict=True)),
        )
        for day in sorted(totals)
    ]
