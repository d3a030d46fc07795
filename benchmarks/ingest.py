"""Speed of recording: `store.apply` against bare inserts of the same rows; recorder and HTTP.

The bare inserts write exactly the rows that each batch adds to the detail tables: ready tuples
through the bare driver, into a copy of the same database, one transaction per batch, with the same
durability. Both take turns. Also measured: the recorder, concurrent callers, and HTTP ingest.
"""

import http.client
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from asu_stats.events import Event
from asu_stats.recorder import Recorder
from asu_stats.recorder.spool import Spool
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines
from asu_stats.store.dry_run import probe, rehearse
from benchmarks import databases, postgres, stream
from benchmarks.capture import BarePostgresql, BareSqlite, Batch, capture
from benchmarks.data import Plan
from benchmarks.report import Results, Table, Target
from benchmarks.servers import body, post, serving
from benchmarks.timing import Comparison, EventSupply, compare, percentile, resident_mib

ROUNDS: Final = 7  # the first warms up
# Batches per round, by events per batch.
BATCHES: Final = {1: 60, 10: 40, 100: 12, 1_000: 4}
CALLERS: Final = 32
POSTGRESQL_SIZE: Final = 20_000
EXTRA: Final = 60_000
_LAST: Final = ROUNDS * 1_000 * BATCHES[1_000]
_COMMIT_SECONDS: Final = 4.0
_PACED, _PACE, _BURST = 2_000, 0.001, 10_000
_HTTP_BATCHES, _HTTP_ROUNDS, _HTTP_EVENTS = 3, 5, 1_000


def run(results: Results, keep: Path, size: int) -> None:
    """Measure on copies of the SQLite database of `size`, and on smaller PostgreSQL ones."""
    directory = Path(tempfile.mkdtemp(prefix="ingest-", dir=keep))
    result: dict[str, Any] = {}
    try:
        result["sqlite"], supply, file = _sqlite(keep, directory, size)
        engine = engines.create(f"sqlite:///{file}")
        result["recorder"] = _recorder(engine, directory, supply)
        result["group_commit"] = _group_commit(engine, directory, supply)
        result["http"] = _http(engine, file, directory, supply)
        engine.dispose()
    finally:
        shutil.rmtree(directory)
    with postgres.server() as server:
        if server:
            result["postgresql"] = _postgresql(keep, server, min(size, POSTGRESQL_SIZE))
    results.add("ingest", result, _tables(result), _targets(result))


def _sqlite(keep: Path, directory: Path, size: int) -> tuple[Any, EventSupply, Path]:
    prepared = databases.prepare(keep, size, with_raw=False)
    supply = EventSupply(stream.extra_events(Plan(size, extra=EXTRA)))
    batches = _batches(supply)
    copy = databases.copy(prepared, directory, "captured")
    rows = capture(copy, [batch for of in batches.values() for batch in of])
    copy.unlink()
    applied = databases.copy(prepared, directory, "applied")
    bare = BareSqlite(databases.copy(prepared, directory, "bare"))
    engine = engines.create(f"sqlite:///{applied}")
    found = _compare_sizes(engine, bare.insert, batches, bare.ready(rows))
    found["size"] = size
    bare.close()
    engine.dispose()
    for file in directory.glob("bare.db*"):
        file.unlink()
    return found, supply, applied


def _postgresql(keep: Path, server: str, size: int) -> dict[str, Any]:
    prepared = databases.prepare(keep, size, with_raw=False)
    batches = _batches(EventSupply(stream.extra_events(Plan(size, extra=EXTRA))))
    with tempfile.TemporaryDirectory(dir=keep) as name:
        copy = databases.copy(prepared, Path(name), "captured")
        rows = capture(copy, [batch for of in batches.values() for batch in of])
    url = postgres.filled(server, "applied", size)
    bare = BarePostgresql(postgres.cloned(server, "applied", "bare"))
    engine = engines.create(url)
    found = _compare_sizes(engine, bare.insert, batches, bare.ready(rows))
    found["size"] = size
    bare.close()
    engine.dispose()
    return found


def _batches(supply: EventSupply) -> dict[int, list[list[Event]]]:
    return {
        size: [supply.take(size) for _ in range(ROUNDS * count)] for size, count in BATCHES.items()
    }


