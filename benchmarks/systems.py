"""Times one system in a process of its own: `python -m benchmarks.systems DIRECTORY SYSTEM`.

With `check` instead of a system, the responses of all systems are compared and must be equal. Times
are medians of nine, warm. Each system has its own process: reports of asu-stats take 1.7 times as
long in a process that has also loaded the column stores.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from asu_stats.store.database import engine as engines
from asu_stats.windows import Window
from benchmarks import other_databases
from benchmarks.backend import Backend, WindowQuery
from benchmarks.data import LAST_DAY
from benchmarks.databases import Databases
from benchmarks.report_queries import PAGE, REPORTS, read_page, read_report
from benchmarks.sql_reports import REPORTS as SQL_REPORTS

ASU_STATS: Final = "asu-stats"
SYSTEMS: Final = (ASU_STATS, *other_databases.SYSTEMS)
MONTH: Final = Window.last(30, today=LAST_DAY)
YEAR: Final = Window.last(365, today=LAST_DAY)
TIMES: Final = 9
_WARM_UP: Final = 10  # times at most, or a second
_LONG_MS: Final = 2_000


class DifferentResultsError(AssertionError):
    """Two systems return different results for one report, so times are meaningless."""


def comparable(report: str, result: Any) -> Any:
    """Return a result without the members that only asu-stats computes."""
    if report == "timeseries":
        return [
            {name: part for name, part in row.items() if name != "unique_requests"}
            for row in result
        ]
    if report == "performance":
        return {name: part for name, part in result.items() if name != "slowest_builds"}
    return result


def check_equal(engine: Engine, others: list[Backend], window: Window) -> None:
    """Raise `DifferentResultsError` unless the results of all reports are equal."""
    for report, sql in SQL_REPORTS.items():
        first = comparable(report, read_report(engine, report, window))
        for other in others:
            second = comparable(report, sql(WindowQuery(other, window)))
            if first != second:
                where = _difference(first, second)
                raise DifferentResultsError(f"{report}: asu-stats and {other.name}: {where}")


def _difference(first: Any, second: Any, path: str = "") -> str:
    """Describe the first difference of two results."""
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        pairs = [(f"{path}.{name}", first[name], second[name]) for name in first]
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = [
            (f"{path}[{place}]", *pair)
            for place, pair in enumerate(zip(first, second, strict=True))
        ]
    else:
        return f"{path}: {first!r:.80} != {second!r:.80}"
    return next(_difference(one, other, at) for at, one, other in pairs if one != other)


def run(databases: Databases, *arguments: str) -> Any:
    """Run this module in a new process, and return its output."""
    command = [sys.executable, "-m", "benchmarks.systems", str(databases.directory), *arguments]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    return json.loads(done.stdout)


def _check(databases: Databases) -> dict[str, Any]:
    """Compare all results; return the number of systems, and the missing packages."""
    others = other_databases.open_all(databases.directory, databases.file)
    engine = engines.create(databases.url)
    check_equal(engine, others, MONTH)
    check_equal(engine, others[1:], YEAR)  # SQL on details would take minutes
    engine.dispose()
    for other in others:
        other.close()
    return {"databases": len(others) + 1, "missing": other_databases.missing()}


def _time(databases: Databases, system: str) -> Mapping[str, Mapping[str, float]]:
    """Return milliseconds by layout, or by time range for asu-stats, and by report."""
    if system == ASU_STATS:
        engine = engines.create(databases.url)
        found = {
            name: {q: _median_ms(partial(read_report, engine, q, window)) for q in REPORTS}
            for name, window in (("asu_stats", MONTH), ("asu_stats_year", YEAR))
        }
        found["asu_stats_page"] = {PAGE: _median_ms(partial(read_page, engine, PAGE, MONTH))}
        return found
    return {
        other.name: {
            report: _median_ms(partial(sql, WindowQuery(other, MONTH)))
            for report, sql in SQL_REPORTS.items()
        }
        for other in other_databases.open_system(system, databases.directory, databases.file)
    }


def _median_ms(call: Callable[[], Any]) -> float:
    """Return the median of nine times in milliseconds; of fewer if one takes seconds."""
    spent, calls = _ms(call), 1
    times = TIMES if spent < _LONG_MS else 3 if spent < 5 * _LONG_MS else 1
    while spent < 1000 and calls < _WARM_UP:
        spent, calls = spent + _ms(call), calls + 1
    return statistics.median(_ms(call) for _ in range(times))


def _ms(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def main(directory: str, system: str) -> None:
    """Check or time, and print the result as JSON."""
    databases = Databases(Path(directory), 0)
    print(json.dumps(_check(databases) if system == "check" else _time(databases, system)))


if __name__ == "__main__":
    main(*sys.argv[1:])
