"""Our own report functions, by the names of the questions."""

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


def ask(engine: Engine, question: str, window: Window) -> Any:
    """Return the whole answer of a report function, in a snapshot of its own; nothing is cached."""
    with read_snapshot(engine) as connection:
        return _whole(REPORTS[question](connection, window))


def _whole(found: Any) -> Any:
    """Return an answer with all rows of its lists."""
    if isinstance(found, Listing):
        return list(found)
    if isinstance(found, dict):
        return {name: _whole(member) for name, member in found.items()}
    return found
