"""What grows with a database: memory of connections and of the reader, and steps of statements."""

import _sqlite3
import ctypes
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Date, Engine, bindparam, select, text

from asu_stats.cloudevents import from_cloudevent
from asu_stats.reports import performance
from asu_stats.store.apply import apply
from asu_stats.store.blocks import cached, reader
from asu_stats.store.blocks.cubes import BY_CLIENT
from asu_stats.store.blocks.reader import Daily
from asu_stats.store.database import dialects, statements
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import day_changes
from asu_stats.store.details import error_fingerprints
from asu_stats.windows import Window
from tests.api.test_bounded import hostile
from tests.support import NOW, CloudEvent, Stats, build, request

MIB = 1 << 20
FILE = 40 * MIB
READERS = 4
DAYS: Final = 3


def used() -> int:
    """Return the bytes that SQLite has allocated in this process."""
    library = ctypes.CDLL(_sqlite3.__file__)  # finds the symbols of the library it uses
    if not hasattr(library, "sqlite3_memory_used"):
        pytest.skip("this Python hides its SQLite library")
    library.sqlite3_memory_used.restype = ctypes.c_int64
    return int(library.sqlite3_memory_used())


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engines.create(f"sqlite:///{tmp_path / 'pages.db'}")


def test_snapshots_and_writers_keep_few_pages(engine: Engine) -> None:
    before = used()
    with write_transaction(engine) as connection:
        connection.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)"))
        connection.execute(
            text(
                "INSERT INTO t (x) WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                "WHERE i < :rows) SELECT hex(zeroblob(1500)) FROM n"
            ),
            {"rows": FILE // 3000},
        )
        assert used() - before > 30 * MIB  # a writer comes back to its pages
    assert used() - before < 18 * MIB  # in the pool, one connection keeps what it read
    with ExitStack() as stack:
        for _ in range(READERS):
            connection = stack.enter_context(read_snapshot(engine))
            connection.execute(text("SELECT sum(length(x)) FROM t")).scalar_one()
        assert 12 * MIB < (used() - before) / READERS < 18 * MIB
    assert used() - before < 18 * MIB + (READERS - 1) * 2 * MIB  # the others keep a megabyte
    with read_snapshot(engine) as connection:
        connection.execute(text("SELECT max(id) FROM t")).scalar_one()
    assert used() - before > 12 * MIB
    engine.dispose()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to read rows of days, in turn."""
    found: list[str] = []
    send = statements.send_streamed

    def sent(*arguments: Any, **parameters: object) -> Callable[[], Generator[Any]]:
        found.append("sent")
        return send(*arguments, **parameters)

    monkeypatch.setattr(statements, "send_streamed", sent)
    return found


def one_a_day(name: str) -> list[CloudEvent]:
    return [request(f"{name}-{days}", NOW - timedelta(days=days)) for days in range(DAYS)]


def read_days(stats: Stats, daily: Daily[int]) -> list[int]:
    """Return the number of rows of each day."""
    days = (NOW - timedelta(days=DAYS - 1)).date(), NOW.date()
    with read_snapshot(stats.engine) as connection:
        reader.Reader(connection).changes_of(*days)
        reader.send_days(connection, *days, daily)
        return [rows for _, rows in reader.read_days(connection, *days, daily)]


def counting(steps: list[str]) -> Daily[int]:
    def derive(rows: Iterator[Any]) -> int:
        steps.append("derived")
        return len(list(rows))

    is_day = day_changes.c.date == bindparam("day", type_=Date)
    return Daily(select(day_changes.c.date).where(is_day), derive, lambda _: 8)


def test_rows_of_one_day_are_in_memory_on_sqlite(stats: Stats, steps: list[str]) -> None:
    """On PostgreSQL all are sent first: that costs one round trip."""
    stats.record(one_a_day("h"))
    assert read_days(stats, counting(steps)) == [1] * DAYS
    is_sqlite = stats.engine.dialect.name == "sqlite"
    one_each, together = ["sent", "derived"] * DAYS, ["sent"] * DAYS + ["derived"] * DAYS
    assert steps == (one_each if is_sqlite else together)


@pytest.mark.parametrize(("most", "together"), [(3, 3), (2, 2), (1, 1), (0, 1)])
def test_days_with_many_rows_are_not_sent_together(
    stats: Stats, steps: list[str], monkeypatch: pytest.MonkeyPatch, most: int, together: int
) -> None:
    """PostgreSQL sends all rows of a statement at once; what a day has is known once it is read."""
    daily = counting(steps)
    stats.record(one_a_day("early"))
    read_days(stats, daily)
    stats.record(one_a_day("late"))
    steps.clear()
    monkeypatch.setattr(cached, "_SENT_ROWS", most)
    assert read_days(stats, daily) == [1] * DAYS
    if stats.engine.dialect.name == "sqlite":
        together = 1
    parts = [min(together, DAYS - first) for first in range(0, DAYS, together)]
    assert steps == [step for n in parts for step in ["sent"] * n + ["derived"] * n]


@pytest.mark.parametrize(("most", "together"), [(3, 3), (2, 2), (0, 1)])
def test_days_of_blocks_with_many_rows_are_not_sent_together(
    stats: Stats, monkeypatch: pytest.MonkeyPatch, most: int, together: int
) -> None:
    steps: list[str] = []

    def noted(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            steps.append(name)
            return step(*arguments)

        return call

    monkeypatch.setattr(reader.Reader, "_send_day", noted("sent", reader.Reader._send_day))
    monkeypatch.setattr(reader.Reader, "_of_day", noted("read", reader.Reader._of_day))
    for name in ("early", "late"):
        steps.clear()
        stats.record(one_a_day(name))
        with read_snapshot(stats.engine) as connection:
            days = (NOW - timedelta(days=DAYS - 1)).date(), NOW.date()
            (totals,) = reader.read(connection, *days, BY_CLIENT)
        monkeypatch.setattr(cached, "_SENT_ROWS", most)
    assert totals.total()[0] == 2 * DAYS
    if stats.engine.dialect.name == "sqlite":
        together = 1
    parts = [min(together, DAYS - first) for first in range(0, DAYS, together)]
    assert steps == [step for n in parts for step in ["sent"] * n + ["read"] * n]


def test_equal_json_texts_are_read_once() -> None:
    found = dialects.decoded(json.loads, ['["a"]', None, '["a"]', '["b"]'])
    assert found == [["a"], None, ["a"], ["b"]]
    assert found[0] is found[2]


def steps_of(connection: Connection, work: Callable[[], object]) -> int:
    """Return how many tens of steps SQLite takes for some work."""
    found = 0

    def step() -> None:
        nonlocal found
        found += 1

    driver: Any = connection.connection.dbapi_connection
    driver.set_progress_handler(step, 10)
    work()
    driver.set_progress_handler(None, 0)
    return found


def test_builds_that_took_equally_long_are_not_all_read(sqlite_stats: Stats) -> None:
    def steps() -> int:
        window = Window.last(30, today=NOW.date())
        with read_snapshot(sqlite_stats.engine) as connection:
            performance.read(connection, window)  # keeps blocks
        with read_snapshot(sqlite_stats.engine) as connection:
            return steps_of(connection, partial(performance.read, connection, window))

    def record(first: int, last: int) -> None:
        times = (NOW - timedelta(seconds=number) for number in range(first, last))
        events = (build(f"h{time}", end=time) for time in times)
        sqlite_stats.record([event for each in events for event in each])

    record(0, 40)
    few = steps()
    record(40, 400)
    assert 0 < steps() < 1.2 * few


def test_a_batch_of_made_up_names_costs_the_same_beside_many_of_them(
    sqlite_stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fingerprints of errors too: beyond their limit, each type has one for all of its errors."""
    monkeypatch.setattr(error_fingerprints, "MAX_FINGERPRINTS", 20)

    def record(first: int, count: int) -> int:
        events = [from_cloudevent(event, now=None) for event in hostile(first, count)]
        with write_transaction(sqlite_stats.engine) as connection:
            return steps_of(connection, partial(apply, connection, events))

    record(0, 40)
    few = record(40, 20)
    record(60, 600)
    assert 0 < record(660, 20) < 1.1 * few
