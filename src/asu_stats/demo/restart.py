"""The moment at which the history ends and the demo's own server begins: a restart."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from asu_stats.events import BuildFinished, BuildStarted, Event


def restarted(events: Iterable[Event], now: datetime) -> Iterator[Event]:
    """Yield `events`, then the ends of builds that were going on: cancelled, as by a restart.

    Nobody would end them otherwise, and they would seem to be going on for ever.
    """
    going_on: dict[str, BuildStarted] = {}
    for event in events:
        if isinstance(event, BuildStarted):
            going_on[event.build_id] = event
        elif isinstance(event, BuildFinished):
            going_on.pop(event.build_id, None)
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
