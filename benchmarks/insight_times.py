"""What insights cost over 90 days, beside the overview of the same days, in one run.

Overview and insights take turns. Processor time is measured, so that what else the machine does
counts for neither. Responses are not cached. Like a server, the process keeps blocks and names, and
collects garbage less often. `capacity` simulates a queue and is not read from sums alone, so it has
no target.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.memory import collect_less_garbage
from asu_stats.reports.endpoints import REPORTS
from asu_stats.reports.listing import Page
from asu_stats.reports.parameters import DEFAULT_LIMIT
from asu_stats.reports.report import Query, Report
from asu_stats.store.database import engine as engines
from asu_stats.store.database.engine import read_snapshot
from asu_stats.windows import Window
from benchmarks import databases
from benchmarks.data import LAST_DAY
from benchmarks.report import Results, Table, Target

WINDOW: Final = Window.last(90, today=LAST_DAY)
TURNS: Final = 9
MOST: Final = 10.0
OVERVIEW: Final = "overview"
_UNMARKED: Final = frozenset({"insights/capacity"})
_NOW: Final = datetime(LAST_DAY.year, LAST_DAY.month, LAST_DAY.day, 23, 0, tzinfo=UTC)


def run(results: Results, keep: Path, size: int) -> None:
    """Measure on a database of `size`."""
    prepared = databases.prepare(keep, size, with_raw=False)
    engine = engines.create(prepared.url)
    times = measure(engine)
    engine.dispose()
    base = times[OVERVIEW]
    rows = [(name, round(ms, 1), f"{ms / base:.1f}") for name, ms in times.items()]
    title = f"Insights over 90 days, warm, in ms of processor time (median of {TURNS})"
    table = Table(title, ("report", "ms", "times overview"), [*rows])
    results.add("insights", times, [table], _targets(times))


def measure(engine: Engine) -> dict[str, float]:
    """Return ms of processor time of each report: the median of the turns after the first."""
    collect_less_garbage()
    reports = [report for report in REPORTS if _is_measured(report)]
    taken: dict[str, list[float]] = defaultdict(list)
    for turn in range(TURNS + 1):
        for report in reports if turn % 2 else reversed(reports):
            began = time.process_time()
            with read_snapshot(engine) as connection:
                report.answer(connection, _query(report, engine))
            if turn:
                taken[report.name].append(1_000 * (time.process_time() - began))
    return {report.name: statistics.median(taken[report.name]) for report in reports}


def _is_measured(report: Report) -> bool:
    is_insight = report.name.startswith("insights/") and report.subject is None
    return report.name == OVERVIEW or is_insight


def _query(report: Report, engine: Engine) -> Query:
    defaults = {
        each.name: each.schema["default"] for each in report.parameters if "default" in each.schema
    }
    queue = CombinedQueue(engine, lambda: _NOW, timedelta(hours=6))
    return Query(WINDOW, LAST_DAY, defaults, Page(DEFAULT_LIMIT), now=_NOW, queues=queue)


def _targets(times: Mapping[str, float]) -> Iterator[Target]:
    for name, ms in times.items():
        if name != OVERVIEW and name not in _UNMARKED:
            yield Target("insights", f"{name} / overview", ms / times[OVERVIEW], "at most", MOST)
