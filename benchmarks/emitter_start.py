"""What importing the emitter costs another server, beside a Python process that imports nothing.

Both take turns. The process compiles nothing: the first turn has written the byte code.
"""

import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

from benchmarks.report import Results, Table, Target

TURNS: Final = 31
MOST_MS: Final = 50.0
_NOTHING, _LOG, _EMITTER = "nothing", "`logging`", "the emitter"
_SIDES: Final = {
    _NOTHING: "pass",
    _LOG: "import logging",
    _EMITTER: "import asu_stats.emit",
}


def run(results: Results, keep: Path, size: int) -> None:
    """Measure; nothing is stored."""
    del keep, size
    times = measure()
    ms = {name: statistics.median(each) for name, each in times.items()}
    rows = [(name, round(value, 1), f"{value / ms[_NOTHING]:.1f}") for name, value in ms.items()]
    title = f"A Python process that imports …, in ms of wall time (median of {TURNS})"
    table = Table(title, ("import", "ms", "times nothing"), [*rows])
    words = "ms to start Python and import the emitter"
    target = Target("emitter", words, ms[_EMITTER], "at most", MOST_MS)
    results.add("emitter", times, [table], [target])


def measure() -> dict[str, list[float]]:
    """Return ms of the processes of each side, without those of the first turn."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = defaultdict(list)
    for turn in range(TURNS + 1):
        for name, code in _SIDES.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], env=env, check=True)
            if turn:
                times[name].append(1_000 * (time.perf_counter() - began))
    return times
