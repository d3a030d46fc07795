"""Changes of rollups by a batch: summed in memory, then one statement per rollup."""

import operator
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    Integer,
    Select,
    Update,
    bindparam,
    func,
    select,
    update,
)

from asu_stats.store.database import dialects, distinct, statements
from asu_stats.store.rollups import names as number_names
from asu_stats.store.rollups.definitions import (
    DAILY,
    DISTINCT,
    DURATIONS,
    HOURLY,
    ROLLUPS,
    Key,
    Rollup,
)

_DISTINCT_OF: Final = {
    each.of: (
        distinct.Sums(each.of.table, each.of.key, each.of.adds),
        distinct.Distinct(each.having, each.into.table, each.into.key, each.add),
    )
    for each in DISTINCT
}


class Deltas:
    """Changes of rollups by a batch, summed per key in memory.

    `names` are the names that numbers in its keys stand for.
    """

    def __init__(self) -> None:
        self.names: dict[int, number_names.Names] = {}
        self._sums: defaultdict[Rollup, dict[Key, Sequence[int]]] = defaultdict(dict)

    def add(self, rollup: Rollup, key: Key, amounts: Sequence[int]) -> None:
        """Add `amounts`, the first of `rollup.adds` in their order, to the sums of `key`."""
        sums = self._sums[rollup]
        known = sums.get(key)
        if known is None:
            sums[key] = amounts
        elif len(known) == 1 == len(amounts):
            sums[key] = (known[0] + amounts[0],)
        elif len(known) > len(amounts):
            sums[key] = (*map(operator.add, known, amounts), *known[len(amounts) :])
        else:
            sums[key] = (*map(operator.add, known, amounts), *amounts[len(known) :])

    def add_one(self, rollup: Rollup, key: Key, add: str, amount: int) -> None:
        """Add `amount` to one sum of `key`."""
        self.add(rollup, key, (*(0,) * rollup.place(add), amount))

    def of(self, rollup: Rollup) -> list[tuple[Any, ...]]:
        """Return sorted rows of key and sums, for keys with a sum other than 0."""
        sums = self._sums.get(rollup)
        if sums is None:
            return []
        width = len(rollup.adds)
        return sorted(
            [
                (*key, *amounts, *(0,) * (width - len(amounts)))
                for key, amounts in sums.items()
                if any(amounts)
            ]
        )

    def drop_hours(self, before: datetime) -> None:
        """Drop changes of hours before a time."""
        for rollup in HOURLY:
            sums = self._sums[rollup]
            self._sums[rollup] = {key: sums[key] for key in sums if key[0] >= before}

    def days(self) -> set[date]:
        """Return the UTC days with changes."""
        return {
            key[0]
            for rollup, sums in self._sums.items()
            if rollup.key[0] == "date"
            for key, amounts in sums.items()
            if any(amounts)
        }


def add(connection: Connection, deltas: Deltas) -> None:
    """Add all changes to the rollups, and store new names."""
    for rollup in ROLLUPS:
        rows = deltas.of(rollup)
        if not rows:
            continue
        if rollup in _DISTINCT_OF:
            sums, counted = _DISTINCT_OF[rollup]
            distinct.add(connection, sums, counted, rows)
        else:
            statements.add(connection, rollup.table, rollup.key, rollup.adds, rows)
    number_names.keep(connection, deltas.names)
    _set_bounds(connection, deltas.of(DURATIONS))


# The shortest and longest build of a day ---------------------------------------------------------

BOUNDS: Final = ("min_build_duration_seconds", "max_build_duration_seconds")


def bounds(day: ColumnElement[date]) -> Select[Any]:
    """Select the shortest and longest duration of a day."""
    t = DURATIONS.table
    here = (t.c.date == day) & (t.c.builds > 0)
    return select(func.min(t.c.seconds), func.max(t.c.seconds)).where(here)


@lru_cache(maxsize=2)
def _widen(dialect: str) -> Update:
    least, most = (DAILY.table.c[name] for name in BOUNDS)
    lower, upper = bindparam("lower", type_=Integer), bindparam("upper", type_=Integer)
    return (
        update(DAILY.table)
        .where(DAILY.table.c.date == bindparam("day", type_=Date))
        .values(
            {
                least: dialects.lesser(dialect, func.coalesce(least, lower), lower),
                most: dialects.greater(dialect, func.coalesce(most, upper), upper),
            }
        )
    )


_ON: Final = bindparam("day", type_=Date)
_FIND: Final = bounds(_ON)
_SET: Final = (
    update(DAILY.table)
    .where(DAILY.table.c.date == _ON)
    .values({
        name: _FIND.with_only_columns(found).scalar_subquery()
        for name, found in zip(BOUNDS, _FIND.selected_columns, strict=True)
    })
)  # fmt: skip


def _set_bounds(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Widen the bounds of each day by added builds; read them again if a build was removed."""
    days: dict[date, list[tuple[int, int]]] = {}
    for day, _, seconds, builds in rows:
        days.setdefault(day, []).append((seconds, builds))
    for day, changes in days.items():
        if any(builds < 0 for _, builds in changes):
            find_bounds(connection, day)
        else:
            lower, upper = min(changes)[0], max(changes)[0]
            widen = _widen(connection.dialect.name)
            statements.execute(connection, widen, day=day, lower=lower, upper=upper)


def find_bounds(connection: Connection, day: date) -> None:
    """Set the shortest and longest duration of a day from its durations."""
    statements.execute(connection, _SET, day=day)
