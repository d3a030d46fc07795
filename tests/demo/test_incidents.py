"""The demo has incidents: one that goes on, and two that are over."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from asu_stats.cli.demo import _fill
from asu_stats.demo import history
from asu_stats.monitor import state
from asu_stats.monitor.schema import alert_messages
from asu_stats.service import replay
from asu_stats.store.apply import apply_batch
from asu_stats.store.database.engine import read_snapshot
from tests.conftest import sqlite_database
from tests.support import Stats


@pytest.mark.parametrize("hour", [4, 15])
def test_one_goes_on_and_two_are_over(
    request: pytest.FixtureRequest, tmp_path: Path, hour: int
) -> None:
    now = datetime(2026, 11, 29, hour, 24, tzinfo=UTC)
    with Stats.on(sqlite_database(request), tmp_path / "spool") as stats:
        events = history.history(days=30, requests=20_000, now=now, ongoing=True)
        _fill(partial(apply_batch, stats.engine), events)
        replay.alerts(stats.settings, stats.engine, history.incident_times(days=30, now=now))
        with read_snapshot(stats.engine) as connection:
            found = state.history(connection, 20)
            messages = connection.execute(select(func.count()).select_from(alert_messages))
            assert messages.scalar_one() == 0
    open_ones = [each for each in found if each.incident.closed_at is None]
    assert len(open_ones) == 1
    assert len(found) >= 3
    assert all(each.report["cause"] for each in found)
