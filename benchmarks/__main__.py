"""What recording and asking cost: events/s against bare inserts of the same rows, and overview."""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, insert, select

from asu_stats.demo.history import history
from asu_stats.events import Event
from asu_stats.reports import overview
from asu_stats.store import engine as engines
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.engine import read_snapshot, write_transaction
from asu_stats.store.tables import (
    build_metrics,
    client_stats,
    error_stats,
    event_identities,
    request_days,
    request_metadata,
)
from asu_stats.windows import Window

NOW: Final = datetime(2026, 9, 30, 12, tzinfo=UTC)
DETAILS: Final = (
    event_identities,
    request_metadata,
    client_stats,
    build_metrics,
    error_stats,
    request_days,
)
BATCHES: Final = {1: 400, 100: 20_000, 1000: 40_000}


def database(directory: Path, name: str) -> Engine:
    """Return an engine on a new SQLite file with the schema."""
    engine = engines.create(f"sqlite:///{directory / name}.db")
    migrate.upgrade(engine)
    return engine


def apply_all(engine: Engine, events: Sequence[Event], batch: int) -> float:
    """Write events in batches; return seconds."""
    started = time.perf_counter()
    for start in range(0, len(events), batch):
        apply_batch(engine, events[start : start + batch])
    return time.perf_counter() - started


def insert_all(engine: Engine, source: Engine, batches: int) -> float:
    """Insert the detail rows of `source` bare, in as many transactions; return seconds."""
    with read_snapshot(source) as connection:
        rows: dict[str, list[dict[str, Any]]] = {
            table.name: [dict(row._mapping) for row in connection.execute(select(table))]
            for table in DETAILS
        }
    started = time.perf_counter()
    for number in range(batches):
        with write_transaction(engine) as connection:
            for table in DETAILS:
                mine = rows[table.name]
                part = mine[number * len(mine) // batches : (number + 1) * len(mine) // batches]
                if part:
                    connection.execute(insert(table), part)
    return time.perf_counter() - started


def overview_ms(engine: Engine) -> float:
    """Return the median time of `overview` over 30 days, in milliseconds."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        with read_snapshot(engine) as connection:
            overview.read(connection, Window.last(30, today=NOW.date()))
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def main() -> None:
    """Measure, print a table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "--size", type=int, default=1_000_000, help="requests in the large database"
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    found: dict[str, Any] = {"store": [], "overview_ms": {}}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        print("batch   events/s   bare inserts: events/s   ratio")
        for batch, count in BATCHES.items():
            events = list(islice(history(days=30, requests=count, now=NOW), count))
            applied = database(directory, f"apply{batch}")
            bare = database(directory, f"bare{batch}")
            ours = len(events) / apply_all(applied, events, batch)
            theirs = len(events) / insert_all(bare, applied, -(-len(events) // batch))
            ratio = ours / theirs
            found["store"].append({"batch": batch, "events_per_second": ours, "ratio": ratio})
            print(f"{batch:5}   {ours:8.0f}   {theirs:22.0f}   {ratio:5.2f}")
        for size in (10_000, options.size):
            engine = database(directory, f"size{size}")
            stream = history(days=30, requests=size, now=NOW)
            while events := list(islice(stream, 5_000)):
                apply_batch(engine, events)
            found["overview_ms"][size] = overview_ms(engine)
            print(f"overview, 30 days, {size:9,} requests: {found['overview_ms'][size]:.2f} ms")
    small, large = found["overview_ms"].values()
    print(f"overview, ratio of the sizes: {large / small:.2f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


main()
