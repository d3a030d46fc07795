"""PostgreSQL on another host: what a round trip costs writers, with single events and batches.

Writers are processes behind a proxy that delays each direction. One writer, then four together.
The server keeps its files in memory (`fsync` is off), so that only the network is measured.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from asu_stats.store import migrate
from asu_stats.store.database import engine as engines
from benchmarks import databases
from benchmarks.report import Results, Table, Target
from benchmarks.servers import helper, start_together
from tests import servers

ROUND_TRIPS_MS: Final = (0.0, 0.2, 1.0, 5.0)
WRITERS: Final = (1, 4)
BATCHES: Final = (1, 100)  # events
SECONDS: Final = 7.0  # the first is not counted
EXTRA: Final = 240_000
_HISTORY: Final = 20_000  # that the events follow; it is not stored
_TARGET_MS: Final = 1.0
_BUSY: Final = 0.9  # more of the processors at work, and more writers cannot write more


def run(results: Results, keep: Path, size: int) -> None:
    """Measure on a database that is empty at first: neither `keep` nor `size` matters."""
    del keep, size
    result: dict[str, dict[str, Any]] = {}
    with servers.primary() as server:
        engine = engines.create(server.url())
        migrate.upgrade(engine)
        engine.dispose()
        offset = 0
        for trip in ROUND_TRIPS_MS:
            of_trip = result[str(trip)] = {}
            with _delayed(server.port, trip) as port:
                for count in WRITERS:
                    for batch in BATCHES:
                        databases.progress(
                            f"remote: {trip} ms, {count} writers, batches of {batch}"
                        )
                        each = _write(server.url(port), count, batch, offset)
                        offset = max(writer["next"] for writer in each)
                        of_trip[f"{count} x {batch}"] = _figures(each, batch)
    results.add("remote", result, [_table(result)], _targets(result))


@contextlib.contextmanager
def _delayed(target: int, round_trip_ms: float) -> Iterator[int]:
    """Run a proxy in a process of its own; yields its port."""
    with helper("delay", str(target), str(round_trip_ms)) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


def _write(url: str, count: int, batch: int, offset: int) -> list[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(helper("writer", url, *map(str, (_HISTORY, EXTRA, place, count))))
            for place in range(count)
        ]
        options = {"batch": batch, "offset": offset, "seconds": SECONDS}
        return start_together(processes, [options] * count)


def _figures(writers: list[dict[str, Any]], batch: int) -> dict[str, float]:
    rate = sum(writer["events_per_second"] for writer in writers)
    return {
        "processors_busy": max(writer["processors_busy"] for writer in writers),
        "events_per_second": rate,
        "batch_ms": 1e3 * batch * len(writers) / rate,
        "refused": sum(writer["refused"] for writer in writers),
    }


def _table(result: dict[str, dict[str, Any]]) -> Table:
    rows: list[Sequence[object]] = [
        (
            f"{trip} ms",
            *(
                f"{of_trip[f'{count} x {batch}']['events_per_second']:,.0f}"
                for count in WRITERS
                for batch in BATCHES
            ),
            f"{of_trip['1 x 1']['batch_ms']:.1f}",
            f"{of_trip['4 x 1']['processors_busy']:.0%}",
            f"{of_trip['4 x 100']['processors_busy']:.0%}",
        )
        for trip, of_trip in result.items()
    ]
    columns = ["round trip"]
    columns += [f"{count} x {batch}" for count in WRITERS for batch in BATCHES]
    note = "events/s, by writers x events a batch; ms of one writer for an event; processors busy"
    if result[str(_TARGET_MS)]["4 x 100"]["processors_busy"] >= _BUSY:
        note += "; no target for four writers, because the processors are their limit"
    columns += ["ms", "busy, 4 x 1", "busy, 4 x 100"]
    return Table("PostgreSQL on another host", columns, rows, note)


def _targets(result: dict[str, dict[str, Any]]) -> list[Target]:
    measured = result[str(_TARGET_MS)]
    one, four = (measured[f"{count} x 100"]["events_per_second"] for count in WRITERS)
    targets = [
        Target("remote", "1 ms: a single event, ms", measured["1 x 1"]["batch_ms"], "at most", 15),
        Target("remote", "1 ms: batches of 100 from one writer, events/s", one, "at least", 4_000),
    ]
    if measured["4 x 100"]["processors_busy"] < _BUSY:  # else they are the limit
        name = "1 ms: four writers, times one writer"
        targets.append(Target("remote", name, four / one, "at least", 2.5))
    return targets
