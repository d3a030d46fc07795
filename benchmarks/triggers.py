"""Speed of recording: `store.apply` against detail tables whose rollups are kept by triggers.

The rival is what a programmer who knows SQL writes: a table of requests, one of starts and one of
ended builds, and triggers that add each new row to rollups of the same keys. `by day` keeps the
figures of a day: requests, hits, distinct requests, successful and failed builds, durations as
counts per second, split by version and target, profile, client, error and number of packages.
`all` keeps every rollup of ours that is a sum over single rows: also hours, client versions and
devices, repeats, busy seconds, phases, and the sums of the Go server's endpoints.

Two guarantees cost the rival nothing. It ignores an event that is sent twice, because identities
are keys. Percentiles, shortest and longest build follow from the counts per second. It lacks:

- Order: a build that ends before its request or start arrives has no names or no duration.
- Corrections: the first end that arrives holds, even if an earlier end arrives later. An identity
  that returns with other content is not noticed.
- Waits: successes and failures per client, waiting times, and gaps between requests of a hash.
- Distinct requests of several days or of a client; distinct clients and profiles of a day.
- Concurrent writers: two can count a hash of a day twice, or deadlock on rows of rollups.
- Fingerprints of errors, causes of failures, lists of packages (the events here name none).
- Expiry and archive, the counts for `/metrics`, and the change counter for caches.

All sides get the same events in turn, in the same process, and start with the same history. With
PostgreSQL, the triggers work by row or by statement; the faster of both counts.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from operator import truediv
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from asu_stats.events import Event
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines
from benchmarks import databases, postgres, stream
from benchmarks.data import Plan
from benchmarks.ingest import BATCHES, EXTRA, POSTGRESQL_SIZE, ROUNDS
from benchmarks.report import Results, Table, Target
from benchmarks.timing import EventSupply
from benchmarks.trigger_rivals import PostgresqlRival, Rival, SqliteRival
from benchmarks.trigger_rollups import BY_DAY, EVERY, Count

TARGET: Final = 1.5
_TARGET_BATCH: Final = 100
_CHECKED: Final = 2_000
_KEPT: Final[Mapping[str, Sequence[Count]]] = {"by day": BY_DAY, "all": EVERY}
# Totals to check: by day and version, and by day.
_OUR_TOTALS: Final = (
    "SELECT date, version, sum(request_count), sum(cache_hits), sum(success_count), "
    "sum(failure_count), sum(build_time_seconds) FROM stats_version_target GROUP BY date, version",
    "SELECT date, unique_requests, rejected_requests FROM stats_daily",
    "SELECT date, version, seconds, builds FROM stats_durations",
)
_TOTALS: Final = (
    "SELECT day, version, sum(requests), sum(cache_hits), sum(successful), sum(failed), "
    "sum(timed_seconds) FROM version_target GROUP BY day, version",
    "SELECT day, unique_requests, rejected FROM daily",
    "SELECT day, version, seconds, builds FROM durations",
)


def run(results: Results, keep: Path, size: int) -> None:
    """Measure on SQLite files with `size` requests, and on smaller PostgreSQL databases."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="triggers-", dir=keep) as name:
        found["sqlite"] = _sqlite(keep, Path(name), size)
        with postgres.server() as server:
            if server:
                found["postgresql"] = _postgresql(Path(name), server, min(size, POSTGRESQL_SIZE))
    results.add("triggers", found, _tables(found), _targets(found))


def _sqlite(keep: Path, directory: Path, size: int) -> dict[str, Any]:
    def made(prefix: str) -> dict[str, Rival]:
        return {
            kept: SqliteRival(directory / f"{prefix} {kept}.db", counts)
            for kept, counts in _KEPT.items()
        }

    check(made("checked"), directory / "truth.db")
    file = databases.copy(databases.prepare(keep, size, with_raw=False), directory, "applied")
    return _compare(f"sqlite:///{file}", made("filled"), size)


def _postgresql(directory: Path, server: str, size: int) -> dict[str, Any]:
    def made(prefix: str) -> dict[str, Rival]:
        rivals: dict[str, Rival] = {}
        for kept, counts in _KEPT.items():
            for level in ("row", "statement"):
                name = f"{prefix}_{kept.replace(' ', '_')}_{level}"
                url = postgres.created(server, name)
                rivals[f"{kept}, by {level}"] = PostgresqlRival(url, counts, level)
        return rivals

    check(made("checked"), directory / "truth of postgresql.db")
    return _compare(postgres.filled(server, "applied", size), made("filled"), size)


