"""The rows of rollups that count builds per group and day."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sqlalchemy import Date, Select, bindparam, case, func, select

from asu_stats.events import UNKNOWN
from asu_stats.store.blocks.keys import Ints
from asu_stats.store.blocks.rows import DayRows, Rows
from asu_stats.store.database.dialects import Row
from asu_stats.store.rollups.definitions import ATTEMPTS, PROFILES, UNTIMED, VERSION_TARGET, Rollup
from asu_stats.store.rollups.names import name_numbers

_SUMS: Final = ("success_count", "failure_count", "timed_builds", "build_time_seconds")


def _of_rollup(rollup: Rollup, *by: str) -> DayRows:
    """Declare the builds of a day in a rollup, by some names."""
    t = rollup.table.c
    ended = (t.success_count != 0) | (t.failure_count != 0)
    of_day = (
        select(*(t[name] for name in by), *(func.sum(t[name]) for name in _SUMS))
        .where(t.date == bindparam("day", type_=Date), ended)
        .group_by(*(t[name] for name in by))
    )
    return DayRows(of_day, by, _SUMS, lambda row: row)


def _attempts() -> Select[Any]:
    """Select the builds of a day by device, worker and seconds."""
    t, device, worker = ATTEMPTS.table, name_numbers.alias("device"), name_numbers.alias("worker")
    sums = func.sum(t.c.successful_builds), func.sum(t.c.failed_builds)
    by = t.c.device, t.c.worker, t.c.seconds
    grouped = (
        select(*by, *(each.label(name) for each, name in zip(sums, ("good", "bad"), strict=True)))
        .where(t.c.date == bindparam("day", type_=Date))
        .group_by(*by)
        .subquery()
    )
    found = grouped.c
    source = grouped.outerjoin(device, device.c.number == found.device)
    source = source.outerjoin(worker, worker.c.number == found.worker)
    columns = device.c.names, worker.c.names, found.seconds, found.good, found.bad
    return select(*columns).select_from(source)


def _split(row: Row) -> Sequence[Any]:
    device, worker, *numbers = row
    return (*(device or (UNKNOWN,) * 3), *(worker or (UNKNOWN,)), *numbers)


def _by_worker() -> Select[Any]:
    """Select the builds of a day by worker."""
    t, worker = ATTEMPTS.table.c, name_numbers.alias("worker")
    timed = case((t.seconds != UNTIMED, t.successful_builds), else_=0)
    sums = t.successful_builds, t.failed_builds, timed, timed * t.seconds
    found = (
        select(t.worker, *(func.sum(of).label(name) for of, name in zip(sums, _SUMS, strict=True)))
        .where(t.date == bindparam("day", type_=Date))
        .group_by(t.worker)
        .subquery()
    )
    source = found.outerjoin(worker, worker.c.number == found.c.worker)
    return select(worker.c.names, *(found.c[name] for name in _SUMS)).select_from(source)


CELLS: Final = _of_rollup(VERSION_TARGET, "version", "target")
BY_PROFILE: Final = _of_rollup(PROFILES, "profile")
BY_WORKER: Final = DayRows(
    _by_worker(), ("worker",), _SUMS, lambda row: (*(row[0] or (UNKNOWN,)), *row[1:])
)
BUILDS: Final = DayRows(
    _attempts(),
    ("version", "target", "profile", "worker"),
    ("seconds", "succeeded", "failed"),
    _split,
)


def rollup_sums(rows: Rows) -> Ints:
    """Return ended, failed and timed builds and seconds of rows of a rollup."""
    succeeded, failed, timed, seconds = map(rows.number, _SUMS)
    return np.stack([succeeded + failed, failed, timed, seconds])


def build_sums(rows: Rows) -> Ints:
    """Return the same of rows of `ATTEMPTS`."""
    succeeded, failed, seconds = map(rows.number, ("succeeded", "failed", "seconds"))
    timed = np.where(seconds == UNTIMED, 0, succeeded)
    return np.stack([succeeded + failed, failed, timed, timed * seconds])
