"""Rollups against details: `differences` must find nothing, ever; `rebuild` mends what it finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, select, update

from asu_stats.store import dialects, recount, rollups
from asu_stats.store.engine import read_snapshot, write_transaction
from asu_stats.store.rollups import DERIVED, ROLLUPS, Derived, Key, Rollup
from asu_stats.store.tables import build_metrics, client_stats, store_state


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of a rollup that is not what the details add up to."""

    table: str
    key: Key
    column: str
    stored: int | None
    counted: int | None


Progress = Callable[[date], object]


def days(engine: Engine, start: date | None = None, end: date | None = None) -> list[date]:
    """Return the days of which there are details, within `start` and `end`."""
    with read_snapshot(engine) as connection:
        bounds = [
            connection.execute(select(func.min(column), func.max(column))).one()
            for column in (client_stats.c.timestamp, build_metrics.c.finished_at)
        ]
    known = [moment.date() for pair in bounds for moment in pair if moment is not None]
    if not known:
        return []
    first = max(min(known), start or min(known))
    last = min(max(known), end or max(known))
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def differences(
    engine: Engine,
    start: date | None = None,
    end: date | None = None,
    progress: Progress = lambda _: None,
) -> Iterator[Difference]:
    """Compare the rollups of every day with its details; yield what differs: nothing.

    Each day is read from one consistent state, so it may run while events come in.
    """
    for day in days(engine, start, end):
        with read_snapshot(engine) as connection:
            yield from _differences(connection, day)
        progress(day)


def rebuild(
    engine: Engine,
    start: date | None = None,
    end: date | None = None,
    progress: Progress = lambda _: None,
) -> None:
    """Replace the rollups of every day by what its details add up to.

    Each day is one transaction: whoever asks meanwhile sees it as it was or as it is.
    """
    for day in days(engine, start, end):
        with write_transaction(engine) as connection:
            dialects.take_turn(connection)
            _rebuild(connection, day)
        progress(day)


def _rebuild(connection: Connection, day: date) -> None:
    deltas = recount.of_day(connection, day)
    for rollup in ROLLUPS:
        connection.execute(delete(rollup.table).where(_of_day(rollup, day)))
        rows = [
            dict(zip((*rollup.key, *rollup.adds), (*key, *amounts), strict=True))
            for key, amounts in deltas.of(rollup)
        ]
        if rows:
            connection.execute(insert(rollup.table), rows)
    for derived in DERIVED:
        t = derived.rollup.table
        keys = select(*(t.c[field] for field in derived.key)).where(t.c.date == day)
        rollups.derive(connection, derived, [tuple(row) for row in connection.execute(keys)])
    connection.execute(update(store_state).values(changes=store_state.c.changes + 1))


def _of_day(rollup: Rollup, day: date) -> ColumnElement[bool]:
    column = rollup.table.c[rollup.key[0]]
    if rollup.key[0] == "date":
        return column == day
    first = datetime.combine(day, time())
    return (column >= first) & (column < first + timedelta(days=1))


def _differences(connection: Connection, day: date) -> Iterator[Difference]:
    counted = recount.of_day(connection, day)
    for rollup in ROLLUPS:
        t = rollup.table
        columns = [t.c[name] for name in (*rollup.key, *rollup.adds)]
        query = select(*columns).where(_of_day(rollup, day))
        stored = {
            tuple(row[: len(rollup.key)]): [int(sum_) for sum_ in row[len(rollup.key) :]]
            for row in connection.execute(query)
        }
        wanted = dict(counted.of(rollup))
        nothing = [0] * len(rollup.adds)
        for key in sorted(stored.keys() | wanted.keys()):
            pairs = zip(stored.get(key, nothing), wanted.get(key, nothing), strict=True)
            for column, (is_stored, is_counted) in zip(rollup.adds, pairs, strict=True):
                if is_stored != is_counted:
                    yield Difference(rollup.name, key, column, is_stored, is_counted)
    for derived in DERIVED:
        yield from _derived_differences(connection, derived, day)


def _derived_differences(
    connection: Connection, derived: Derived, day: date
) -> Iterator[Difference]:
    t = derived.rollup.table
    columns = [t.c[name] for name in (*derived.key, *derived.columns)]
    for row in connection.execute(select(*columns).where(t.c.date == day)).all():
        key = tuple(row[: len(derived.key)])
        values: dict[str, Any] = {
            f"key_{field}": part for field, part in zip(derived.key, key, strict=True)
        }
        for column, query in derived.columns.items():
            stored, counted = getattr(row, column), connection.execute(query, values).scalar_one()
            if stored != counted:
                yield Difference(t.name, key, column, stored, counted)
