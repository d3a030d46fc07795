"""Wrong clocks: jobs run in time, and retention deletes nothing too early."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from asu_stats.jobs import definitions
from asu_stats.jobs.job import Job, Schedule
from asu_stats.jobs.runner import Run, Runner
from asu_stats.store.archive import retention
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.database import leases
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.leases import scheduled_jobs
from asu_stats.store.database.schema import store_state
from asu_stats.store.verification import verify
from asu_stats.store.verification.boundaries import RetainedRange
from tests.support import NOW, Stats, build, request

HOURLY = Schedule("0 * * * *")
TODAY = NOW.date()
AHEAD = TODAY.replace(year=TODAY.year + 5)


def put(engine: Engine, **values: Any) -> None:
    with write_transaction(engine) as connection:
        connection.execute(update(scheduled_jobs).values(**values))


def runner_of(engine: Engine, schedule: Schedule = HOURLY) -> tuple[Runner, Job]:
    job = Job("work", "Work", schedule, lambda _: {})
    runner = Runner(engine, [job])
    runner.register()
    return runner, job


def row(engine: Engine) -> Any:
    with read_snapshot(engine) as connection:
        return connection.execute(select(*scheduled_jobs.c)).one()


def test_a_next_run_that_a_clock_ahead_has_left_is_corrected(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    runner, job = runner_of(engine)
    late = leases.now(engine) + timedelta(days=2)
    put(engine, next_run_at=late, succeeded_at=late, finished_at=late, started_at=late)
    assert runner.run_if_due(job) is None
    found, now = row(engine), leases.now(engine)
    assert found.next_run_at <= HOURLY.after(now)
    assert max(found.succeeded_at, found.finished_at, found.started_at) <= now
    assert "later than the schedule allows" in caplog.text
    put(engine, next_run_at=now)
    assert runner.run_if_due(job) == Run("ok", result={})


def test_a_next_run_that_the_schedule_allows_stays(engine: Engine) -> None:
    runner, job = runner_of(engine)
    due = HOURLY.after(leases.now(engine))
    put(engine, next_run_at=due)
    assert runner.run_if_due(job) is None
    assert row(engine).next_run_at == due
    other = Job("work", "Work", Schedule("* * * * *"), lambda _: {})
    assert runner.run_if_due(other) is None
    assert row(engine).next_run_at == due, "another server follows another schedule"


def test_a_lease_that_a_clock_ahead_has_left_is_free(engine: Engine) -> None:
    runner, job = runner_of(engine)
    put(engine, holder="gone", lease_until=leases.now(engine) + timedelta(days=2))
    ((_, running),) = leases.states(engine)
    assert not running
    assert runner.run_now(job) == Run("ok", result={})
    assert row(engine).duration_seconds < 60


def test_a_clock_that_goes_back_during_a_run_makes_no_negative_duration(engine: Engine) -> None:
    leases.register(engine, "work", "* * * * *", leases.now(engine))
    lease = leases.acquire(engine, "work", "a", 60)
    assert lease
    lease.started_at += timedelta(days=2)
    leases.release(lease, "ok")
    assert 0 <= row(engine).duration_seconds < 60
    assert row(engine).started_at <= row(engine).finished_at


def retained(engine: Engine, today: Any, **options: Any) -> Run:
    policy = Policy(hourly_rollup_days=30)
    job = definitions.retention_of(engine, HOURLY, policy, None, lambda: today, **options)
    runner = Runner(engine, [job])
    runner.register()
    run = runner.run_now(job)
    assert run
    return run


def hours(stats: Stats, days: int = 2) -> list[int]:
    start = TODAY - timedelta(days=days - 1)
    found = stats.get("timeseries", interval="hour", start=start, end=TODAY)
    return [row["requests"] for row in found]


def test_retention_refuses_a_day_that_nothing_confirms(stats: Stats) -> None:
    engine = stats.engine
    assert retained(engine, AHEAD).status == "ok", "where there is nothing, nothing is marked"
    stats.record(request("h", NOW - timedelta(days=1)), request("h2"))
    before = hours(stats)
    assert sum(before) == 2
    run = retained(engine, AHEAD)
    assert run.status == "failed"
    assert f"today is {AHEAD}" in (run.error or "")
    assert "--force" in (run.error or "")
    assert hours(stats) == before

    assert retained(engine, TODAY).status == "ok"
    put(engine, succeeded_at=NOW.replace(tzinfo=None))
    quiet = TODAY + timedelta(days=7)
    assert retained(engine, quiet).status == "ok", "the run of today confirms it"
    put(engine, succeeded_at=NOW.replace(tzinfo=None))
    assert retained(engine, quiet + timedelta(days=1)).status == "failed"
    assert retained(engine, AHEAD, force=True).status == "ok"


def test_hours_and_their_mark_come_back_with_a_rebuild(stats: Stats) -> None:
    days = (0, 1, 5, 20, 40)
    for number in days:
        at = NOW - timedelta(days=number)
        stats.record(request(f"h{number}", at), *build(f"h{number}", end=at))
    engine, policy = stats.engine, Policy(hourly_rollup_days=30)
    before = hours(stats, 21)
    retention.run(engine, policy, AHEAD)
    stats.record(request("late"))  # comes in while hours are refused
    url = f"/api/v1/stats/timeseries?interval=hour&start={TODAY}&end={TODAY}"
    assert stats.client.get(url).status_code == 422

    kept = RetainedRange(policy, TODAY)
    found = list(verify.differences(engine, kept=kept))
    assert [(item.table, item.column) for item in found] == [("store_state", "hourly_since")]
    verify.rebuild(engine, kept=kept)
    after = hours(stats, 21)
    assert sum(after) == sum(before) + 1
    assert [a - b for a, b in zip(after, before, strict=True)].count(1) == 1
    assert list(verify.differences(engine, kept=kept)) == []
    with read_snapshot(engine) as connection:
        since, archived = connection.execute(
            select(store_state.c.hourly_since, store_state.c.archived_before)
        ).one()
    assert since == TODAY - timedelta(days=29)
    assert archived == TODAY + timedelta(days=1), "details of today are in the archive"
    stats.record(request("new"), request("old", NOW - timedelta(days=20)))
    assert sum(hours(stats, 21)) == sum(after) + 2
    assert list(verify.differences(engine, kept=kept)) == []
