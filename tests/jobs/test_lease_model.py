"""Leases in any order of steps of three processes, against a model; and faults that it must find.

A process can be suspended between any two steps: it then works with a lease that another has taken
since. What it wrote under that lease must not be kept. Clocks of databases jump, too.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select, update

from asu_stats.exceptions import LeaseLostError
from asu_stats.store.database import dialects, leases
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.leases import Lease, scheduled_jobs
from tests.conftest import sqlite_database

JOB, BEGIN = "work", datetime(2026, 9, 30, 12)  # noqa: DTZ001 - stored times have no zone
SECONDS = 10.0
NUMBERS = st.integers(0, 2)
STEPS = st.sampled_from((0, 1, 9, 10, 11, 60, 601, -5, -700, -3600))


class Leases(RuleBasedStateMachine):
    """Three processes with the names `p0`, `p1` and `p1`: a restarted one may have an old name."""

    engine: Engine
    clock: list[datetime]

    @initialize()
    def begin(self) -> None:
        self.clock[0] = BEGIN
        with write_transaction(self.engine) as connection:
            connection.execute(scheduled_jobs.delete())
        leases.register(self.engine, JOB, "* * * * *", BEGIN)
        self.mine: list[Lease | None] = [None, None, None]
        # What the row must say: the process that holds it, its end, how often it was taken.
        self.holder: int | None = None
        self.until: datetime | None = None
        self.fence = 0
        self.next_run = BEGIN
        self.result: object = None
        self.kept: list[int] = []  # the fences of kept writes

    def _is_free(self) -> bool:
        now = self.clock[0]
        if self.holder is None or self.until is None:
            return True
        return self.until <= now or self.until > now + timedelta(minutes=10)

    def _is_holder(self, number: int) -> bool:
        lease = self.mine[number]
        return lease is not None and self.holder == number and lease.fence == self.fence

    @rule(number=NUMBERS, due=st.booleans())
    def acquire(self, number: int, due: bool) -> None:
        may = self._is_free() and (not due or self.next_run <= self.clock[0])
        lease = leases.acquire(self.engine, JOB, f"p{min(number, 1)}", SECONDS, due=due)
        assert (lease is not None) == may
        if lease is not None:
            self.mine[number], self.holder = lease, number
            self.fence += 1
            self.until = self.clock[0] + timedelta(seconds=SECONDS)
            assert lease.fence == self.fence

    @rule(number=NUMBERS)
    def write(self, number: int) -> None:
        lease = self.mine[number]
        if lease is None:
            return
        try:
            with write_transaction(self.engine) as connection:
                lease.guard(connection)
            is_kept = True
        except LeaseLostError:
            is_kept = False
        assert is_kept == self._is_holder(number)
        if is_kept:
            self.kept.append(lease.fence)
        else:
            with pytest.raises(LeaseLostError):
                lease.check()
            self.mine[number] = None

    @rule(number=NUMBERS)
    def renew(self, number: int) -> None:
        lease = self.mine[number]
        if lease is None:
            return
        leases.renew(lease)
        if self._is_holder(number):
            self.until = self.clock[0] + timedelta(seconds=SECONDS)
            lease.check()
        else:
            with pytest.raises(LeaseLostError):
                lease.check()
            self.mine[number] = None

    @rule(number=NUMBERS, ahead=st.sampled_from((None, 5, 60)))
    def release(self, number: int, ahead: int | None) -> None:
        lease = self.mine[number]
        if lease is None:
            return
        following = None if ahead is None else self.clock[0] + timedelta(seconds=ahead)
        result = {"by": number, "fence": lease.fence}
        leases.release(lease, "ok", next_run_at=following, result=result)
        if self._is_holder(number):
            self.holder = self.until = None
            self.result = result
            self.next_run = following or self.next_run
        self.mine[number] = None

    @rule(step=STEPS)
    def time_passes(self, step: int) -> None:
        self.clock[0] += timedelta(seconds=step)

    @invariant()
    def the_row_is_as_expected(self) -> None:
        with read_snapshot(self.engine) as connection:
            row = connection.execute(select(scheduled_jobs)).one()
        assert (row.holder is None) == (self.holder is None)
        assert (row.lease_until, row.fence) == (self.until, self.fence)
        assert (row.next_run_at, row.result) == (self.next_run, self.result)
        is_due = self.next_run <= self.clock[0] and self._is_free()
        assert leases.is_due(self.engine, JOB) == is_due
        ((_, is_running),) = leases.states(self.engine)
        assert is_running == (not self._is_free())

    @invariant()
    def no_older_lease_wrote_after_a_newer_one(self) -> None:
        assert self.kept == sorted(self.kept)


Explore = Callable[[int], None]


@pytest.fixture
def explore(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Explore]:
    """Run so many sequences of steps, always the same ones."""
    engine, clock = engines.create(sqlite_database(request)), [BEGIN]
    monkeypatch.setattr(dialects, "now", lambda _: clock[0])
    machine = type("Machine", (Leases,), {"engine": engine, "clock": clock})

    def run(count: int) -> None:
        given = settings(
            max_examples=count,
            stateful_step_count=30,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
        )
        run_state_machine_as_test(machine, settings=given)

    yield run
    engine.dispose()


def test_any_order_of_steps_of_three_processes(explore: Explore) -> None:
    explore(15)


def by_holder(lease: Lease) -> Any:
    return (leases._t.name == lease.name) & (leases._t.holder == lease.holder)


def unguarded(lease: Lease, _: object) -> None:
    lease.check()


def renewed_by_name(lease: Lease) -> None:
    until = leases.now(lease.engine) + timedelta(seconds=lease.seconds)
    with write_transaction(lease.engine) as connection:
        connection.execute(update(scheduled_jobs).values(lease_until=until))


FAULTS: dict[str, tuple[object, str, object]] = {
    "no fence": (leases, "_is", by_holder),
    "no guard": (Lease, "guard", unguarded),
    "anybody renews": (leases, "renew", renewed_by_name),
    "held leases are taken": (leases, "_free", lambda _: scheduled_jobs.c.name.is_not(None)),
    "leases never expire": (leases, "_free", lambda _: scheduled_jobs.c.holder.is_(None)),
    "a wrong clock is waited for": (leases, "LONGEST", timedelta(days=36500)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_model_finds_a_fault(
    explore: Explore, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    place, name, wrong = FAULTS[fault]
    monkeypatch.setattr(place, name, wrong)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        explore(60)
