"""How long answers take: ours, SQL on our details, DuckDB and ClickHouse, in one run.

Before anything is timed all answers are checked to be equal: on both sizes, over 30 days everywhere
and over 365 days in the column stores. Warm times are medians of nine after one to warm up; where
nine would take long, of fewer.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from asu_stats.store import engine as engines
from asu_stats.windows import Window
from benchmarks import cold, databases, rivals
from benchmarks.asking import REPORTS, ask
from benchmarks.backend import Asker, Backend
from benchmarks.data import LAST_DAY
from benchmarks.databases import Databases
from benchmarks.report import Found, Mark, Table
from benchmarks.sql import QUESTIONS

SMALL: Final = 10_000
TIMES: Final = 9
_MONTH: Final = Window.last(30, today=LAST_DAY)
_YEAR: Final = Window.last(365, today=LAST_DAY)
_LONG_MS: Final = 2_000
_COLD_TIMES: Final = 3


class DifferentAnswersError(AssertionError):
    """Two databases answer one question differently: nothing of it may be timed."""


def comparable(question: str, answer: Any) -> Any:
    """Return an answer without what is ours alone: rows, and a count none else is to pay for."""
    if question == "timeseries":
        return [
            {name: part for name, part in row.items() if name != "unique_requests"}
            for row in answer
        ]
    if question == "performance":
        return {name: part for name, part in answer.items() if name != "slowest_builds"}
    return answer


def check_equal(engine: Engine, others: list[Backend], window: Window) -> None:
    """Raise `DifferentAnswersError` unless all answer all questions alike."""
    for question, sql in QUESTIONS.items():
        ours = comparable(question, ask(engine, question, window))
        for other in others:
            theirs = comparable(question, sql(Asker(other, window)))
            if ours != theirs:
                where = _difference(ours, theirs)
                raise DifferentAnswersError(f"{question}: asu-stats and {other.name}: {where}")


def _difference(ours: Any, theirs: Any, path: str = "") -> str:
    """Say where two answers first differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        pairs = [(f"{path}.{name}", ours[name], theirs[name]) for name in ours]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [
            (f"{path}[{place}]", *pair) for place, pair in enumerate(zip(ours, theirs, strict=True))
        ]
    else:
        return f"{path}: {ours!r:.80} != {theirs!r:.80}"
    return next(_difference(one, other, at) for at, one, other in pairs if one != other)


def median_ms(call: Callable[[], Any]) -> float:
    """Return the median of nine times in milliseconds, of three or one where one takes long."""
    first = _ms(call)
    times = TIMES if first < _LONG_MS else 3 if first < 5 * _LONG_MS else 1
    return statistics.median(_ms(call) for _ in range(times))


def _ms(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def run(found: Found, keep: Path, size: int) -> None:
    """Measure on a small database and one of `size`."""
    missing: list[str] = []
    sizes: dict[str, Any] = {}
    for each in sorted({SMALL, size}):
        prepared = databases.prepare(keep, each)
        others, missing = rivals.open_all(prepared.directory, prepared.directory, prepared.file)
        for package in missing:
            print(f"{package} is not installed (extra `bench`): measured without it")
        engine = engines.create(prepared.url)
        check_equal(engine, others, _MONTH)
        check_equal(engine, others[1:], _YEAR)  # SQL on details would take minutes
        print(f"{each:,} requests: all answers of {len(others) + 1} databases are equal")
        sizes[str(each)] = {
            name: _times(prepared, engine, others, name, with_cold=each == size) for name in REPORTS
        }
        engine.dispose()
        for other in others:
            other.close()
    result = {"small": SMALL, "size": size, "sizes": sizes, "missing": missing}
    found.add("questions", result, _tables(sizes, size), _marks(sizes, size))


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
    for name in REPORTS:
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


def _times(
    prepared: Databases, engine: Engine, others: list[Backend], name: str, *, with_cold: bool
) -> dict[str, float]:
    databases.progress(f"{prepared.size:,} requests: {name}")
    times = {
        "ours": median_ms(lambda: ask(engine, name, _MONTH)),
        "ours_year": median_ms(lambda: ask(engine, name, _YEAR)),
    }
    for other in others:
        times[other.name] = median_ms(partial(QUESTIONS[name], Asker(other, _MONTH)))
    if with_cold:
        times["ours_cold"] = statistics.median(
            cold.first_ms(prepared.url, name, _MONTH.days) for _ in range(_COLD_TIMES)
        )
    return times
