"""Times the first report of a process: `python -m benchmarks.cold URL REPORT DAYS`.

Prints milliseconds. They include the first connection, the compilation of statements and reading
from the file, but not imports and the creation of the engine.
"""

import subprocess
import sys
import time
from pathlib import Path

from asu_stats.store.database import engine as engines
from asu_stats.windows import Window
from benchmarks.data import LAST_DAY
from benchmarks.report_queries import read_report


def first_ms(url: str, report: str, days: int) -> float:
    """Return the time of the first report of a new process."""
    command = [sys.executable, "-m", "benchmarks.cold", url, report, str(days)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    return float(done.stdout)


def main(url: str, report: str, days: str) -> None:
    """Read a report once and print the time."""
    engine = engines.create(url)
    window = Window.last(int(days), today=LAST_DAY)
    started = time.perf_counter()
    read_report(engine, report, window)
    print(1000 * (time.perf_counter() - started))


if __name__ == "__main__":
    main(*sys.argv[1:])
