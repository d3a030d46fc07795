"""Jobs: schedules, results, and how they are listed."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update
from starlette.testclient import TestClient

from asu_stats.api.app import create_app
from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.builds.service import BuildService
from asu_stats.exceptions import AsuStatsError, InvalidSettingError
from asu_stats.jobs import definitions, listing
from asu_stats.jobs.job import Job, Schedule
from asu_stats.jobs.runner import Runner
from asu_stats.jobs.scheduler import Scheduler
from asu_stats.store.database import leases
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.leases import Lease, scheduled_jobs
from asu_stats.store.details import queue_samples
from asu_stats.store.rollups.definitions import CLIENTS
from tests.builds.support import body
from tests.jobs.test_leases import lease_until
from tests.patience import SECONDS
from tests.support import NOW, Stats, build, request

YEARLY = Schedule("0 0 1 1 *")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("crontab", "after", "expected"),
    [
        ("* * * * *", "2026-03-01 10:00:00", "2026-03-01 10:01:00"),
        ("* * * * *", "2026-03-01 10:00:59.999999", "2026-03-01 10:01:00"),
        ("25 3 * * *", "2026-03-29 00:30:00", "2026-03-29 03:25:00"),
        ("25 3 * * *", "2026-03-29 03:25:00", "2026-03-30 03:25:00"),
        ("0 4 * * sun", "2026-03-02 00:00:00", "2026-03-08 04:00:00"),
        ("0 0 29 2 *", "2026-03-02 00:00:00", "2028-02-29 00:00:00"),
    ],
)
def test_schedules_are_crontabs_in_utc(crontab: str, after: str, expected: str) -> None:
    assert Schedule(crontab).after(at(after)) == at(expected)


@pytest.mark.parametrize(
    "crontab", ["", "x", "* * * *", "99 * * * *", "0 0 31 2 *", "0 3 * * 1", "0 3 * * */2"]
)
def test_what_is_no_schedule_is_refused(crontab: str) -> None:
    with pytest.raises(InvalidSettingError, match=r"^verify_schedule=.*five fields"):
        Schedule(crontab, "verify_schedule")


def due(engine: Engine) -> None:
    past = leases.now(engine) - timedelta(seconds=1)
    with write_transaction(engine) as connection:
        connection.execute(update(scheduled_jobs).values(next_run_at=past))


def runner_of(engine: Engine, run: Callable[[Lease], Any], **options: Any) -> tuple[Runner, Job]:
    job = Job("work", "Work", YEARLY, run, **options)
    runner = Runner(engine, [job])
    runner.register()
    return runner, job


def test_a_new_job_waits_for_its_time_and_then_runs_once(engine: Engine) -> None:
    runner, job = runner_of(engine, lambda _: {"rows": 7})
    assert runner.run_if_due(job) is None
    due(engine)
    other = Runner(engine, [job])
    runs = [runner.run_if_due(job), other.run_if_due(job), runner.run_if_due(job)]
    assert [run and run.status for run in runs] == ["ok", None, None]
    (row,) = listing.read(engine, [job])
    assert (row["last_status"], row["last_result"], row["running"]) == ("ok", {"rows": 7}, False)
    assert row["last_success_at"] == row["last_finished_at"]
    assert row["next_run_at"]
    assert row["next_run_at"][5:] == "01-01T00:00:00Z"


def test_a_failure_is_told_and_its_next_time_is_kept(engine: Engine) -> None:
    def fail(_: Lease) -> dict[str, object]:
        raise AsuStatsError("/srv/archive: no space left on device")

    runner, job = runner_of(engine, fail)
    due(engine)
    run = runner.run_if_due(job)
    assert run
    assert run.status == "failed"
    (row,) = listing.read(engine, [job])
    assert (row["last_status"], row["last_success_at"]) == ("failed", None)
    assert "archive" not in str(row)
    assert listing.errors(engine) == {"work": "/srv/archive: no space left on device"}
    assert runner.run_if_due(job) is None


def test_signs_of_life_are_given_while_a_job_runs(engine: Engine) -> None:
    started, go_on = threading.Event(), threading.Event()

    def work(lease: Lease) -> dict[str, object]:
        started.set()
        go_on.wait(SECONDS)
        with write_transaction(engine) as connection:
            lease.guard(connection)
        return {}

    runner, job = runner_of(engine, work, lease_seconds=2.0)
    due(engine)
    found = []
    thread = threading.Thread(target=lambda: found.append(runner.run_if_due(job)))
    thread.start()
    assert started.wait(SECONDS)
    first = lease_until(engine)
    while lease_until(engine) == first:
        time.sleep(0.05)
    assert not leases.is_due(engine, "work")
    assert listing.read(engine, [job])[0]["running"]
    go_on.set()
    thread.join()
    assert found[0]
    assert found[0].status == "ok"


def test_a_scheduler_that_is_closed_stops_what_runs_and_another_goes_on(engine: Engine) -> None:
    started = threading.Event()
    ends: list[str] = []

    def work(lease: Lease) -> dict[str, object]:
        started.set()
        while len(ends) == 0:
            lease.check()
            time.sleep(0.01)
        return {}

    runner, job = runner_of(engine, work)
    due(engine)
    with Scheduler(runner, check_seconds=0.05):
        assert started.wait(SECONDS)
    assert listing.read(engine, [job])[0]["last_status"] == "stopped"
    ends.append("now")
    run = Runner(engine, [job]).run_if_due(job)
    assert run
    assert run.status == "ok"


def test_the_queue_minute_by_minute(stats: Stats) -> None:
    queues = CombinedQueue(stats.engine, lambda: datetime.now(UTC), timedelta(hours=6))
    job = definitions.queue_sampling(stats.engine, queues.state, keep_days=2)
    runner = Runner(stats.engine, [job])
    runner.register()
    stats.record(request("h", NOW), *build("h", end=NOW))
    for number in range(3):
        answer = stats.client.post("/api/v1/build", json=body(profile=f"device-{number}"))
        assert answer.status_code == 202
    BuildService(stats.engine, stats.settings, stats.recorder.record).queue.claim("w1")
    now = leases.now(stats.engine)
    with write_transaction(stats.engine) as connection:
        queue = queue_samples.QueueState(9, 9, None)
        old = queue_samples.store(connection, now - timedelta(days=3), queue)
    run = runner.run_now(job)
    assert run
    assert run.result == {"queue_length": 2, "builds_running": 1}
    with read_snapshot(stats.engine) as connection:
        (sample,) = queue_samples.since(connection, old.sampled_at)
    assert (sample.queue_length, sample.builds_running) == (2, 1)
    assert sample.oldest_queued_at is not None
    assert abs(sample.oldest_queued_at - now) < timedelta(minutes=1)
    assert sample.last_finished_at == NOW.replace(tzinfo=None)
    assert sample.sampled_at.second == 0


@pytest.mark.parametrize("years", [5, -50])
def test_a_wrong_clock_does_not_delete_the_samples(engine: Engine, years: int) -> None:
    now = NOW.replace(tzinfo=None)
    wrong = now.replace(year=now.year + years)
    with write_transaction(engine) as connection:
        for minutes in range(150):
            queue = queue_samples.QueueState(1, 1, None)
            queue_samples.store(connection, now - timedelta(minutes=minutes), queue)
        queue_samples.forget(connection, wrong - timedelta(days=30), wrong)
        assert len(queue_samples.since(connection, now - timedelta(days=1))) == 90
        for _ in range(3):
            queue_samples.forget(connection, now - timedelta(minutes=9.5), now)
        assert len(queue_samples.since(connection, now - timedelta(days=1))) == 10


def test_verification_looks_at_closed_days_that_changed(stats: Stats) -> None:
    days = [NOW - timedelta(days=n) for n in (0, 1, 40)]
    stats.record(*(request(f"h{n}", day) for n, day in enumerate(days)))
    job = definitions.verification(stats.engine, YEARLY, NOW.date)
    runner = Runner(stats.engine, [job])
    runner.register()

    def verified() -> tuple[int, int]:
        run = runner.run_now(job)
        assert run
        assert run.result
        return run.result["days"], run.result["differences"]

    first = verified()
    turn = verified()
    assert first[0] == 2  # yesterday and the day of 40 days ago; not today
    assert turn[0] <= 2
    stats.record(request("late", days[1]))
    with write_transaction(stats.engine) as connection:
        connection.execute(update(CLIENTS.table).values(requests=CLIENTS.table.c.requests + 1))
    days_seen, differences = verified()
    assert days_seen == turn[0] + 1
    assert differences >= 1


def test_what_the_api_shows(stats: Stats) -> None:
    engine = stats.engine
    job = Job("work", "Work", YEARLY, lambda _: {"rows": 7})
    app = create_app(
        stats.settings,
        engine=engine,
        recorder=stats.recorder,
        builds=BuildService(engine, stats.settings, stats.recorder.record),
        jobs=[job],
    )
    with TestClient(app) as client:
        earlier = client.get("/api/v1/stats/jobs")
        (before,) = earlier.json()
        assert before["name"] == "work"
        assert before["last_started_at"] is before["next_run_at"] is None
        runner = Runner(engine, [job])
        runner.register()
        runner.run_now(job)
        known = {"If-None-Match": earlier.headers["ETag"]}
        answer = client.get("/api/v1/stats/jobs", headers=known)
        now_known = {"If-None-Match": answer.headers["ETag"]}
        assert client.get("/api/v1/stats/jobs", headers=now_known).status_code == 304
    (after,) = answer.json()
    assert (after["last_status"], after["last_result"]) == ("ok", {"rows": 7})
