"""Partitions by month on PostgreSQL: rows land in their month, and a month leaves as a whole."""

import random
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ClauseElement, Connection, Engine, func, select, text

from asu_stats.demo import history
from asu_stats.exceptions import LeaseLostError
from asu_stats.store.apply import apply_batch
from asu_stats.store.archive import expiry, months, retention
from asu_stats.store.archive.archive import ARCHIVES
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.database import dialects, partitions
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import client_stats
from asu_stats.store.verification import verify
from tests.conftest import postgresql_database
from tests.store.test_retention import answers, exported, identities, rows
from tests.support import NOW, Stats, build, request

TODAY = NOW.date()
MONTH = r"client_stats_(\d{4}_\d\d|default)$"
SHORT = Policy(build_metrics_days=5, client_stats_days=10, error_stats_days=10, latest=1)
JUNE, JULY = date(2026, 6, 1), date(2026, 7, 1)


@pytest.fixture
def stats(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    """A service on PostgreSQL whose database has the months from June on."""
    for url in postgresql_database(request):
        with Stats.on(url, tmp_path / "spool") as stats:
            partitions.prepare(stats.engine, TODAY, JUNE)
            yield stats


def there(connection: Connection, name: str) -> dict[str, int]:
    """Return the partitions of a table and how many rows each has."""
    found = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(:name)"
    names = sorted(connection.execute(text(found), {"name": name}).scalars())
    count = "SELECT count(*) FROM {}"
    return {each: connection.execute(text(count.format(each))).scalar_one() for each in names}


def partitions_of(engine: Engine, name: str = "client_stats") -> dict[str, int]:
    """Return the partitions of a table that have rows."""
    with read_snapshot(engine) as connection:
        return {each: number for each, number in there(connection, name).items() if number}


def record_history(stats: Stats, *, days: int = 120, requests: int = 600) -> list[Any]:
    events = list(history.history(days=days, requests=requests, now=NOW))
    for start in range(0, len(events), 500):
        apply_batch(stats.engine, events[start : start + 500])
    return events


def test_rows_land_in_their_month(stats: Stats) -> None:
    record_history(stats)
    for table in ("client_stats", "error_stats"):
        found = partitions_of(stats.engine, table)
        assert found.keys() == {f"{table}_2026_{month:02}" for month in (6, 7, 8, 9)}
    with read_snapshot(stats.engine) as connection:
        june = select(func.count()).where(client_stats.c.timestamp < date(2026, 7, 1))
        expected = connection.execute(june).scalar_one()
    assert partitions_of(stats.engine)["client_stats_2026_06"] == expected > 10
    assert list(verify.differences(stats.engine)) == []


def test_a_row_of_any_other_month_is_stored_too(stats: Stats) -> None:
    stats.record(request("h", NOW - timedelta(days=4000)), *build("h", "failure", end=NOW))
    assert partitions_of(stats.engine)["client_stats_default"] == 1
    assert list(verify.differences(stats.engine)) == []
    # Its month is not created while its rows are elsewhere.
    assert partitions.prepare(stats.engine, TODAY, JUNE - timedelta(days=4000)) > 0
    assert partitions_of(stats.engine)["client_stats_default"] == 1


def test_months_are_created_once_and_three_years_back(stats: Stats) -> None:
    assert partitions.prepare(stats.engine, TODAY, JUNE) == 0
    assert partitions.prepare(stats.engine, TODAY, date(2004, 1, 1)) > 0
    with read_snapshot(stats.engine) as connection:
        found = partitions.months(connection, "client_stats")
    assert found[0] == date(2023, 10, 1)
    assert len(found) >= partitions.MOST_MONTHS + 3
    preparation = partitions.Preparation(stats.engine, lambda: TODAY)
    preparation.before(JUNE)
    assert partitions.prepare(stats.engine, TODAY, date(2004, 1, 1)) == 0


def test_a_month_is_not_created_while_a_reader_is_busy(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_WAIT_MS", 50)
    monkeypatch.setattr(partitions, "_PAUSE_SECONDS", 0.0)
    with read_snapshot(stats.engine) as connection:
        connection.execute(select(client_stats.c.id)).all()
        assert partitions.prepare(stats.engine, TODAY, date(2026, 5, 1)) == 0
    stats.record(request("h", NOW - timedelta(days=140)))
    assert partitions.prepare(stats.engine, TODAY, date(2026, 5, 1)) == 1  # errors had none


def test_a_foreign_table_with_the_name_of_a_month_stops_nothing(stats: Stats) -> None:
    with write_transaction(stats.engine) as connection:
        connection.execute(text("CREATE TABLE client_stats_2026_05 (mine INTEGER)"))
    assert partitions.prepare(stats.engine, TODAY, date(2026, 5, 1)) == 0
    stats.record(request("h", NOW - timedelta(days=140)))
    assert partitions_of(stats.engine)["client_stats_default"] == 1
    assert list(verify.differences(stats.engine)) == []


# Retention ---------------------------------------------------------------------------------------


@pytest.fixture(params=["tables", "parquet"])
def archive_directory(request: pytest.FixtureRequest, tmp_path: Path) -> ArchiveDirectory | None:
    if request.param == "tables":
        return None
    return ArchiveDirectory(tmp_path / "archive", request.param)


def test_a_month_leaves_with_its_partition(
    stats: Stats, archive_directory: ArchiveDirectory | None
) -> None:
    events = record_history(stats)
    engine = stats.engine
    before, known, written = answers(stats), identities(engine), exported(engine)
    counts = rows(engine)
    policy = Policy(30, 60, 60, 90, latest=1)
    expected = expiry.waiting(engine, policy, TODAY)

    report = retention.run(engine, policy, TODAY, archive_directory=archive_directory)

    assert report.as_dict().items() >= expected.items()
    assert report.months_moved == 4  # June and July of requests and errors
    assert report.months_dropped == (4 if archive_directory else 0)
    kept = partitions_of(engine)
    assert "client_stats_2026_06" not in kept
    assert "client_stats_2026_08" in kept
    with read_snapshot(engine) as connection:
        assert partitions.months(connection, "client_stats")[0] == date(2026, 8, 1)
        archived = there(connection, "client_stats_archive")
        gone = text("SELECT to_regclass('client_stats_2026_06')")
        assert connection.execute(gone).scalar() is None
    if archive_directory:
        assert archived.keys() == {"client_stats_archive_default"}
    else:
        assert archived["client_stats_archive_2026_06"] > 10
    for name, (live, old) in rows(engine).items():
        assert live + old == counts[name][0]
        assert old == report.archived[name] > 10
    assert identities(engine) == known
    assert exported(engine) == written
    assert list(verify.differences(engine)) == []
    again = events[::7]
    random.Random(1).shuffle(again)
    assert not any(apply_batch(engine, again).new)
    assert answers(stats) == before
    once_more = retention.run(engine, policy, TODAY, archive_directory=archive_directory)
    assert (once_more.batches, once_more.months_dropped) == (0, 0)


@pytest.mark.parametrize("has_many_rows", [False, True])
def test_days_of_a_large_month_wait_for_its_end(
    stats: Stats, monkeypatch: pytest.MonkeyPatch, has_many_rows: bool
) -> None:
    record_history(stats, days=60)
    if has_many_rows:
        monkeypatch.setattr(expiry, "_MANY", 20)
    policy = Policy(30, 20, 20, 90, latest=1)  # September has expired up to its 10th
    days = [date(2026, 9, day) for day in range(1, 11)]
    with read_snapshot(stats.engine) as connection:
        of_september = expiry.days(connection, policy, TODAY, client_stats)[-10:]
    assert (of_september == days) is not has_many_rows
    assert expiry.waiting(stats.engine, policy, TODAY)["client_stats_archived"] > 10
    retention.run(stats.engine, policy, TODAY)
    with read_snapshot(stats.engine) as connection:
        done = client_stats.c.ended_at.is_not(None)
        first = select(func.min(client_stats.c.timestamp)).where(done)
        oldest = connection.execute(first).scalar_one().date()
        newest = ARCHIVES[client_stats].c.timestamp
        last = connection.execute(select(func.max(newest))).scalar_one().date()
    month = date(2026, 9, 1)
    assert (oldest == month, last < month) == (has_many_rows, has_many_rows)


def old_builds(stats: Stats) -> None:
    """Record requests of July: of one build, of a failure, and one that waits still."""
    at = NOW - timedelta(days=75)
    stats.record(
        request("h", at, client="luci"),
        *build("h", end=at + timedelta(minutes=5), build_id="b1"),
        request("f", at),
        *build("f", "failure", end=at + timedelta(minutes=9), build_id="b2", error_message="x"),
        request("waits", at, client="auc"),
    )
    stats.record(
        *(request(f"n{n}", outcome="cache_hit") for n in range(3)),
        *build("new", "failure", end=NOW),
    )


def pending(stats: Stats) -> dict[str, int]:
    day = (NOW - timedelta(days=75)).date()
    return {row["client"]: row["pending"] for row in stats.get("clients", start=day, end=day)}


def test_requests_that_wait_stay(stats: Stats, archive_directory: ArchiveDirectory | None) -> None:
    old_builds(stats)
    retention.run(stats.engine, SHORT, TODAY, archive_directory=archive_directory)
    assert partitions_of(stats.engine)["client_stats_default"] == 1
    assert rows(stats.engine)["client_stats"] == (4, 2)
    assert pending(stats)["auc"] == 1
    stats.record(*build("waits", end=NOW))
    assert pending(stats)["auc"] == 0
    assert list(verify.differences(stats.engine)) == []
    # The next run archives it, by row: its month is in the archive already.
    later = TODAY + timedelta(days=20)
    retention.run(stats.engine, SHORT, later, archive_directory=archive_directory)
    with read_snapshot(stats.engine) as connection:
        old = select(client_stats.c.id).where(client_stats.c.timestamp < date(2026, 9, 1))
        assert connection.execute(old).all() == []
    assert list(verify.differences(stats.engine)) == []


def test_late_events_restore_rows_of_a_month_that_left(
    stats: Stats, archive_directory: ArchiveDirectory | None
) -> None:
    old_builds(stats)
    engine, at = stats.engine, NOW - timedelta(days=75)
    retention.run(engine, SHORT, TODAY, archive_directory=archive_directory)
    known = identities(engine)
    late = build("h", "failure", end=at + timedelta(minutes=2), build_id="b1", error_message="y")
    stats.record(late[-1], request("f", at + timedelta(minutes=1), outcome="joined"))
    assert list(verify.differences(engine)) == []
    assert partitions_of(engine)["client_stats_default"] >= 3
    partitions.prepare(engine, TODAY, JUNE)  # not created again: it has rows
    retention.run(engine, SHORT, TODAY, archive_directory=archive_directory)
    assert list(verify.differences(engine)) == []
    now = identities(engine)
    assert len(now["client_stats"]) == len(known["client_stats"]) + 1
    assert all(len(numbers) == len(set(numbers)) for numbers in now.values())
    assert not set(partitions_of(engine)) - {"client_stats_default", "client_stats_2026_09"}


def test_a_late_event_in_the_gap(stats: Stats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first look at the month and the lock, it gets a request that waits."""
    old_builds(stats)
    briefly, at = partitions.briefly, NOW - timedelta(days=74)

    def late(engine: Engine, work: Any) -> Any:
        monkeypatch.setattr(partitions, "briefly", briefly)
        stats.record(request("late", at, client="auc"), *build("waits", end=at))
        return briefly(engine, work)

    monkeypatch.setattr(partitions, "briefly", late)
    report = retention.run(stats.engine, SHORT, TODAY)
    assert report.months_moved == 2
    assert rows(stats.engine)["client_stats"] == (4, 3)
    with read_snapshot(stats.engine) as connection:
        waiting = select(client_stats.c.request_hash).where(client_stats.c.status == "queued")
        assert connection.execute(waiting).scalars().all() == ["late"]
    assert list(verify.differences(stats.engine)) == []


@pytest.mark.parametrize("at", ["DETACH", "DELETE", "RENAME", "ATTACH", "DROP INDEX"])
def test_a_run_that_ends_in_the_middle_changes_nothing(
    stats: Stats, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    old_builds(stats)
    engine, known, before = stats.engine, identities(stats.engine), rows(stats.engine)
    found = partitions_of(engine)

    class Ended(Connection):
        def execute(self, statement: Any, *given: Any, **more: Any) -> Any:
            done = super().execute(statement, *given, **more)
            if at in str(statement):
                raise LeaseLostError("retention")
            return done

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_connection_cls", Ended)
        with pytest.raises(LeaseLostError):
            retention.run(engine, SHORT, TODAY)
    assert (identities(engine), partitions_of(engine)) == (known, found)
    assert rows(engine)["client_stats"] == before["client_stats"]
    assert retention.run(engine, SHORT, TODAY).months_moved == 2
    assert identities(engine) == known
    assert list(verify.differences(engine)) == []


def test_a_month_that_is_read_all_the_time_stays(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_WAIT_MS", 50)
    monkeypatch.setattr(partitions, "_PAUSE_SECONDS", 0.0)
    old_builds(stats)
    before = rows(stats.engine)["client_stats"]
    with read_snapshot(stats.engine) as connection:
        connection.execute(select(client_stats.c.id)).all()
        report = retention.run(stats.engine, SHORT, TODAY)
        assert report.months_moved == 1  # errors
        assert rows(stats.engine)["client_stats"] == before
    assert retention.run(stats.engine, SHORT, TODAY).months_moved == 1
    assert rows(stats.engine)["client_stats"] == (4, 2)


def test_a_month_with_many_rows_that_stay_is_archived_by_row(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(months, "_MOST_KEPT", 0)
    old_builds(stats)
    known = identities(stats.engine)
    report = retention.run(stats.engine, SHORT, TODAY)
    assert report.months_moved == 1
    assert partitions_of(stats.engine)["client_stats_2026_07"] == 1
    assert partitions_of(stats.engine, "client_stats_archive") == {
        "client_stats_archive_default": 2
    }
    assert identities(stats.engine) == known
    assert list(verify.differences(stats.engine)) == []


def test_a_batch_reads_the_months_of_its_requests_only(
    stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_builds(stats)
    given: list[tuple[str, Any]] = []
    compiled = dialects.compiled

    def note(name: str, statement: ClauseElement) -> dialects.Compiled:
        found = compiled(name, statement)

        class Noted(dialects.Compiled):
            def values(self, dialect: str, parameters: Any) -> list[object]:
                values = super().values(dialect, parameters)
                given.append((self.text, values))
                return values

        return Noted(*found)

    monkeypatch.setattr(dialects, "compiled", note)
    stats.record(*build("waits", end=NOW), request("h", NOW, outcome="joined"))
    with stats.engine.begin() as connection:
        plans = {
            text.split()[0]: connection.exec_driver_sql(f"EXPLAIN {text}", tuple(values)).scalars()
            for text, values in given
            if "client_stats.id" in text and "until" in text
        }
        read = {
            kind: {word for line in plan for word in line.split() if re.match(MONTH, word)}
            for kind, plan in plans.items()
        }
    assert read["UPDATE"] == {"client_stats_2026_07"}
    assert read["SELECT"] >= {"client_stats_2026_07"}
    assert "client_stats_2026_06" not in read["SELECT"]