def check(rivals: Mapping[str, Rival], file: Path, requests: int = _CHECKED) -> None:
    """Raise `RuntimeError` unless the totals of rivals equal ours for events in order."""
    events = sorted(
        (event for batch in stream.batches(Plan(requests), 1_000) for event in batch),
        key=lambda event: event.time,
    )
    engine = engines.create(f"sqlite:///{file}")
    migrate.upgrade(engine)
    for start in range(0, len(events), 500):
        apply_batch(engine, events[start : start + 500])
    with engine.connect() as connection:
        ours = [{*map(tuple, connection.execute(text(sql)))} for sql in _OUR_TOTALS]
    engine.dispose()
    for name, rival in rivals.items():
        for start in range(0, len(events), 500):
            rival.insert([*events[start : start + 500], *events[start : start + 5]])  # some twice
        theirs = [
            {(str(day), *rest) for day, *rest in map(_whole, rival.query(sql))} for sql in _TOTALS
        ]
        for their, our in zip(theirs, ours, strict=True):
            if their != our:
                some = sorted(their - our)[:3], sorted(our - their)[:3]
                raise RuntimeError(f"triggers, {name}: {some[0]} instead of {some[1]}")
        rival.close()


def _whole(row: Sequence[Any]) -> list[Any]:
    """Return a row in which sums are integers; those of PostgreSQL are decimals."""
    return [int(value) if isinstance(value, Decimal) else value for value in row]


def _compare(url: str, rivals: dict[str, Rival], size: int) -> dict[str, Any]:
    for name, rival in rivals.items():
        databases.progress(f"triggers: {name}: filling")
        for events in stream.batches(Plan(size), databases.BATCH):
            rival.insert(events)
        rival.settle()
    engine = engines.create(url)
    supply = EventSupply(stream.extra_events(Plan(size, extra=EXTRA)))
    found: dict[str, Any] = {"size": size, "batches": {}}
    sides = {"ours": partial(apply_batch, engine)} | {n: r.insert for n, r in rivals.items()}
    for batch, count in BATCHES.items():
        databases.progress(f"triggers: {engine.dialect.name}, batches of {batch}")
        found["batches"][str(batch)] = _turns(sides, supply, batch, count)
    lost = "sum(CASE WHEN seconds IS NULL THEN 1 ELSE 0 END)"
    unnamed = "sum(CASE WHEN version = 'unknown' THEN 1 ELSE 0 END)"
    sql = f"SELECT count(*), {lost}, {unnamed} FROM builds"
    found["late"] = [int(value) for value in next(iter(rivals.values())).query(sql)[0]]
    for rival in rivals.values():
        rival.close()
    engine.dispose()
    return found


def _turns(
    sides: Mapping[str, Callable[[Sequence[Event]], object]],
    supply: EventSupply,
    size: int,
    count: int,
) -> dict[str, dict[str, float]]:
    """Return events/s of each side, ours / its, and µs of processor time of an event.

    The sides take turns; one round warms up. The processor time is that of this process.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    busy = dict.fromkeys(sides, 0.0)
    for number in range(ROUNDS):
        batches = [supply.take(size) for _ in range(count)]
        order = [*sides][number % len(sides) :] + [*sides][: number % len(sides)]
        for name in order:
            started, busy_before = time.perf_counter(), time.process_time()
            for batch in batches:
                sides[name](batch)
            if number:
                times[name].append(time.perf_counter() - started)
                busy[name] += time.process_time() - busy_before
    return {
        name: {
            "rate": size * count / statistics.median(seconds),
            "ratio": statistics.median(map(truediv, seconds, times["ours"])),
            "processor_us": 1e6 * busy[name] / (size * count * (ROUNDS - 1)),
        }
        for name, seconds in times.items()
    }


def _tables(found: dict[str, dict[str, Any]]) -> Iterator[Table]:
    for dialect, of in found.items():
        rows = [
            (f"{name}, batches of {batch}", *figures.values())
            for batch, sides in of["batches"].items()
            for name, figures in sides.items()
        ]
        builds, seconds, names = of["late"]
        yield Table(
            f"store.apply beside triggers, {dialect}, {of['size']:,} requests",
            ("side", "events/s", "ours / it", "processor µs of the client"),
            [*rows],
            f"Of {builds:,} ended builds, triggers counted {seconds:,} without duration and "
            f"{names:,} without names: their start or request came later.",
        )


def _targets(found: dict[str, dict[str, Any]]) -> Iterator[Target]:
    for dialect, of in found.items():
        sides = of["batches"][str(_TARGET_BATCH)]
        for kept in _KEPT:
            ratio = min(each["ratio"] for name, each in sides.items() if name.startswith(kept))
            name = f"{dialect}, batches of {_TARGET_BATCH}: apply / triggers, {kept}"
            yield Target("triggers", name, ratio, "at least", TARGET)
