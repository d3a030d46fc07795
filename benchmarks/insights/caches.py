"""`insights/cache` beside a cache that is really run, for each time to live."""

import tempfile
from collections import deque
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from asu_stats.demo.history import history
from asu_stats.events import RequestReceived
from asu_stats.reports.insights import cache
from asu_stats.store.database.engine import read_snapshot
from asu_stats.windows import Window
from benchmarks.insights.stored import stored
from benchmarks.report import Results, Table, Target

END: Final = datetime(2026, 9, 30, 23, 59, tzinfo=UTC)
_DAYS: Final = 40
_WINDOW: Final = 30


def run(results: Results, _days: int, per_day: int) -> None:
    """Compare the hits of each time to live."""
    events = list(history(days=_DAYS, requests=_DAYS * per_day, now=END, incidents=False))
    asked = [
        event
        for event in events
        if isinstance(event, RequestReceived) and event.outcome != "rejected"
    ]
    window = Window.last(_WINDOW, today=END.date())
    with tempfile.TemporaryDirectory() as name:
        engine = stored(Path(name), events)
        with read_snapshot(engine) as connection:
            answer = cache.read(connection, window)
        engine.dispose()
    rows: list[Sequence[object]] = []
    wrong = 0
    for row in answer["what_if"]:
        hits = replayed(asked, row["ttl_seconds"], window.start)
        wrong += hits != row["builds_saved"]
        rows.append((row["ttl_seconds"] // 3600, row["builds_saved"], hits, row["hit_rate"]))
    columns = ("hours to live", "hits", "hits of the replay", "hit rate %")
    requests = sum(event.time.date() >= window.start for event in asked)
    note = f"{requests:,} requests of {_WINDOW} days."
    target = Target("cache", "times to live with other hits than the replay", wrong, "at most", 0)
    results.add("cache", rows, [Table("Cache", columns, rows, note)], [target])


def replayed(asked: Sequence[RequestReceived], ttl: int, start: date) -> int:
    """Run a cache whose images expire so many seconds after their last request; count hits."""
    images: dict[str, datetime] = {}
    expiring: deque[tuple[datetime, str]] = deque()
    hits = 0
    for event in asked:
        while expiring and expiring[0][0] < event.time:
            at, request_hash = expiring.popleft()
            if images.get(request_hash) == at:
                del images[request_hash]
        hits += event.request_hash in images and event.time.date() >= start
        images[event.request_hash] = event.time + timedelta(seconds=ttl)
        expiring.append((images[event.request_hash], event.request_hash))
    return hits
