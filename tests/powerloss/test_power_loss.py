"""Power failures: what was acknowledged is on disk, whatever was not synced is lost.

A process writes to an SQLite file, the spool, archive files and backups under `strace`. Its steps
are carried out again on a disk that loses what was not synced, up to a moment. Then the program
starts on what is left. `make powerloss` tries many moments (CUTS=200).
"""

import os
import random
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine

from asu_stats.backup import container
from asu_stats.events import BuildFinished, Event, RequestReceived
from asu_stats.recorder.spool import Spool
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.archive import segments
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import build_metrics, client_stats
from asu_stats.store.verification import verify
from tests.crash.test_retention import details
from tests.powerloss import trace
from tests.powerloss.disk import LOSSES, Disk, Loss
from tests.powerloss.trace import Step
from tests.powerloss.workload import LOG, events_of

CUTS = int(os.environ.get("CUTS", "4"))
MANY = CUTS > 50  # a campaign
ROUNDS = 5 if MANY else 1
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not trace.available(), reason="strace is not installed or may not trace: apt-get install strace"
)


@dataclass
class Said:
    """What the process said up to a moment."""

    sent: set[int] = field(default_factory=set)
    safe: set[int] = field(default_factory=set)
    backups: set[str] = field(default_factory=set)

    def hear(self, line: str) -> None:
        kind, _, value = line.strip().partition(" ")
        if kind == "backup":
            self.backups.add(value)
        else:
            {"sent": self.sent, "safe": self.safe}[kind].add(int(value))


@dataclass(frozen=True)
class Recording:
    start: Path  # what was on disk before
    steps: list[Step]


@pytest.fixture(scope="module")
def recording(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[Recording]:
    place = tmp_path_factory.mktemp("power")
    start, live = place / "start", place / "live"
    start.mkdir()
    shutil.copy(sqlite_template, start / "stats.db")
    shutil.copytree(start, live)
    command = [sys.executable, "-m", "tests.powerloss.workload", str(live), str(ROUNDS)]
    steps = trace.record(command, live, place / "trace.txt", ROOT)
    live.rename(place / "done")
    start.rename(live)  # the steps name files here
    yield Recording(live, steps)
    shutil.rmtree(place)


def moments(steps: Sequence[Step], count: int, seed: int) -> list[int]:
    """Return moments all over the recording: half of them right before or after a sync."""
    rng = random.Random(seed)
    syncs = [at + 1 for at, step in enumerate(steps) if step.kind.startswith("sync")]
    near = [rng.choice(syncs) for _ in range(count // 2)]
    return sorted([*near, *(rng.randint(1, len(steps)) for _ in range(count - len(near)))])


def cuts(
    recording: Recording, count: int, directory: Path, losses: Sequence[Loss], deaf: tuple[str, ...]
) -> Iterator[tuple[str, Path, Said]]:
    """Yield a name, what is on disk, and what was said before, for each power failure."""
    disk, said, done, rng = Disk(recording.start, deaf), Said(), 0, random.Random(count)
    for moment in moments(recording.steps, count, count):
        for step in recording.steps[done:moment]:
            disk.do(step)
            if step.kind == "write" and step.path.endswith(LOG):
                said.hear(step.data.decode())
        done = moment
        for loss in losses:
            left = directory / f"{moment}-{loss}"
            if left.exists():
                continue
            left.mkdir()
            disk.leave(left, loss, rng)
            yield f"step {moment}, lost: {loss}", left, said
            shutil.rmtree(left)


def stored(engine: Engine) -> tuple[Counter[str], Counter[str]]:
    """Count requests by hash, and builds by id, wherever they are."""
    with read_snapshot(engine) as connection:
        requests = (row[0] for row in details(connection, client_stats, "request_hash"))
        builds = (row[0] for row in details(connection, build_metrics, "build_id"))
        return Counter(requests), Counter(builds)


def expected(numbers: set[int]) -> tuple[Counter[str], Counter[str]]:
    events: list[Event] = [event for number in sorted(numbers) for event in events_of(number)]
    requests = (str(each.request_hash) for each in events if isinstance(each, RequestReceived))
    builds = (each.build_id for each in events if isinstance(each, BuildFinished))
    return Counter(requests), Counter(builds)


def problems(left: Path, said: Said) -> list[str]:
    """Start the program on what is left, and return what is wrong."""
    found: list[str] = []
    with closing(sqlite3.connect(left / "stats.db")) as database:
        (answer,) = database.execute("PRAGMA integrity_check").fetchone()
        found += [f"integrity_check: {answer}"] * (answer != "ok")
    engine = engines.create(f"sqlite:///{left / 'stats.db'}")
    segments.keep_in(engine, left / "archive")
    try:
        migrate.upgrade(engine)
        spool = Spool(left / "spool", limit_bytes=1 << 20, reserve_bytes=0)
        assert spool.replay(lambda events: bool(apply_batch(engine, events)), 1000)
        spool.close()
        found += _missing(engine, said)
        for number in sorted(said.sent):  # senders send again what they are unsure of
            apply_batch(engine, events_of(number))
        if stored(engine) != expected(said.sent):
            found.append("not all there once after everything was sent again")
        with read_snapshot(engine) as connection:
            found += [f"archive: {each}" for each in segments.problems(connection).items()]
        found += [f"verify: {each}" for each in verify.differences(engine)]
    except Exception as error:  # anything is a finding
        found.append(f"{type(error).__name__}: {error}")
    finally:
        engine.dispose()
    return [*found, *_broken_backups(left, said)]


def _missing(engine: Engine, said: Said) -> list[str]:
    found = []
    for have, safe, sent in zip(
        stored(engine), expected(said.safe), expected(said.sent), strict=True
    ):
        if lost := safe - have:
            found.append(f"acknowledged and lost: {sorted(lost)[:3]}")
        if more := have - sent:
            found.append(f"twice, or never sent: {sorted(more)[:3]}")
    return found


def _broken_backups(left: Path, said: Said) -> list[str]:
    found = [f"{name} is lost" for name in said.backups if not (left / name).exists()]
    for path in left.glob("*.zip"):
        try:
            with container.reading(path) as reader:
                reader.check(lambda _: None)
        except Exception as error:  # anything is a finding
            found.append(f"{path.name}: {error}")
    return found


@pytest.mark.timeout(0)
def test_what_was_acknowledged_survives_a_power_failure(
    recording: Recording, tmp_path: Path
) -> None:
    failures: list[str] = []
    tried = safe = 0
    losses: Sequence[Loss] = LOSSES if MANY else ("all", "some")
    for name, left, said in cuts(recording, CUTS, tmp_path, losses, ()):
        failures += [f"{name}: {problem}" for problem in problems(left, said)]
        tried, safe = tried + 1, max(safe, len(said.safe))
    syncs = sum(step.kind == "sync-end" for step in recording.steps)
    print(  # noqa: T201 - the figures of `make powerloss`
        f"\n{tried} power failures at {CUTS} moments of {len(recording.steps):,} steps "
        f"({syncs} syncs, {safe} calls acknowledged): {len(failures)} findings"
    )
    assert failures == []


@pytest.mark.parametrize("deaf", [".spool", "-wal", ".part", "backup.zip"][: MANY * 4 or 1])
def test_a_sync_that_is_left_out_is_noticed(
    recording: Recording, tmp_path: Path, deaf: str
) -> None:
    """Otherwise the test above would show nothing."""
    found = (
        problems(left, said) for _, left, said in cuts(recording, 24, tmp_path, ("data",), (deaf,))
    )
    assert any(found)
