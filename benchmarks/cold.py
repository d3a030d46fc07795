"""A fresh process asks its first question: `python -m benchmarks.cold URL QUESTION DAYS`.

Prints milliseconds. Imports and the making of the engine are not in it; the first connection,
compiling of statements and reading from the file are.
"""

import subprocess
import sys
import time
from pathlib import Path

from asu_stats.store.database import engine as engines
from asu_stats.windows import Window
from benchmarks.asking import ask
from benchmarks.data import LAST_DAY


def first_ms(url: str, question: str, days: int) -> float:
    """Return how long the first question of a fresh process takes."""
    command = [sys.executable, "-m", "benchmarks.cold", url, question, str(days)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    return float(done.stdout)


def main(url: str, question: str, days: str) -> None:
    """Ask once and print the time."""
    engine = engines.create(url)
    window = Window.last(int(days), today=LAST_DAY)
    started = time.perf_counter()
    ask(engine, question, window)
    print(1000 * (time.perf_counter() - started))


if __name__ == "__main__":
    main(*sys.argv[1:])
