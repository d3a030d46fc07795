"""A process that writes its share of a history: `python -m benchmarks.writer`.

It applies batches to a database until its time is over, and prints how many events it wrote. A
batch that the store refuses because others write for too long is counted and tried again.
"""

import json
import sys
import time

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines
from benchmarks import stream
from benchmarks.data import Plan


def main() -> None:
    """Get ready, wait for the start, write."""
    url, size, extra, place, writers = sys.argv[1], *map(int, sys.argv[2:6])
    engine = engines.create(url)
    events = stream.extra_events(Plan(size, extra=extra))[place::writers]
    apply_batch(engine, [])
    print("ready", flush=True)
    options = json.loads(sys.stdin.readline())
    batch, offset = options["batch"], options["offset"]
    events = events[offset:]
    started = time.perf_counter()
    written, refused, slowest = 0, 0, 0.0
    while (begun := time.perf_counter()) < started + options["seconds"]:
        part = events[written : written + batch]
        if len(part) < batch:
            break
        try:
            apply_batch(engine, part)
        except StoreUnavailableError:
            refused += 1
        else:
            written += len(part)
        slowest = max(slowest, time.perf_counter() - begun)
    seconds = time.perf_counter() - started
    engine.dispose()
    found = {"events": written, "seconds": seconds, "slowest": slowest, "refused": refused}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
