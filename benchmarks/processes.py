"""Several processes on one database: what they write together, and whether all of it is right.

SQLite: two servers that answer 20 questions a second each, and one writer, then two. PostgreSQL:
one writer, then four. At the end `verify` must find nothing and every event must have been counted;
no writer may be kept waiting for so long that the store refuses its batch.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, func, select

from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.schema import event_counts
from asu_stats.store.verification import verify
from benchmarks import databases, postgres
from benchmarks.http import ever_other_windows
from benchmarks.report import Results, Table, Target
from benchmarks.servers import helper, serving, start_together

SECONDS: Final = 6.0
BATCH: Final = 100
EXTRA: Final = 60_000
POSTGRESQL_SIZE: Final = 20_000
_READS: Final = 20


def run(results: Results, keep: Path, size: int) -> None:
    """Measure on a copy of the SQLite database of `size`, and on a smaller PostgreSQL one."""
    prepared = databases.prepare(keep, size, with_raw=False)
    directory = Path(tempfile.mkdtemp(prefix="processes-", dir=keep))
    result: dict[str, Any] = {}
    try:
        url = f"sqlite:///{databases.copy(prepared, directory, 'shared')}"
        result["sqlite"] = _compare(url, size, (1, 2), servers=2)
    finally:
        shutil.rmtree(directory)
    with postgres.server() as server:
        if server:
            small = min(size, POSTGRESQL_SIZE)
            url = postgres.filled(server, "processes", small)
            result["postgresql"] = _compare(url, small, (1, 4), servers=0)
    results.add("processes", result, _tables(result), _targets(result))


def _compare(url: str, size: int, writers: Sequence[int], *, servers: int) -> dict[str, Any]:
    engine = engines.create(url)
    before = _accepted(engine)
    written: dict[str, Any] = {}
    offset = 0
    for count in writers:
        databases.progress(f"processes: {engine.dialect.name}, {count} writers")
        written[str(count)] = _write(url, size, count, servers, offset)
        offset = written[str(count)]["next"]
    accepted = _accepted(engine) - before
    databases.progress(f"processes: {engine.dialect.name}, verify")
    started = time.perf_counter()
    differences = sum(1 for _ in verify.differences(engine))
    seconds = time.perf_counter() - started
    engine.dispose()
    return {
        "size": size,
        "writers": written,
        "events_lost": sum(of["events"] for of in written.values()) - accepted,
        "differences": differences,
        "verify_seconds": seconds,
    }


def _write(url: str, size: int, count: int, servers: int, skip: int) -> dict[str, Any]:
    """Let writers and servers work together; `skip` events were written before."""
    reads = ever_other_windows()
    with contextlib.ExitStack() as stack:
        helpers, options = [], []
        for place in range(servers):
            port, _ = stack.enter_context(serving(url))
            helpers.append(stack.enter_context(helper("load")))
            options.append(
                {
                    "port": port,
                    "paths": reads[place::servers][:2000],
                    "seconds": SECONDS,
                    "connections": 2,
                    "rate": _READS,
                }
            )
        for place in range(count):
            arguments = (url, str(size), str(EXTRA), str(place), str(count))
            helpers.append(stack.enter_context(helper("writer", *arguments)))
            options.append({"batch": BATCH, "seconds": SECONDS, "offset": skip})
        found = start_together(helpers, options)
    readers, writers = found[:servers], found[servers:]
    return {
        "events": sum(of["events"] for of in writers),
        "next": max(of["next"] for of in writers),
        "per_second": sum(of["events"] for of in writers) / max(of["seconds"] for of in writers),
        "least_of_most": min(of["events"] for of in writers)
        / max(1, *(of["events"] for of in writers)),
        "refused": sum(of["refused"] for of in writers),
        "slowest_batch_ms": 1000 * max(of["slowest"] for of in writers),
        "read_p99_ms": max((of["p99_ms"] for of in readers), default=None),
    }


def _accepted(engine: Engine) -> int:
    t = event_counts
    with read_snapshot(engine) as connection:
        query = select(func.coalesce(func.sum(t.c.events), 0)).where(t.c.result == "accepted")
        return int(connection.execute(query).scalar_one())


def _tables(result: dict[str, Any]) -> list[Table]:
    rows: list[Sequence[object]] = []
    for name, of in result.items():
        one = next(iter(of["writers"].values()))
        for count, written in of["writers"].items():
            ratio = written["per_second"] / one["per_second"]
            extra = ("least_of_most", "refused", "slowest_batch_ms", "read_p99_ms")
            shown = [written[kind] for kind in extra]
            rows.append((name, int(count), written["per_second"], ratio, *shown))
    columns = (
        *("database", "writers", "events/s", "of one", "slowest / fastest writer"),
        *("batches refused", "slowest batch, ms", "read p99, ms"),
    )
    checked = "; ".join(
        f"{name}: {of['events_lost']} events lost, verify found {of['differences']} differences "
        f"in {of['verify_seconds']:.1f} s"
        for name, of in result.items()
    )
    return [Table(f"Writers in processes of their own, batches of {BATCH}", columns, rows, checked)]


def _targets(result: dict[str, Any]) -> list[Target]:
    return [
        Target("processes", f"{name}: {words}", value, "at most", 0)
        for name, of in result.items()
        for words, value in (
            ("differences found by verify", float(of["differences"])),
            ("events lost", float(abs(of["events_lost"]))),
            ("batches refused", float(sum(w["refused"] for w in of["writers"].values()))),
        )
    ]
