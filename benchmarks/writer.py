"""A process that writes its share of a history: `python -m benchmarks.writer`.

It applies batches to a database until its time is over, and prints how many events it wrote. Each
writer has requests of its own, with their builds. A batch that the store refuses because others
write for too long is counted and tried again. The rate is that after the first second, in which
statements are compiled and planned, as a server does once.
"""

import json
import sys
import time
from bisect import bisect_left
from pathlib import Path
from typing import Final
from zlib import crc32

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.memory import collect_less_garbage
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines
from benchmarks import stream
from benchmarks.data import Plan

_WARM_UP_SECONDS: Final = 1.0


def _processors() -> tuple[int, int]:
    """Return the time that the processors of the machine were busy, and all of their time."""
    times = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(times) - times[3] - times[4], sum(times)


def main() -> None:
    """Get ready, wait for the start, write."""
    url, size, extra, place, writers = sys.argv[1], *map(int, sys.argv[2:6])
    engine = engines.create(url)
    events = stream.extra_events(Plan(size, extra=extra))
    share = [n for n, e in enumerate(events) if crc32(e.request_hash.encode()) % writers == place]
    apply_batch(engine, [])
    collect_less_garbage()  # as a server does: the events of the history would be searched again
    print("ready", flush=True)
    options = json.loads(sys.stdin.readline())
    batch, offset = options["batch"], options["offset"]
    share = share[bisect_left(share, offset) :]
    started = time.perf_counter()
    warm, until = started + _WARM_UP_SECONDS, started + options["seconds"]
    since, before, busy_before = started, 0, _processors()
    written, refused, slowest = 0, 0, 0.0
    while (begun := time.perf_counter()) < until:
        if since < warm <= begun:
            since, before, busy_before = begun, written, _processors()
        part = [events[number] for number in share[written : written + batch]]
        if len(part) < batch:
            break
        try:
            apply_batch(engine, part)
        except StoreUnavailableError:
            refused += 1
        else:
            written += len(part)
        slowest = max(slowest, time.perf_counter() - begun)
    ended = time.perf_counter()
    busy, total = (now - then for now, then in zip(_processors(), busy_before, strict=True))
    engine.dispose()
    found = {"events": written, "slowest": slowest, "refused": refused}
    found["seconds"] = ended - started
    found["events_per_second"] = (written - before) / (ended - since)
    found["processors_busy"] = busy / max(total, 1)
    found["next"] = share[written - 1] + 1 if written else offset  # where others may begin
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
