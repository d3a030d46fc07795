"""What a server answers per second, and how long the slowest answers take while events come in.

A real server in a process of its own on a copy of the database; the load comes from another one,
over eight keep-alive connections. Rates are medians of rounds in which all endpoints take turns.
"""

import shutil
import statistics
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from asu_stats.windows import Window
from benchmarks import databases, stream
from benchmarks.data import FIRST_DAY, LAST_DAY, Plan
from benchmarks.report import Results, Table, Target
from benchmarks.servers import body, helper, serving, start_together

CONNECTIONS: Final = 8
SECONDS: Final = 3.0
ROUNDS: Final = 3
POST_EVENTS: Final = 50
POST_EVERY: Final = 0.1


def window_path(window: Window) -> str:
    """Return the address of the overview of a window."""
    return f"/api/v1/stats/overview?start={window.start}&end={window.end}"


def ever_other_windows() -> list[str]:
    """Return overviews of so many windows of about 30 days that none is still in a cache."""
    paths = []
    for days in range(20, 41):
        end = LAST_DAY
        while end - timedelta(days=days) >= FIRST_DAY:
            paths.append(window_path(Window.last(days, today=end)))
            end -= timedelta(days=1)
    return paths


def load(port: int, paths: Sequence[str], **options: Any) -> dict[str, Any]:
    """Put a load on a server and return what came of it."""
    chosen = {"port": port, "paths": paths, "seconds": SECONDS, "connections": CONNECTIONS}
    with helper("load") as process:
        (found,) = start_together([process], [{**chosen, **options}])
    return found


def run(results: Results, keep: Path, size: int) -> None:
    """Measure on a copy of the database of `size`."""
    prepared = databases.prepare(keep, size, with_raw=False)
    directory = Path(tempfile.mkdtemp(prefix="http-", dir=keep))
    try:
        file = databases.copy(prepared, directory, "server")
        posts = 2 * int(SECONDS / POST_EVERY) + 2
        events = stream.extra_events(Plan(size, extra=posts * POST_EVENTS))
        bodies = []
        for half in range(2):
            part = [
                body(events[start : start + POST_EVENTS])
                for start in range(half * posts // 2 * POST_EVENTS, len(events), POST_EVENTS)
            ][: posts // 2]
            bodies.append(directory / f"bodies{half}")
            bodies[-1].write_bytes(b"\n".join(part))
        with serving(f"sqlite:///{file}") as (port, _):
            result = _measure(port, bodies)
    finally:
        shutil.rmtree(directory)
    results.add("http", result, _tables(result), _targets(result))


def _measure(port: int, bodies: Sequence[Path]) -> dict[str, Any]:
    endpoints = {
        "constant": ["/healthz"],
        "cached": [window_path(Window.last(30, today=LAST_DAY))],
        "computed": ever_other_windows(),
    }
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in endpoints}
    for number in range(ROUNDS):
        for name, paths in endpoints.items():
            databases.progress(f"http: {name}, round {number + 1} of {ROUNDS}")
            rounds[name].append(load(port, paths))
    rates = {
        name: statistics.median(one["per_second"] for one in of) for name, of in rounds.items()
    }
    latencies: dict[str, dict[str, dict[str, Any]]] = {}
    for name, file in zip(("cached", "computed"), bodies, strict=True):
        databases.progress(f"http: {name}, with and without writes")
        latencies[name] = {
            "alone": load(port, endpoints[name]),
            "writing": load(port, endpoints[name], bodies=str(file), post_every=POST_EVERY),
        }
    return {"per_second": rates, "latencies": latencies, "rounds": rounds}


def _tables(result: dict[str, Any]) -> list[Table]:
    rates, names = result["per_second"], {"constant": "constant bytes (/healthz)"}
    words = {"cached": "overview, cached", "computed": "overview, computed each time"}
    return [
        Table(
            f"Answers per second, {CONNECTIONS} connections, one server process",
            ("endpoint", "per second", "share of constant"),
            [
                ({**names, **words}[name], rate, rate / rates["constant"])
                for name, rate in rates.items()
            ],
        ),
        Table(
            f"Latency in ms, without and with {POST_EVENTS / POST_EVERY:.0f} events/s coming in",
            ("endpoint", "p50", "p99", "p50, writing", "p99, writing", "p99 ratio"),
            [
                (
                    words[name],
                    *(pair[kind][p] for kind in ("alone", "writing") for p in ("p50_ms", "p99_ms")),
                    pair["writing"]["p99_ms"] / pair["alone"]["p99_ms"],
                )
                for name, pair in result["latencies"].items()
            ],
            "A write makes cached answers stale: under writes the first asker computes it anew.",
        ),
    ]


def _targets(result: dict[str, Any]) -> list[Target]:
    rates = result["per_second"]
    cached, computed = (rates[name] / rates["constant"] for name in ("cached", "computed"))
    return [
        Target("http", "cached / constant", cached, "at least", 0.75),
        Target("http", "computed / constant", computed, "at least", 0.15),
        *(
            Target(
                "http",
                f"{name}: p99 with 500 events/s / without",
                pair["writing"]["p99_ms"] / pair["alone"]["p99_ms"],
                "at most",
                3,
            )
            for name, pair in result["latencies"].items()
        ),
    ]