def _compare_sizes(
    engine: Engine,
    insert: Callable[[Batch], None],
    batches: dict[int, list[list[Event]]],
    rows: list[Batch],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    memory = []
    first = 0
    for size, of_size in batches.items():
        databases.progress(f"ingest: {engine.dialect.name}, batches of {size}")
        count = BATCHES[size]
        batch_rows = rows[first : first + len(of_size)]
        first += len(of_size)
        times = compare(
            partial(_all, partial(apply_batch, engine), of_size, count),
            partial(_all, insert, batch_rows, count),
            rounds=ROUNDS,
            items=count * size,
        )
        found[str(size)] = _figures(times)
        memory.append(resident_mib())
    found["memory_growth_mib"] = memory[-1] - memory[-2]
    return found


def _all(do: Callable[[Any], object], items: Sequence[Any], count: int, number: int) -> None:
    """Process the items of one round."""
    for item in items[number * count : (number + 1) * count]:
        do(item)


def _figures(times: Comparison) -> dict[str, float]:
    return {"rate": times.rate, "baseline": times.baseline_rate, "ratio": times.ratio}


def _recording(engine: Engine, directory: Path) -> Recorder:
    spool = Spool(directory / "spool", limit_bytes=1 << 24, reserve_bytes=0)
    return Recorder(
        partial(apply_batch, engine),
        spool,
        rehearse=partial(rehearse, engine),
        probe=partial(probe, engine),
    )


def _recorder(engine: Engine, directory: Path, supply: EventSupply) -> dict[str, float]:
    """Return µs of a call of `record` that does not wait, at 1,000 a second and in a burst."""
    databases.progress("ingest: recorder")
    found: dict[str, float] = {}
    with _recording(engine, directory) as recorder:
        for name, count, pace in (("paced", _PACED, _PACE), ("burst", _BURST, 0.0)):
            times = []
            due = time.perf_counter()
            for event in supply.take(count):
                if pace:
                    due += pace
                    time.sleep(max(0.0, due - time.perf_counter()))
                started = time.perf_counter_ns()
                recorder.record([event], wait=False)
                times.append((time.perf_counter_ns() - started) / 1000)
            found |= {f"{name}_p{p}": percentile(times, p) for p in (50, 99)}
    return found


def _group_commit(engine: Engine, directory: Path, supply: EventSupply) -> dict[str, float]:
    """Return events/s that one caller commits one by one, and that 32 do at a time."""
    databases.progress("ingest: group commit")
    found: dict[str, float] = {}
    with _recording(engine, directory) as recorder:
        for callers, seconds, events in ((1, 2.0, 4_000), (CALLERS, _COMMIT_SECONDS, 16_000)):
            share = events // callers
            parts = [supply.take(share) for _ in range(callers)]
            written = [0] * callers
            started = time.perf_counter()

            def commit(
                place: int, until: float = started + seconds, parts: Any = parts, w: Any = written
            ) -> None:
                for event in parts[place]:
                    if time.perf_counter() >= until:
                        return
                    recorder.commit([event])
                    w[place] += 1

            threads = [threading.Thread(target=commit, args=(n,)) for n in range(callers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            found[str(callers)] = sum(written) / (time.perf_counter() - started)
    return found


def _http(engine: Engine, file: Path, directory: Path, supply: EventSupply) -> dict[str, float]:
    """Return events/s of HTTP, one batch of 1,000 after the other, and of `store.apply`."""
    databases.progress("ingest: HTTP")
    databases.settle(engine)
    other = directory / "http.db"
    shutil.copyfile(file, other)
    batches = [supply.take(_HTTP_EVENTS) for _ in range(_HTTP_BATCHES * _HTTP_ROUNDS)]
    bodies = [body(batch) for batch in batches]
    with serving(f"sqlite:///{other}") as (port, pid):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        before = resident_mib(pid)
        times = compare(
            partial(_all, partial(post, connection), bodies, _HTTP_BATCHES),
            partial(_all, partial(apply_batch, engine), batches, _HTTP_BATCHES),
            rounds=_HTTP_ROUNDS,
            items=_HTTP_BATCHES * _HTTP_EVENTS,
        )
        return {**_figures(times), "server_growth_mib": resident_mib(pid) - before}


def _stores(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, result[name]) for name in ("sqlite", "postgresql") if name in result]


def _tables(result: dict[str, Any]) -> list[Table]:
    rows: list[Sequence[object]] = [
        (f"{name}, {of['size']:,} requests", batch, *of[str(batch)].values())
        for name, of in _stores(result)
        for batch in BATCHES
    ]
    columns = ("database", "batch", "events/s", "bare inserts: events/s", "ratio")
    group, recorder, web = result["group_commit"], result["recorder"], result["http"]
    above: list[Sequence[object]] = [
        ("one caller that waits for each commit, events/s", group["1"]),
        (f"{CALLERS} callers at a time, events/s", group[str(CALLERS)]),
        ("a call that does not wait, 1,000/s: µs, p50", recorder["paced_p50"]),
        ("a call that does not wait, 1,000/s: µs, p99", recorder["paced_p99"]),
        (f"a burst of {_BURST:,} such calls: µs, p50", recorder["burst_p50"]),
        (f"a burst of {_BURST:,} such calls: µs, p99", recorder["burst_p99"]),
        ("HTTP, batches of 1,000, events/s", web["rate"]),
        ("store.apply of the same, events/s", web["baseline"]),
        (
            f"growth of a process that writes {_LAST:,} more events, MiB",
            result["sqlite"]["memory_growth_mib"],
        ),
        ("growth of the server, MiB", web["server_growth_mib"]),
    ]
    return [
        Table("store.apply beside bare inserts of the same detail rows", columns, rows),
        Table("Above the store, SQLite", ("", "measured"), above),
    ]


def _targets(result: dict[str, Any]) -> list[Target]:
    targets = [
        Target(
            "ingest",
            f"{name}, batches of {batch}: apply / bare inserts",
            of[str(batch)]["ratio"],
            "at least",
            0.55 if batch >= 100 else 0.4,
        )
        for name, of in _stores(result)
        for batch in BATCHES
    ]
    group = result["group_commit"]
    together = group[str(CALLERS)] / group["1"]
    return [
        *targets,
        Target("ingest", f"{CALLERS} callers / one", together, "at least", 8),
        Target("ingest", "HTTP / store.apply", result["http"]["ratio"], "at least", 0.6),
    ]
