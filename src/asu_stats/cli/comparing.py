"""What an import's source and this database say of the same days and versions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import Connection

from asu_stats.cli import output
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
class Compared:
    """One day or version: totals of the source, and of this database."""

    by: str
    name: str
    source: Mapping[str, int]
    target: Mapping[str, int]

    @property
    def missing(self) -> list[str]:
        """Which totals this database has less of."""
        return [name for name, count in self.source.items() if self.target[name] < count]

    @property
    def state(self) -> str:
        """In one word; `more` is what else this database has counted."""
        if self.missing:
            return "fewer here"
        return "equal" if self.source == self.target else "more here"


def compare(settings: Settings, totals: Totals) -> list[Compared]:
    """Return the days and versions of `totals`, each beside what the database counts.

    Only days of the source are looked at. Raises as opening a database does.
    """
    if not totals.days:
        return []
    window = Window(min(totals.days), max(totals.days))
    with opened(settings, writes=False) as engine:
        migrate.check(engine)
        with read_snapshot(engine) as connection:
            days = {
                str(key): row for key, row in _target(connection, window, "date", DAILY).items()
            }
            versions = _target(connection, window, "version", VERSION_TARGET)
    by_day = {day.isoformat(): found for day, found in totals.days.items()}
    return [*_rows("day", by_day, days), *_rows("version", totals.versions, versions)]


def _rows(
    by: str, source: Mapping[str, Sums], target: Mapping[Any, Mapping[str, int]]
) -> Iterator[Compared]:
    nothing = asdict(Sums())
    for name in sorted(source):
        yield Compared(by, name, asdict(source[name]), {**nothing, **target.get(name, {})})


def _target(
    connection: Connection, window: Window, by: str, builds: Rollup
) -> dict[Any, dict[str, int]]:
    """Return what the rollups count, under the names of `Sums`."""
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


def compare_days(settings: Settings, totals: Mapping[date, Mapping[str, int]]) -> list[Compared]:
    """Return the days of `totals`, which has sums by the names of `_DAILY`, beside ours."""
    if not totals:
        return []
    window = Window(min(totals), max(totals))
    with opened(settings, writes=False) as engine:
        migrate.check(engine)
        with read_snapshot(engine) as connection:
            found = {day: own for day, *own in sums.days(connection, window, *_DAILY.values())}
    nothing = [0] * len(_DAILY)
    return [
        Compared(
            "day",
            day.isoformat(),
            {name: totals[day].get(name, 0) for name in _DAILY},
            dict(zip(_DAILY, map(int, found.get(day, nothing)), strict=True)),
        )
        for day in sorted(totals)
    ]


# Totals that the table shows, by short names that fit side by side.
_SHOWN: Final = {
    "requests": "requests",
    "cache_hits": "hits",
    "successful_builds": "built",
    "failed_builds": "failed",
    "request": "request",
    "cache_hit": "hit",
    "build_completed": "built",
    "failure": "failed",
    "diff_packages_true": "diff",
    "diff_packages_false": "no diff",
    "seconds": "seconds",
}


def print_compared(rows: Sequence[Compared]) -> None:
    """Print a table: where both agree one number, else source>here."""
    shown = [name for name in _SHOWN if name in rows[0].source]
    cells = [(row.name, *(_cell(row, name) for name in shown), row.state) for row in rows]
    output.print_table(("", *(_SHOWN[name] for name in shown), ""), cells)


def _cell(row: Compared, column: str) -> str:
    source, target = row.source[column], row.target[column]
    return str(source) if source == target else f"{source}>{target}"
