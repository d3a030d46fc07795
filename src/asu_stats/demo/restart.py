"""End of the history and start of the server: a simulated restart."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from asu_stats.events import (
    WAITING_OUTCOMES,
    BuildFinished,
    BuildStarted,
    Event,
    RequestReceived,
)


def restarted(events: Iterable[Event], now: datetime) -> Iterator[Event]:
    """Yield `events`, then the ends of unfinished builds: cancelled, as by a restart.

    The server of the demo does not know these builds. Without an end they would count as waiting or
    running until they are stale.
    """
    going_on: dict[str, BuildStarted] = {}
    waiting: dict[str, RequestReceived] = {}
    for event in events:
        if isinstance(event, BuildStarted):
            going_on[event.build_id] = event
        elif isinstance(event, BuildFinished):
            going_on.pop(event.build_id, None)
            waiting.pop(event.request_hash, None)
        elif event.outcome in WAITING_OUTCOMES:
            waiting[event.request_hash] = event
        yield event
    for started in going_on.values():
        yield BuildFinished(
            source=started.source,
            id=f"{started.id}:cancelled",
            time=now,
            build_id=started.build_id,
            request_hash=started.request_hash,
            status="cancelled",
            worker_id=started.worker_id,
        )
        waiting.pop(started.request_hash, None)
    for request in waiting.values():
        yield BuildFinished(
            source=request.source,
            id=f"{request.id}:cancelled",
            time=now,
            build_id=f"{request.id}:cancelled",
            request_hash=request.request_hash,
            status="cancelled",
        )
