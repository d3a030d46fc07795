"""Old days from a clock at zero: only days with data are visited."""

from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, select, update

from asu_stats import cloudevents
from asu_stats.store import export
from asu_stats.store.archive import days as store_days
from asu_stats.store.archive import expiry, retention
from asu_stats.store.archive.archive import DETAILS
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import store_state
from asu_stats.store.migrations import versions
from asu_stats.store.verification import verify
from asu_stats.store.verification.boundaries import RetainedRange
from tests.support import NOW, SOURCE, Stats, build, request

TODAY = NOW.date()
ZERO = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
OLD = NOW - timedelta(days=200)
DAYS = [ZERO.date(), OLD.date(), NOW.date()]


@pytest.fixture
def poisoned(stats: Stats) -> Stats:
    """A service that took in an event of 1970, as earlier versions did."""
    for time in (ZERO, OLD, NOW):
        sent = [request(f"h{time:%y}", time), *build(f"h{time:%y}", "failure", end=time)]
        stats.recorder.commit([cloudevents.from_cloudevent(each, now=None) for each in sent])
    return stats


def migration(name: str) -> Any:
    directory = Path(versions.__path__[0])
    (file,) = directory.glob(f"*_{name}.py")
    return import_module(f"{versions.__name__}.{file.stem}")


def data_since(engine: Engine) -> date | None:
    with read_snapshot(engine) as connection:
        return connection.execute(select(store_state.c.data_since)).scalar()


def test_only_days_that_have_something_are_visited(poisoned: Stats) -> None:
    engine = poisoned.engine
    assert verify.days(engine) == DAYS
    assert verify.days(engine, date(1970, 1, 2)) == DAYS[1:]
    assert verify.days(engine, end=NOW.date() - timedelta(days=1)) == DAYS[:2]
    assert verify.days(engine, date(1990, 1, 1), date(1990, 1, 1)) == []
    visited: list[date] = []
    assert list(verify.differences(engine, progress=visited.append)) == []
    verify.rebuild(engine, progress=visited.append)
    retention.run(engine, Policy(latest=1), TODAY, progress=visited.append)
    assert set(visited) == set(DAYS)
    assert len(visited) <= 2 * 3 + 3 * 2
    assert verify.days(engine) == DAYS, "archived details are found too"
    with read_snapshot(engine, streams=True) as connection:
        for table in DETAILS:
            assert set(expiry.days(connection, Policy(), TODAY, table)) <= set(DAYS[:2])
        exported = [row[1].date() for row in export.rows(connection, "error_stats", None, None)]
    assert exported == DAYS
    assert list(verify.differences(engine)) == []


def test_days_are_found_at_the_ends_of_a_day(stats: Stats) -> None:
    midnight = NOW.replace(hour=0)
    for number, time in enumerate(
        (midnight - timedelta(microseconds=1), midnight, midnight - timedelta(days=40))
    ):
        stats.record(request(f"h{number}", time))
    expected = [(midnight - timedelta(days=days)).date() for days in (40, 1, 0)]
    assert verify.days(stats.engine) == expected
    with read_snapshot(stats.engine) as connection:
        for column in store_days.ANYTHING:
            assert set(store_days.of_column(connection, column)) <= set(expected)
        assert store_days.last_with_details(connection, date(2026, 1, 1), midnight.date()) == (
            midnight.date() - timedelta(days=1)
        )


def test_rebuild_and_upgrade_find_the_first_day_of_the_history(poisoned: Stats) -> None:
    engine = poisoned.engine
    assert data_since(engine) == ZERO.date()
    verify.rebuild(engine, kept=RetainedRange(Policy(), TODAY))
    assert data_since(engine) == OLD.date()
    period = poisoned.get("overview")["period"]
    assert period["data_since"] == OLD.date().isoformat()

    with write_transaction(engine) as connection:
        connection.execute(update(store_state).values(data_since=ZERO.date()))
        with Operations.context(MigrationContext.configure(connection)):
            migration("first_day").upgrade()
    assert data_since(engine) == OLD.date()


def test_a_rebuild_leaves_a_first_day_that_is_right(stats: Stats) -> None:
    started = {"build_id": "b", "request_hash": "h"}
    event = {**request("h"), "type": "asu.build.started", "data": started}
    stats.record({**event, "id": "s", "source": SOURCE, "time": OLD.isoformat()}, request("h2"))
    verify.rebuild(stats.engine, kept=RetainedRange(Policy(), TODAY))
    assert data_since(stats.engine) == OLD.date()
