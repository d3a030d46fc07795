"""How long answers take: ours, SQL on our details, DuckDB and ClickHouse, in one run.

Before anything is timed all answers are checked to be equal: on both sizes, over 30 days everywhere
and over 365 days in the column stores. Warm times are medians of nine; where nine would take long,
of fewer. Sides take turns, twice, each in a process of its own (`sides`); the better turn counts,
for all alike.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import cold, databases, sides
from benchmarks.asking import REPORTS
from benchmarks.databases import Databases
from benchmarks.report import Found, Mark, Table

SMALL: Final = 10_000
_TURNS: Final = 2
_COLD_TIMES: Final = 5


def run(found: Found, keep: Path, size: int) -> None:
    """Measure on a small database and one of `size`."""
    missing: list[str] = []
    results: dict[str, Any] = {}
    for each in sorted({SMALL, size}):
        prepared = databases.prepare(keep, each)
        checked = sides.run(prepared, "check")
        missing = checked["missing"]
        for package in missing:
            print(f"{package} is not installed (extra `bench`): measured without it")
        print(f"{each:,} requests: all answers of {checked['databases']} databases are equal")
        results[str(each)] = _times(prepared, with_cold=each == size)
    result = {"small": SMALL, "size": size, "sizes": results, "missing": missing}
    found.add("questions", result, _tables(results, size), _marks(results, size))


def _times(prepared: Databases, *, with_cold: bool) -> dict[str, dict[str, float]]:
    """Return milliseconds by question and side or layout."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for turn in range(_TURNS):
        for side in sides.SIDES:
            if side == "details" and turn:
                continue  # minutes, and no mark depends on it
            databases.progress(f"{prepared.size:,} requests: {side}, turn {turn + 1}")
            for name, times in sides.run(prepared, side).items():
                for question, ms in times.items():
                    known = found[question].get(name, ms)
                    found[question][name] = min(known, ms)
    if with_cold:
        for question in REPORTS:
            databases.progress(f"{prepared.size:,} requests: {question}, cold")
            found[question]["ours_cold"] = statistics.median(
                cold.first_ms(prepared.url, question, sides.MONTH.days) for _ in range(_COLD_TIMES)
            )
    return dict(found)


def _better(times: dict[str, float], start: str) -> float | None:
    """Return the time of the better layout of a column store."""
    return min((ms for name, ms in times.items() if name.startswith(start)), default=None)


def _rival(times: dict[str, float]) -> float | None:
    """Return the time of the better column store."""
    known = [ms for name in ("duckdb", "clickhouse") if (ms := _better(times, name))]
    return min(known, default=None)


def _tables(sizes: dict[str, Any], size: int) -> list[Table]:
    columns = (
        "question",
        "requests",
        "details (SQL)",
        "DuckDB",
        "ClickHouse",
        "asu-stats",
        "ratio",
    )
    rows: list[Sequence[object]] = []
    further: list[Sequence[object]] = []
    for name in REPORTS:
        for each, of_size in sizes.items():
            times = of_size[name]
            rival, stores = _rival(times), (_better(times, s) for s in ("duckdb", "clickhouse"))
            ratio = f"{rival / times['ours']:.0f}x" if rival else "-"
            rows.append((name, int(each), times["details"], *stores, times["ours"], ratio))
        small, large = sizes[str(SMALL)][name], sizes[str(size)][name]
        shown = [large[kind] for kind in ("ours", "ours_year", "ours_cold")]
        further.append((name, small["ours"], *shown))
    return [
        Table(
            "Answers over 30 days, warm, in ms (median of 9)",
            columns,
            rows,
            "Of two layouts the better; ratio: the better column store / asu-stats.",
        ),
        Table(
            f"The same functions, in ms: size, window, first question of a process ({size:,})",
            ("question", f"{SMALL:,} requests", "30 days", "365 days", "30 days, cold"),
            further,
        ),
    ]


def _marks(sizes: dict[str, Any], size: int) -> Iterator[Mark]:
    """Return the marks of the questions that have any: `profiles` is a row per profile."""
    for name in (name for name in REPORTS if name != "profiles"):
        small, large = sizes[str(SMALL)][name], sizes[str(size)][name]
        ours, rival = large["ours"], _rival(large)
        if rival is not None:
            least = 150 if name == "overview" else 40
            words = f"{name}: better column store / asu-stats"
            yield Mark("questions", words, rival / ours, "at least", least)
        pairs = (
            (f"{size:,} / {SMALL:,} requests", ours / small["ours"], 2),
            ("365 / 30 days", large["ours_year"] / ours, 10),
            ("cold / warm", large["ours_cold"] / ours, 20),
        )
        for words, value, most in pairs:
            yield Mark("questions", f"{name}: {words}", value, "at most", most)
