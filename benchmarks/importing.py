"""History of a Go server: what an import costs beside reading the same rows, and its memory."""

import json
import random
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Results, Table, Target
from tests.importers.go_history import SCHEMA

_SMALL: Final = 10  # the same with a tenth of the rows: what memory is to be compared with
_STAT: Final = (
    "INSERT INTO build_stats (timestamp, event_type, version, target, profile, duration_seconds, "
    "diff_packages) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_REQUEST: Final = (
    "INSERT INTO build_requests VALUES "
    "(?, 'openwrt', ?, ?, ?, ?, '{}', '', 0, '[]', '[]', ?, 'luci/git-25.1', ?)"
)
_JOB: Final = (
    "INSERT INTO build_jobs (request_hash, status, started_at, finished_at, error_message, "
    "worker_id) VALUES (?, ?, ?, ?, ?, 'w1')"
)
_RESULT: Final = "INSERT INTO build_results VALUES (?, '[]', '{}', ?, 0, ?)"
_READ: Final = (
    "SELECT id, timestamp, event_type, version, target, profile, duration_seconds, diff_packages "
    "FROM build_stats ORDER BY id"
)


def run(results: Results, keep: Path, size: int) -> None:
    """Import `size` rows of `build_stats`, and a tenth as many; each in a process of its own."""
    counts = (max(1, size // _SMALL), size)
    result = {str(count): _measure(keep, count) for count in counts}
    rows: list[Sequence[object]] = [
        (int(count), *(figures[name] for name in _COLUMNS)) for count, figures in result.items()
    ]
    note = (
        "Reading alone is sqlite3 in one process, nothing done with the rows; an import is a "
        "process from its start to its end, matching and checking included."
    )
    table = Table("Import of a Go server's history", ("rows", *_COLUMNS.values()), rows, note)
    small, large = result.values()
    growth = large["peak_mib"] / small["peak_mib"]
    target = Target("import", "peak memory, against a tenth of the rows", growth, "at most", 1.5)
    results.add("import", result, [table], [target])


_COLUMNS: Final = {
    "reading_seconds": "reading alone, s",
    "import_seconds": "import, s",
    "ratio": "ratio",
    "peak_mib": "peak, MiB",
}


def _measure(keep: Path, count: int) -> dict[str, float]:
    file, target = keep / f"builder-{count}.db", keep / f"imported-{count}.db"
    if not file.exists():
        _write(file, count)
    for old in keep.glob(f"{target.name}*"):
        if old.is_file():
            old.unlink()
    reading = _read(file)
    seconds, peak = _import(file, target)
    return {
        "reading_seconds": round(reading, 2),
        "import_seconds": round(seconds, 1),
        "ratio": round(seconds / reading),
        "peak_mib": round(peak),
    }


def _write(file: Path, count: int) -> None:
    """Make a file of `count` rows of `build_stats`, with the rows of the other tables."""
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(part)) as database:
        database.executescript(f"PRAGMA synchronous = OFF; {SCHEMA}")
        statements = _statements(random.Random(count), count)
        for statement, values in statements:
            database.execute(statement, values)
        database.commit()
    part.rename(file)


def _statements(rng: random.Random, count: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Half of the rows are cache hits; a request is followed by its build, one in ten fails."""
    now = datetime(2025, 1, 1, tzinfo=UTC)
    packages = [f"package-{number}" for number in range(400)]
    written = 0
    while written < count:
        now += timedelta(seconds=rng.expovariate(1 / 40))
        version = rng.choice(("24.10.4", "23.05.5", "SNAPSHOT"))
        names = version, f"target/{rng.randrange(60)}", f"profile-{rng.randrange(600)}"
        diff = rng.random() < 0.7
        yield _STAT, (_go(now), "cache_hit", *names, 0, diff)
        written += 1
        if written >= count or rng.random() < 0.5:
            continue
        request_hash, seconds = f"{rng.getrandbits(256):064x}", rng.randrange(20, 300)
        end, listed = now + timedelta(seconds=seconds), json.dumps(rng.sample(packages, 20))
        good = rng.random() < 0.9
        yield _REQUEST, (request_hash, *names, listed, diff, _go(now))
        yield _STAT, (_go(now + timedelta(milliseconds=5)), "request", *names, 0, diff)
        status = "completed" if good else "failed"
        text = None if good else "No space left on device"
        yield _JOB, (request_hash, status, _go(now), _go(end), text)
        if good:
            yield _RESULT, (request_hash, _go(end), seconds)
        kind = "build_completed" if good else "failure"
        yield _STAT, (_go(end + timedelta(milliseconds=8)), kind, *names, seconds * good, diff)
        written += 2


def _go(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} +0000 UTC m=+{moment.timestamp() % 1e6:.9f}"


def _read(file: Path) -> float:
    """Return the seconds that it takes to read the rows with sqlite3 and do nothing with them."""
    began = time.perf_counter()
    with closing(sqlite3.connect(file)) as database:
        for _ in database.execute(_READ):
            pass
    return time.perf_counter() - began


def _import(file: Path, target: Path) -> tuple[float, float]:
    """Return the seconds and the peak memory (MiB) of an import."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    command = [sys.executable, "-c", "from asu_stats.cli import main; main()"]
    arguments = ["import", "go-builder", str(file), "--database", f"sqlite:///{target}", "--json"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, *arguments], capture_output=True, check=True, cwd=target.parent
    )
    seconds = time.perf_counter() - began
    answer = json.loads(done.stdout)
    assert answer["accepted"] == answer["events"], answer
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert peak >= before  # the largest of all children so far: the larger import comes last
    return seconds, peak / 1024
