"""The reports of asu-stats, without HTTP and caches."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine

from asu_stats.reports import (
    clients,
    diff_packages,
    errors,
    overview,
    performance,
    profiles,
    targets,
    timeseries,
    versions,
)
from asu_stats.reports.listing import Listing
from asu_stats.store.database.engine import read_snapshot
from asu_stats.windows import Window

REPORTS: Final[Mapping[str, Callable[[Connection, Window], Any]]] = {
    "overview": overview.read,
    "versions": versions.read,
    "targets": targets.read,
    "profiles": profiles.read,
    "clients": clients.read,
    "diff-packages": diff_packages.read,
    "errors": errors.read,
    "performance": performance.read,
    "timeseries": lambda db, window: timeseries.read(db, window, interval="day", filters={}),
}


PAGE: Final = "profiles"  # measured as a page too: it has a row per profile
_PAGE_ROWS: Final = 100


def read_report(engine: Engine, report: str, window: Window) -> Any:
    """Return the complete result of a report, read in a snapshot of its own."""
    with read_snapshot(engine) as connection:
        return _complete(REPORTS[report](connection, window))


def read_page(engine: Engine, report: str, window: Window) -> Any:
    """Return the first 100 rows of a report that is a list."""
    with read_snapshot(engine) as connection:
        return REPORTS[report](connection, window)[:_PAGE_ROWS]


def _complete(result: Any) -> Any:
    """Return a result with all rows of its lists."""
    if isinstance(result, Listing):
        return list(result)
    if isinstance(result, dict):
        return {name: _complete(member) for name, member in result.items()}
    return result
