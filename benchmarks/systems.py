"""One side of the comparison in a process of its own: `python -m benchmarks.sides DIRECTORY …`.

With `check` all sides are opened and their answers compared, which must be equal; with the name of
a side, its answers are timed: each a median of nine, warm. A side has a process to itself:
in one that has the column stores loaded too, our answers take 1.7 times as long.
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
from benchmarks import rivals
from benchmarks.asking import REPORTS, ask
from benchmarks.backend import Asker, Backend
from benchmarks.data import LAST_DAY
from benchmarks.databases import Databases
from benchmarks.sql import QUESTIONS

OURS: Final = "asu-stats"
SIDES: Final = (OURS, *rivals.SIDES)
MONTH: Final = Window.last(30, today=LAST_DAY)
YEAR: Final = Window.last(365, today=LAST_DAY)
TIMES: Final = 9
_WARM_UP: Final = 10  # times at most, or a second
_LONG_MS: Final = 2_000


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


def run(databases: Databases, *words: str) -> Any:
    """Do it in a fresh process, and return what it found."""
    command = [sys.executable, "-m", "benchmarks.sides", str(databases.directory), *words]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    return json.loads(done.stdout)


def _check(databases: Databases) -> dict[str, Any]:
    """Compare all answers; return how many databases there are, and the packages not installed."""
    others = rivals.open_all(databases.directory, databases.file)
    engine = engines.create(databases.url)
    check_equal(engine, others, MONTH)
    check_equal(engine, others[1:], YEAR)  # SQL on details would take minutes
    engine.dispose()
    for other in others:
        other.close()
    return {"databases": len(others) + 1, "missing": rivals.missing()}


def _time(databases: Databases, side: str) -> Mapping[str, Mapping[str, float]]:
    """Return milliseconds by what was asked and question: a layout, or our own two windows."""
    if side == OURS:
        engine = engines.create(databases.url)
        return {
            name: {q: _median_ms(partial(ask, engine, q, window)) for q in REPORTS}
            for name, window in (("ours", MONTH), ("ours_year", YEAR))
        }
    return {
        other.name: {
            question: _median_ms(partial(sql, Asker(other, MONTH)))
            for question, sql in QUESTIONS.items()
        }
        for other in rivals.open_side(side, databases.directory, databases.file)
    }


def _median_ms(call: Callable[[], Any]) -> float:
    """Return the median of nine times in milliseconds, of three or one where one takes long."""
    spent, calls = _ms(call), 1
    times = TIMES if spent < _LONG_MS else 3 if spent < 5 * _LONG_MS else 1
    while spent < 1000 and calls < _WARM_UP:
        spent, calls = spent + _ms(call), calls + 1
    return statistics.median(_ms(call) for _ in range(times))


def _ms(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def main(directory: str, what: str) -> None:
    """Do what was asked for and print it as JSON."""
    databases = Databases(Path(directory), 0)
    print(json.dumps(_check(databases) if what == "check" else _time(databases, what)))


if __name__ == "__main__":
    main(*sys.argv[1:])
