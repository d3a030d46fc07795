"""Times of reports: asu-stats, SQL on its details, DuckDB and ClickHouse, in one run.

First all results are compared and must be equal, for both sizes: over 30 days in all systems, and
over 365 days in the column stores. Warm times are medians of nine, or of fewer if one takes
seconds. The systems take turns twice, each in a process of its own; the better turn counts.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import cold, databases, systems
from benchmarks.databases import Databases
from benchmarks.report import Results, Table, Target
from benchmarks.report_queries import PAGE, REPORTS

SMALL: Final = 10_000
_TURNS: Final = 2
_COLD_TIMES: Final = 5


def run(results: Results, keep: Path, size: int) -> None:
    """Measure on a small database and one of `size`."""
    missing: list[str] = []
    times: dict[str, Any] = {}
    for each in sorted({SMALL, size}):
        prepared = databases.prepare(keep, each)
        checked = systems.run(prepared, "check")
        missing = checked["missing"]
        for package in missing:
            print(f"{package} is not installed (extra `bench`): measured without it")
        print(f"{each:,} requests: the results of {checked['databases']} databases are equal")
        times[str(each)] = _times(prepared, with_cold=each == size)
    result = {"small": SMALL, "size": size, "sizes": times, "missing": missing}
    results.add("reports", result, _tables(times, size), _targets(times, size))


def _times(prepared: Databases, *, with_cold: bool) -> dict[str, dict[str, float]]:
    """Return milliseconds by report, and by system or layout."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for turn in range(_TURNS):
        for side in systems.SYSTEMS:
            if side == "details" and turn:
                continue  # minutes, and no target depends on it
            databases.progress(f"{prepared.size:,} requests: {side}, turn {turn + 1}")
            for name, times in systems.run(prepared, side).items():
                for question, ms in times.items():
                    known = found[question].get(name, ms)
                    found[question][name] = min(known, ms)
    if with_cold:
        for question in REPORTS:
            databases.progress(f"{prepared.size:,} requests: {question}, cold")
            found[question]["asu_stats_cold"] = statistics.median(
                cold.first_ms(prepared.url, question, systems.MONTH.days)
                for _ in range(_COLD_TIMES)
            )
    return dict(found)


def _better(times: dict[str, float], start: str) -> float | None:
    """Return the time of the better layout of a column store."""
    return min((ms for name, ms in times.items() if name.startswith(start)), default=None)


def _column_store_ms(times: dict[str, float]) -> float | None:
    """Return the time of the better column store."""
    known = [ms for name in ("duckdb", "clickhouse") if (ms := _better(times, name))]
    return min(known, default=None)


def _tables(sizes: dict[str, Any], size: int) -> list[Table]:
    columns = (
        "report",
        "requests",
        "details (SQL)",
        "DuckDB",
        "ClickHouse",
        "asu-stats",
        "ratio",
    )
    rows: list[Sequence[object]] = []
    variants: list[Sequence[object]] = []
    for name in REPORTS:
        for each, of_size in sizes.items():
            times = of_size[name]
            rival, stores = (
                _column_store_ms(times),
                (_better(times, s) for s in ("duckdb", "clickhouse")),
            )
            ratio = f"{rival / times['asu_stats']:.0f}x" if rival else "-"
            rows.append((name, int(each), times["details"], *stores, times["asu_stats"], ratio))
        small, large = sizes[str(SMALL)][name], sizes[str(size)][name]
        shown = [large[kind] for kind in ("asu_stats", "asu_stats_year", "asu_stats_cold")]
        variants.append((name, small["asu_stats"], *shown))
    return [
        Table(
            "Reports over 30 days, warm, in ms (median of 9)",
            columns,
            rows,
            "The better of two layouts counts. Ratio: the better column store / asu-stats.",
        ),
        Table(
            f"The same reports, in ms: size, time range, first report of a process ({size:,})",
            ("report", f"{SMALL:,} requests", "30 days", "365 days", "30 days, cold"),
            variants,
        ),
    ]


def _targets(sizes: dict[str, Any], size: int) -> Iterator[Target]:
    """Return the targets. `profiles` has a row per profile, so its target is for a page."""
    small, large = sizes[str(SMALL)][PAGE], sizes[str(size)][PAGE]
    growth = large["asu_stats_page"] / small["asu_stats_page"]
    words = f"{PAGE}, a page: {size:,} / {SMALL:,} requests"
    yield Target("reports", words, growth, "at most", 2)
    for name in (name for name in REPORTS if name != PAGE):
        small, large = sizes[str(SMALL)][name], sizes[str(size)][name]
        own, best = large["asu_stats"], _column_store_ms(large)
        if best is not None:
            least = 150 if name == "overview" else 40
            words = f"{name}: better column store / asu-stats"
            yield Target("reports", words, best / own, "at least", least)
        pairs = (
            (f"{size:,} / {SMALL:,} requests", own / small["asu_stats"], 2),
            ("365 / 30 days", large["asu_stats_year"] / own, 10),
            ("cold / warm", large["asu_stats_cold"] / own, 20),
        )
        for words, value, most in pairs:
            yield Target("reports", f"{name}: {words}", value, "at most", most)
