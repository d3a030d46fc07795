"""Power failures: what was acknowledged is on disk, whatever was not synced is lost.

A process writes to an SQLite file, the spool, archive files, backups and images under `strace`. Its
steps are carried out again on a disk that loses what was not synced, up to a moment. Then the
program starts on what is left. `make powerloss` tries many moments (CUTS=200).
"""

import os
import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from asu_stats.store.archive import segments
from asu_stats.store.database import engine as engines
from tests.acknowledged import Said, problems
from tests.powerloss import trace
from tests.powerloss.disk import LOSSES, Disk, Loss
from tests.powerloss.trace import Step
from tests.powerloss.workload import LOG

CUTS = int(os.environ.get("CUTS", "4"))
MANY = CUTS > 50  # a campaign
ROUNDS = 5 if MANY else 1
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not trace.available(), reason="strace is not installed or may not trace: apt-get install strace"
)


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


def found(left: Path, said: Said) -> list[str]:
    """Start the program on what is left, and return what is wrong."""
    engine = engines.create(f"sqlite:///{left / 'stats.db'}")
    segments.keep_in(engine, left / "archive")
    try:
        return problems(engine, left, said)
    finally:
        engine.dispose()


@pytest.mark.timeout(0)
def test_what_was_acknowledged_survives_a_power_failure(
    recording: Recording, tmp_path: Path
) -> None:
    failures: list[str] = []
    tried = safe = 0
    losses: Sequence[Loss] = LOSSES if MANY else ("all", "some")
    for name, left, said in cuts(recording, CUTS, tmp_path, losses, ()):
        failures += [f"{name}: {problem}" for problem in found(left, said)]
        tried, safe = tried + 1, max(safe, len(said.safe))
    syncs = sum(step.kind == "sync-end" for step in recording.steps)
    print(  # noqa: T201 - the figures of `make powerloss`
        f"\n{tried} power failures at {CUTS} moments of {len(recording.steps):,} steps "
        f"({syncs} syncs, {safe} calls acknowledged): {len(failures)} findings"
    )
    assert failures == []


@pytest.mark.parametrize(
    "deaf", [".spool", "-wal", ".part", "backup.zip", "kernel.bin"][: MANY * 5 or 1]
)
def test_a_sync_that_is_left_out_is_noticed(
    recording: Recording, tmp_path: Path, deaf: str
) -> None:
    """Otherwise the test above would show nothing."""
    failures = cuts(recording, 24, tmp_path, ("data",), (deaf,))
    assert any(found(left, said) for _, left, said in failures)
