"""`kill -9` during retention: every detail exists once, live or archived."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import Connection, Engine, Table, select

from asu_stats.demo import history
from asu_stats.events import BuildFinished, BuildStarted, Event, RequestReceived
from asu_stats.store.apply import apply_batch
from asu_stats.store.archive import retention, segments
from asu_stats.store.archive.archive import ARCHIVES
from asu_stats.store.archive.expiry import Policy
from asu_stats.store.archive.segments import archive_parts
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import build_metrics, client_stats, error_stats
from asu_stats.store.verification import verify
from tests.support import NOW

# `make test` shows that it works; `make crash` (KILLS=60) means it.
KILLS = max(6, int(os.environ.get("KILLS", "0")))
TODAY = NOW.date()

# A child per line of standard input: "days seconds", killed after so many seconds.
LAUNCHER = """
import os, signal, sys, time
from datetime import date
from pathlib import Path
from asu_stats.store.archive import expiry, retention
from asu_stats.store.database import engine as engines

retention._ROWS = retention._MIN_BATCH = retention._MAX_BATCH = 5  # so that a kill meets a batch
url, today = sys.argv[1], date.fromisoformat(sys.argv[2])
files = retention.ArchiveDirectory(Path(sys.argv[3]), sys.argv[4]) if len(sys.argv) > 3 else None
for line in sys.stdin:
    days, seconds = line.split()
    child = os.fork()
    if not child:
        policy = expiry.Policy(*[int(days)] * 4)
        retention.run(engines.create(url), policy, today, archive_directory=files)
        os._exit(0)
    time.sleep(float(seconds))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "done", flush=True)
"""


def details(connection: Connection, live: Table, *names: str) -> Iterator[tuple[Any, ...]]:
    """Yield some columns of a table's rows: live, archived and in files."""
    for table in (live, ARCHIVES[live]):
        yield from map(tuple, connection.execute(select(*(table.c[name] for name in names))))
    places = [live.columns.keys().index(name) for name in names]
    files = select(archive_parts.c.file).where(archive_parts.c.table_name == live.name)
    for file in connection.execute(files).scalars():
        rows = segments.rows_of(connection, live, file)
        yield from (tuple(row[at] for at in places) for row in rows)


def identities(engine: Engine) -> dict[str, Counter[Any]]:
    """Count each detail by what identifies it, wherever it is."""
    keys = {
        build_metrics: ("request_hash", "build_id"),
        client_stats: ("client", "timestamp", "request_hash", "outcome"),
        error_stats: ("timestamp", "request_hash", "build_id", "client"),
    }
    with read_snapshot(engine) as connection:
        return {live.name: Counter(details(connection, live, *keys[live])) for live in keys}


def archived_rows(engine: Engine) -> int:
    with read_snapshot(engine) as connection:
        everything = sum(len(list(details(connection, live, "id"))) for live in ARCHIVES)
        return everything - sum(
            len(connection.execute(select(live.c.id)).all()) for live in ARCHIVES
        )


def numbers(engine: Engine) -> bool:
    """Tell whether no number was given twice."""
    with read_snapshot(engine) as connection:
        return all(
            max(Counter(details(connection, live, "id")).values(), default=1) == 1
            for live in ARCHIVES
        )


@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.parametrize("form", ["tables", "csv.gz"])
def test_nothing_is_lost_and_nothing_is_double(
    sqlite_template: Path, tmp_path: Path, form: Literal["tables", "csv.gz"]
) -> None:
    directory = tmp_path / "archive"
    archive_directory = None if form == "tables" else retention.ArchiveDirectory(directory, form)
    in_files = [] if archive_directory is None else [str(directory), form]
    events = list(history.history(days=100, requests=1500 + 80 * KILLS, now=NOW))
    rng = random.Random(KILLS)
    late = rng.sample(events, len(events) // 10)
    late_ids = set(map(id, late))
    engine, twin = _made(sqlite_template, tmp_path / "a"), _made(sqlite_template, tmp_path / "b")
    _apply(engine, [event for event in events if id(event) not in late_ids])
    _apply(twin, events)
    command = [sys.executable, "-c", LAUNCHER, str(engine.url), TODAY.isoformat(), *in_files]
    killed, grown, longest = 0, 0, 0.8  # seconds to the kill, as it turns out for this machine
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdin
        assert launcher.stdout
        for number in range(KILLS):
            before = archived_rows(engine)
            days = 50 - 40 * number // KILLS
            launcher.stdin.write(f"{days} {rng.uniform(longest / 16, longest)}\n")
            launcher.stdin.flush()
            met, more = launcher.stdout.readline() == "killed\n", archived_rows(engine) > before
            killed, grown = killed + met, grown + more
            longest *= 0.5 if not met else 1 if more else 1.5
            assert numbers(engine)
            _apply(engine, late[number::KILLS])  # what was archived is brought back, in part
        launcher.stdin.close()
    assert killed > KILLS / 2, "few kills met a run: the test shows nothing"
    assert grown > KILLS / 4
    report = retention.run(engine, Policy(*[10] * 4), TODAY, archive_directory=archive_directory)
    assert bool(list(directory.glob("*/*/*"))) == bool(in_files), report
    found = identities(engine)
    assert found == identities(twin)
    assert numbers(engine)
    assert all(count == 1 for count in found["build_metrics"].values())
    assert sum(found["client_stats"].values()) == _count(events, RequestReceived)
    assert set(found["build_metrics"]) == {
        (event.request_hash, event.build_id)
        for event in events
        if isinstance(event, BuildStarted | BuildFinished)
    }
    assert list(verify.differences(engine)) == []
    for each in (engine, twin):
        each.dispose()


def _made(template: Path, directory: Path) -> Engine:
    directory.mkdir()
    (directory / "stats.db").write_bytes(template.read_bytes())
    engine = engines.create(f"sqlite:///{directory / 'stats.db'}")
    segments.keep_in(engine, directory.parent / "archive")
    return engine


def _apply(engine: Engine, events: list[Event]) -> None:
    for start in range(0, len(events), 2000):
        apply_batch(engine, events[start : start + 2000])


def _count(events: list[Event], kind: type) -> int:
    return sum(isinstance(event, kind) for event in events)
