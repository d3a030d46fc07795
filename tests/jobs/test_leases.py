"""Leases: one process runs a job, and a process that lost its lease cannot write."""

import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, select, update

from asu_stats.exceptions import LeaseLostError
from asu_stats.store.database import leases
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.leases import scheduled_jobs


@pytest.fixture
def due(engine: Engine) -> Engine:
    leases.register(engine, "work", "* * * * *", leases.now(engine) - timedelta(seconds=1))
    return engine


def run_out(engine: Engine) -> None:
    past = leases.now(engine) - timedelta(seconds=1)
    with write_transaction(engine) as connection:
        connection.execute(update(scheduled_jobs).values(lease_until=past))


def test_of_many_that_try_at_once_one_has_it(due: Engine) -> None:
    found = []
    together = threading.Barrier(6)

    def attempt(number: int) -> None:
        together.wait()
        found.append(leases.acquire(due, "work", f"p{number}", 60))

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([lease for lease in found if lease]) == 1
    assert not leases.is_due(due, "work")


def test_what_is_done_is_not_due_until_its_next_time(due: Engine) -> None:
    lease = leases.acquire(due, "work", "a", 60)
    assert lease
    later = leases.now(due) + timedelta(seconds=60)
    leases.release(lease, "ok", next_run_at=later, result={"n": 1})
    assert not leases.is_due(due, "work")
    assert leases.acquire(due, "work", "b", 60) is None
    assert leases.acquire(due, "work", "b", 60, due=False)
    assert leases.last_result(due, "work") == {"n": 1}


def test_a_holder_that_died_is_followed(due: Engine) -> None:
    dead = leases.acquire(due, "work", "a", 60)
    assert dead
    assert not leases.is_due(due, "work")
    run_out(due)
    assert leases.is_due(due, "work")
    heir = leases.acquire(due, "work", "b", 60)
    assert heir
    assert heir.fence > dead.fence


def test_who_was_asleep_can_neither_write_nor_renew_nor_give_back(due: Engine) -> None:
    asleep = leases.acquire(due, "work", "a", 60)
    assert asleep
    run_out(due)
    heir = leases.acquire(due, "work", "b", 60)
    assert heir
    with pytest.raises(LeaseLostError), write_transaction(due) as connection:
        asleep.guard(connection)
    leases.renew(asleep)
    with pytest.raises(LeaseLostError):
        asleep.check()
    leases.release(asleep, "ok", result={"by": "a"})
    with write_transaction(due) as connection:
        heir.guard(connection)
        row = connection.execute(select(scheduled_jobs)).one()
    assert (row.holder, row.result) == ("b", None)


def test_the_same_holder_does_not_mistake_a_new_lease_for_its_old_one(due: Engine) -> None:
    first = leases.acquire(due, "work", "a", 60)
    assert first
    run_out(due)
    assert leases.acquire(due, "work", "a", 60)
    with pytest.raises(LeaseLostError), write_transaction(due) as connection:
        first.guard(connection)


def test_a_lease_that_ran_out_and_nobody_took_goes_on(due: Engine) -> None:
    lease = leases.acquire(due, "work", "a", 60)
    assert lease
    run_out(due)
    leases.renew(lease)
    assert not leases.is_due(due, "work")
    with write_transaction(due) as connection:
        lease.guard(connection)


HOLDER = """
import sys, time
from asu_stats.jobs.job import Job, Schedule
from asu_stats.jobs.runner import Runner
from asu_stats.store.database import engine as engines

def work(lease):
    print("at it", flush=True)
    time.sleep(60)
    return {}

job = Job("work", "Work", Schedule("* * * * *"), work, lease_seconds=4.0)
Runner(engines.create(sys.argv[1]), [job]).run_if_due(job)
"""


def lease_until(engine: Engine) -> datetime:
    with read_snapshot(engine) as connection:
        until: datetime = connection.execute(select(scheduled_jobs.c.lease_until)).scalar_one()
    return until


def test_kill_9_of_the_holder_lets_another_in_within_two_lease_times(
    due: Engine, database_url: str
) -> None:
    command = [sys.executable, "-c", HOLDER, database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "at it\n"
        first = lease_until(due)
        while lease_until(due) == first:  # it gives signs of life
            time.sleep(0.05)
        holder.kill()
        killed = time.monotonic()
    while not (lease := leases.acquire(due, "work", "heir", 4.0)):
        time.sleep(0.05)
        assert time.monotonic() < killed + 8.0
    assert lease.fence == 2


def test_another_schedule_moves_the_next_run(due: Engine) -> None:
    later = leases.now(due) + timedelta(days=1)
    leases.register(due, "work", "* * * * *", later)
    assert leases.is_due(due, "work")
    leases.register(due, "work", "0 4 * * *", later)
    assert not leases.is_due(due, "work")


def test_a_row_has_the_times_and_the_result_of_the_last_run(due: Engine) -> None:
    leases.register(due, "another", "0 4 * * *", leases.now(due))  # its row comes first
    ((_, another_is_running), (row, is_running)) = leases.states(due)
    assert (another_is_running, is_running) == (False, False)
    assert (row.name, row.started_at, leases.last_success(due, "work")) == ("work", None, None)
    lease = leases.acquire(due, "work", "a", 60)
    assert lease
    row, is_running = leases.states(due)[1]
    assert is_running
    assert row.started_at == lease.started_at <= leases.now(due)
    assert row.lease_until == lease.started_at + timedelta(seconds=60)
    leases.release(lease, "ok", result={"rows": 3})
    row, is_running = leases.states(due)[1]
    assert not is_running
    assert (row.status, row.result, row.error) == ("ok", {"rows": 3}, None)
    assert lease.started_at <= row.finished_at == row.succeeded_at <= leases.now(due)
    assert row.succeeded_at == leases.last_success(due, "work")
    assert 0 <= row.duration_seconds < 60

    again = leases.acquire(due, "work", "a", 60)
    assert again
    leases.release(again, "failed", error="x" * 1000)
    failed, _ = leases.states(due)[1]
    assert (failed.status, failed.result, failed.error) == ("failed", None, "x" * 500)
    assert failed.succeeded_at == row.succeeded_at <= failed.finished_at
    assert leases.last_success(due, "another") is None
    assert leases.last_result(due, "another") == {}
