"""What a run of retention reports is what it did, and what it was expected to do."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from asu_stats.exceptions import ImplausibleDayError, LeaseLostError
from asu_stats.store.archive import expiry, retention
from asu_stats.store.archive.archive import ARCHIVES
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.database import partitions
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import error_stats
from asu_stats.store.rollups.definitions import HOURLY
from tests.store.test_retention import in_files, rows
from tests.support import NOW, Stats, build, request

TODAY = NOW.date()
OLD = NOW - timedelta(days=75)
POLICY = Policy(5, 10, 20, 30, latest=1)
FIRST_WITH_HOURS = POLICY.first_day("hourly_rollup", TODAY)


@pytest.fixture
def history(stats: Stats) -> Stats:
    """Twelve old requests with failed builds, one with a successful build, and new ones.

    Also two at the first moment of a day: of an old one, and of the first with hourly figures.
    """
    partitions.prepare(stats.engine, TODAY, OLD.date())
    for number in range(12):
        at = OLD + timedelta(minutes=number)
        failed = build(f"f{number}", "failure", end=at + timedelta(hours=1), error_message="x")
        stats.record(request(f"f{number}", at), *failed)
    stats.record(request("h", OLD), *build("h", end=OLD + timedelta(minutes=9)))
    for number, day in enumerate((OLD.date(), FIRST_WITH_HOURS)):
        midnight = datetime.combine(day, time(), UTC)
        stats.record(request(f"m{number}", midnight, outcome="cache_hit"))
    stats.record(request("new"), *build("new", "failure", end=NOW, error_message="x"))
    return stats


def hours(stats: Stats, before: date) -> int:
    with read_snapshot(stats.engine) as connection:
        return sum(
            connection.execute(
                select(func.count())
                .select_from(rollup.table)
                .where(func.date(rollup.table.c.hour) < before)
            ).scalar_one()
            for rollup in HOURLY
        )


def test_it_is_what_was_expected_and_done(
    history: Stats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_FILE_ROWS", 5)
    monkeypatch.setattr(retention, "_ROWS", 5)
    monkeypatch.setattr(retention.BatchSize, "took", lambda *_: None)
    engine, archive = history.engine, tmp_path / "archive"
    old_hours = hours(history, FIRST_WITH_HOURS)
    expected = expiry.waiting(engine, POLICY, TODAY)
    assert expected == {
        "build_metrics_archived": 12,  # the slowest successful builds of a day stay
        "client_stats_archived": 15,
        "error_stats_archived": 12,
        "hours_deleted": old_hours,
    }
    assert old_hours > 0

    found = retention.run(
        engine, POLICY, TODAY, archive_directory=ArchiveDirectory(archive, "csv.gz")
    ).as_dict()

    months = 2 if engine.dialect.name == "postgresql" else 0
    with read_snapshot(engine) as connection:
        moved = {live.name: in_files(connection, live) for live in ARCHIVES}
    # One request is of September, which has not expired as a whole.
    assert moved == {"build_metrics": 12, "client_stats": 14, "error_stats": 12}
    batches = found.pop("batches")
    held = found.pop("longest_hold_seconds")
    assert found == {
        **expected,
        "files_written": len([*archive.rglob("*.csv.gz")]),
        "rows_in_files": 38,
        "months_moved": months,
        "months_dropped": 2 * months,
    }
    assert found["files_written"] == 9  # of at most five rows
    assert batches >= found["files_written"] + months
    assert 0 < held < 60
    assert round(held, 4) == held
    with read_snapshot(engine) as connection:
        kept = [
            connection.execute(select(func.min(rollup.table.c.hour))).scalar_one().date()
            for rollup in HOURLY
        ]
    assert set(kept) == {FIRST_WITH_HOURS}


def test_what_is_expected_changes_nothing(history: Stats) -> None:
    before = rows(history.engine)
    expiry.waiting(history.engine, POLICY, TODAY)
    assert rows(history.engine) == before


def test_a_run_that_lost_its_lease_moves_no_month(history: Stats) -> None:
    calls = list[None]()

    def guard(_: object) -> None:
        calls.append(None)
        if len(calls) > 1:  # after the announcement
            raise LeaseLostError("retention")

    before = rows(history.engine)
    with pytest.raises(LeaseLostError):
        retention.run(history.engine, POLICY, TODAY, guard=guard)
    assert rows(history.engine) == before


def test_the_newest_rows_of_an_expired_month_stay(history: Stats) -> None:
    """The `latest` errors stay, and all that are as new as the oldest of them."""
    later = TODAY + timedelta(days=400)
    retention.run(history.engine, Policy(5, 10, 20, 30, latest=3), later)
    with read_snapshot(history.engine) as connection:
        kept = connection.execute(select(error_stats.c.request_hash)).scalars().all()
    assert sorted(kept) == ["f10", "f11", "new"]


@pytest.mark.parametrize("last_run", [None, TODAY - timedelta(days=60)])
def test_a_day_that_nothing_confirms_says_why(history: Stats, last_run: date | None) -> None:
    far = TODAY + timedelta(days=100)
    words = f"the last run was on {last_run}" if last_run else "there was no earlier run"
    with pytest.raises(ImplausibleDayError, match=f"is of {TODAY} and {words}"):
        retention.is_needed(history.engine, far, last_run)


@pytest.mark.parametrize(("held", "expected"), [(0.03, 0.03), (5, 0.1)])
def test_writers_run_between_two_batches(
    monkeypatch: pytest.MonkeyPatch, held: float, expected: float
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(retention, "_LONGEST_PAUSE_SECONDS", 0.1)  # as in a server
    monkeypatch.setattr("time.sleep", slept.append)
    retention.BatchSize().took(held)
    assert slept == [expected]
