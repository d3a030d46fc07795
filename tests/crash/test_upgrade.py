"""`kill -9` during an upgrade of the schema: it is as before, or done, and never in between."""

import os
import random
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from asu_stats.events import Event, RequestReceived
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.verification import verify
from tests import processes
from tests.acknowledged import events_of
from tests.store.older import back_to

KILLS = int(os.environ.get("KILLS", "0")) // 10 or 2
OLD = "0024"


def older(template: Path, file: Path) -> None:
    """Make a database of an older schema with some history."""
    shutil.copy(template, file)
    engine = engines.create(f"sqlite:///{file}")
    for start in range(0, 120, 20):
        events = (event for number in range(start, start + 20) for event in events_of(number))
        apply_batch(engine, [_without_packages(event) for event in events])
    with write_transaction(engine) as connection:
        back_to(connection, OLD)
    engine.dispose()


def _without_packages(event: Event) -> Event:
    """Sums of packages had other keys in older schemas."""
    return replace(event, packages=None) if isinstance(event, RequestReceived) else event


def upgraded(file: Path) -> dict[str, int]:
    """Upgrade a database here; return the number of rows of each table."""
    engine = engines.create(f"sqlite:///{file}")
    migrate.upgrade(engine)
    assert migrate.check(engine) == migrate.head()
    assert list(verify.differences(engine)) == []
    engine.dispose()
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        count = "SELECT count(*) FROM {}"
        return {name: database.execute(count.format(name)).fetchone()[0] for (name,) in tables}


def revision(file: Path) -> str:
    with closing(sqlite3.connect(file)) as database:
        (found,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(found)


@pytest.mark.crash
@pytest.mark.timeout(0)
def test_a_killed_upgrade_is_repeated(tmp_path: Path, sqlite_template: Path) -> None:
    start = tmp_path / "older.db"
    older(sqlite_template, start)
    rng, met, longest = random.Random(KILLS), 0, 3.0
    at_once = tmp_path / "at_once.db"
    shutil.copy(start, at_once)
    expected = upgraded(at_once)
    for number in range(KILLS):
        file = tmp_path / f"{number}.db"
        shutil.copy(start, file)
        process = processes.start(tmp_path, f"sqlite:///{file}", "db", "upgrade")
        time.sleep(rng.uniform(longest / 4, longest))
        finished = process.poll() is not None
        processes.kill(process)
        found = revision(file)
        assert found in {OLD, migrate.head()}
        met += found == OLD
        longest *= 0.7 if finished else 1.3
        assert upgraded(file) == expected
        file.unlink()
    sys.stdout.write(f"\nupgrade: {KILLS} kills, {met} before its end, 0 findings\n")
