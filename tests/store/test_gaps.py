"""Events that arrive between two steps of retention, packing, verification and rebuilding."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table, func, select

from asu_stats.store.archive import expiry, files, retention
from asu_stats.store.archive.archive import ARCHIVES, DETAILS
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.retention import ArchiveDirectory
from asu_stats.store.archive.segments import archive_parts, rows_of
from asu_stats.store.blocks import cached, packer
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import store_state
from asu_stats.store.rollups import deltas
from asu_stats.store.rollups.definitions import HOURLY
from asu_stats.store.verification import recount, verify
from tests.gaps import Beside, after, before
from tests.support import NOW, CloudEvent, Stats, build, request

TODAY = NOW.date()
OLD = NOW - timedelta(days=100)
SHORT = Policy(build_metrics_days=5, client_stats_days=10, error_stats_days=10, latest=1)
HASH = "0" * 40


def second_end(status: str, end: Any = OLD + timedelta(minutes=30)) -> CloudEvent:
    """An end of the failed build that was before the one that is known: it takes its place."""
    _, finished = build(HASH, status, end=end, build_id="b2")
    return finished


# An event for each kind of details: it needs some of them that are archived.
LATE: dict[str, Callable[[], CloudEvent]] = {
    "build_metrics": lambda: request(HASH, OLD + timedelta(minutes=1), outcome="joined"),
    "client_stats": lambda: second_end("failure"),
    "error_stats": lambda: second_end("success"),
}


def fill(stats: Stats) -> None:
    """Record details that have expired, and newer ones."""
    stats.record(
        request(HASH, OLD, client="luci"),
        *build(HASH, end=OLD + timedelta(minutes=5), build_id="b1", seconds=50),
        request(HASH, OLD + timedelta(minutes=20), outcome="joined", client="owut"),
        *build(HASH, "failure", end=OLD + timedelta(hours=2), build_id="b2"),
        *(event for n in range(11) for event in build(f"slow{n}", end=OLD, seconds=1000 + n)),
        request("other", OLD - timedelta(days=1)),
        *build("other", "failure", end=OLD - timedelta(days=1)),
        request("new"),
        *build("new", "failure"),
    )


def everywhere(engine: Engine) -> dict[str, list[int]]:
    """Return the numbers of all details: live, archived and in registered files."""
    found: dict[str, list[int]] = {}
    with read_snapshot(engine) as connection:
        for table in DETAILS:
            numbers: list[int] = []
            for each in (table, ARCHIVES[table]):
                numbers += connection.execute(select(each.c.id)).scalars()
            named = select(archive_parts.c.file).where(archive_parts.c.table_name == table.name)
            for file in connection.execute(named).scalars():
                numbers += [row[0] for row in rows_of(connection, table, file)]
            found[table.name] = sorted(numbers)
    return found


def check(stats: Stats, archive: Path) -> None:
    """Every detail is in one place, every sum is that of the details, and files are registered."""
    for numbers in everywhere(stats.engine).values():
        assert len(numbers) == len(set(numbers))
    assert list(verify.differences(stats.engine)) == []
    with read_snapshot(stats.engine) as connection:
        known = set(connection.execute(select(archive_parts.c.file)).scalars())
    assert {path.relative_to(archive).as_posix() for path in archive.glob("*/*/*")} >= known


def totals(stats: Stats) -> dict[str, int]:
    found: dict[str, int] = stats.get("overview", days=365)["totals"]
    return found


def without_archive(stats: Stats, table: str) -> dict[str, int]:
    """Return the totals after a late event if nothing is ever archived."""
    fill(stats)
    stats.record(LATE[table]())
    found = totals(stats)
    stats.clear()
    return found


@pytest.mark.parametrize(
    ("table", "step"),
    [
        *((table, "file written") for table in LATE),
        ("build_metrics", "announced"),
        ("client_stats", "day counted"),
        ("error_stats", "day done"),
    ],
)
def test_a_late_event_between_two_steps_of_retention(
    stats: Stats, tmp_path: Path, table: str, step: str
) -> None:
    expected = without_archive(stats, table)
    fill(stats)
    archive = tmp_path / "archive"
    into = ArchiveDirectory(archive, "csv.gz")
    known, acted = everywhere(stats.engine), list[int]()

    def late(*_: Any) -> None:
        if not acted:
            acted.append(1)
            stats.record(LATE[table]())

    def run(**more: Any) -> None:
        retention.run(stats.engine, SHORT, TODAY, archive_directory=into, **more)

    if step == "file written":
        retention.run(stats.engine, SHORT, TODAY)  # into tables
        real = files.read

        def read(path: Path, of: Table) -> Any:
            found = real(path, of)
            if of.name == table:
                late()
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "read", read)
            run()
    elif step == "day done":
        run(progress=late)
    else:
        counted = step == "day counted"
        place, name = (expiry, "count") if counted else (retention._Run, "announce")
        with after(place, name, late):
            run()
    assert acted
    assert totals(stats) == expected
    run()
    check(stats, archive)
    assert totals(stats) == expected
    now = everywhere(stats.engine)
    for name, numbers in known.items():
        # The error of an end that counts no more is gone.
        gone = name == "error_stats" and table != "build_metrics"
        assert len(set(numbers) - set(now[name])) == gone


def first_hours(engine: Engine) -> list[Any]:
    with read_snapshot(engine) as connection:
        return [
            connection.execute(select(func.min(rollup.table.c.hour))).scalar() for rollup in HOURLY
        ]


def hourly_since(engine: Engine) -> Any:
    with read_snapshot(engine) as connection:
        return connection.execute(select(store_state.c.hourly_since)).scalar_one()


@pytest.mark.parametrize("step", ["announce", "delete_hours", "deleting"])
def test_a_late_event_leaves_no_hour_that_is_deleted(stats: Stats, step: str) -> None:
    fill(stats)

    def late() -> None:
        stats.record(request("late", OLD), *build("late", end=OLD))

    if step == "deleting":  # in the transaction that deletes: the event has to wait for its end
        beside = Beside(late)
        with after(retention, "_delete", beside.start):
            retention.run(stats.engine, SHORT, TODAY)
        beside.result()
    else:
        step_in = after if step == "announce" else before
        with step_in(retention._Run, step, late):
            retention.run(stats.engine, SHORT, TODAY)
    since = hourly_since(stats.engine)
    assert all(hour.date() >= since for hour in first_hours(stats.engine))
    assert list(verify.differences(stats.engine)) == []


def test_a_batch_that_began_before_hours_were_given_up_leaves_none(stats: Stats) -> None:
    """It has read that hours are kept; retention then deletes them, and must wait for it."""
    fill(stats)
    run = Beside(lambda: retention.run(stats.engine, SHORT, TODAY))
    with before(deltas, "add", run.start):
        stats.record(request("late", OLD), *build("late", end=OLD))
    run.result()
    since = hourly_since(stats.engine)
    assert all(hour.date() >= since for hour in first_hours(stats.engine))
    assert list(verify.differences(stats.engine)) == []


# Packing -----------------------------------------------------------------------------------------

YESTERDAY = NOW - timedelta(days=1)


def successes(stats: Stats) -> int:
    cached.forget(stats.engine)
    found = sum(row["successful_builds"] for row in stats.get("versions", days=7))
    assert found == totals(stats)["successful_builds"]
    return int(found)


@pytest.mark.parametrize("step", ["listed", "read"])
def test_a_late_event_while_its_day_is_packed_is_in_the_answer(stats: Stats, step: str) -> None:
    stats.record(request("h1", YESTERDAY), *build("h1", end=YESTERDAY))

    def late() -> None:
        stats.record(request("h2", YESTERDAY), *build("h2", end=YESTERDAY))

    with after(packer, "stale" if step == "listed" else "_packed", late):
        packer.pack(stats.engine, TODAY)
    assert successes(stats) == 2
    packer.pack(stats.engine, TODAY)
    assert packer.stale(stats.engine, TODAY) == []
    assert successes(stats) == 2


def test_an_older_block_that_is_stored_last_is_not_used(stats: Stats) -> None:
    """Two servers pack the same day; the one that read first writes last."""
    stats.record(request("h1", YESTERDAY), *build("h1", end=YESTERDAY))

    def overtaken() -> None:
        stats.record(request("h2", YESTERDAY), *build("h2", end=YESTERDAY))
        packer.pack(stats.engine, TODAY)

    with after(packer, "_packed", overtaken):
        packer.pack(stats.engine, TODAY)
    assert successes(stats) == 2
    assert packer.stale(stats.engine, TODAY) != []
    packer.pack(stats.engine, TODAY)
    assert packer.stale(stats.engine, TODAY) == []
    assert successes(stats) == 2


# Verification and rebuilding ---------------------------------------------------------------------


def test_an_event_during_verification_is_no_difference(stats: Stats) -> None:
    fill(stats)
    late = Beside(lambda: stats.record(request("late", OLD), *build("late", end=OLD)))
    with after(recount, "of_day", late.start):
        assert list(verify.differences(stats.engine)) == []
    late.result()
    assert list(verify.differences(stats.engine)) == []


def test_an_event_while_its_day_is_rebuilt_is_counted_once(stats: Stats) -> None:
    """It waits for the transaction that replaces the sums of the day."""
    fill(stats)
    accepted = totals(stats)["requests"]
    day = OLD.date()
    late = Beside(lambda: stats.record(request("late", OLD), *build("late", end=OLD)))
    with after(recount, "of_day", late.start):
        verify.rebuild(stats.engine, day, day)
    late.result()
    assert list(verify.differences(stats.engine)) == []
    assert totals(stats)["requests"] == accepted + 1


def test_events_between_the_days_of_a_rebuild_are_counted(stats: Stats) -> None:
    fill(stats)
    accepted, seen = totals(stats)["requests"], list[Any]()

    def late(day: Any) -> None:
        seen.append(day)
        if len(seen) == 1:
            stats.record(request("late1", OLD - timedelta(days=1)), request("late2", OLD))

    verify.rebuild(stats.engine, progress=late)
    assert len(seen) > 1
    assert list(verify.differences(stats.engine)) == []
    assert totals(stats)["requests"] == accepted + 2
