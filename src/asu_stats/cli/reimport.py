"""History that was imported before under another source: it would count twice.

The source of an import is made from the first row or sample. Where that was pruned since, the same
rows have another source, and so another identity.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date

from sqlalchemy import Engine, select

from asu_stats.events import BuildFinished, Event, RequestReceived
from asu_stats.exceptions import OtherHistoryError
from asu_stats.store import identities, parts
from asu_stats.store.archive import TIMES, counted, day_bounds
from asu_stats.store.engine import read_snapshot
from asu_stats.store.tables import build_metrics, client_stats, event_identities

_IMPORTED = ("go-builder:", "redis:")
_SURE = 10  # events of a day that have happened before, and no fewer than half of its events
_SOURCE = "urn:asu-stats:go-builder:"

_r, _b = counted(client_stats).c, counted(build_metrics).c


def refusing(engine: Engine, place: str) -> Callable[[Sequence[Event]], None]:
    """Return what raises `OtherHistoryError` for a first batch whose events happened before."""

    def check(events: Sequence[Event]) -> None:
        days: defaultdict[date, list[Event]] = defaultdict(list)
        for event in events:
            if isinstance(event, RequestReceived | BuildFinished):
                days[event.time.date()].append(event)
        if not days or _is_known(engine, [day[0] for day in days.values()]):
            return
        day = max(days, key=lambda day: len(days[day]))
        happened, before = _before(engine, day, days[day])
        if happened >= min(_SURE, len(days[day])) and 2 * happened >= len(days[day]):
            source = f"--source {before}" if before else "--source and the source printed then"
            raise OtherHistoryError(
                place,
                f"imported before under another source: {happened} of {len(days[day])} events of "
                f"{day} are there. Its beginning was pruned, or it is a copy. To go on with the "
                f"import of then, use {source}; to count them once more, --force",
            )

    return check


def _is_known(engine: Engine, events: Sequence[Event]) -> bool:
    keys = [identities.identity(event) for event in events[:500]]
    known = select(event_identities.c.identity).where(event_identities.c.identity.in_(keys))
    with read_snapshot(engine) as connection:
        return connection.execute(known.limit(1)).first() is not None


def _before(engine: Engine, day: date, events: Sequence[Event]) -> tuple[int, str | None]:
    """Return how many events of a day are there, and the source they have if builds tell it."""
    first, after = day_bounds(day)
    with read_snapshot(engine, scratch=True) as connection:
        parts.load(connection, TIMES, first, after)
        requests = select(_r.timestamp, _r.version, _r.target, _r.profile).where(
            _r.timestamp >= first, _r.timestamp < after
        )
        asked = {tuple(row) for row in connection.execute(requests)}
        builds = select(_b.finished_at, _b.build_id).where(
            _b.finished_at >= first, _b.finished_at < after
        )
        built = {
            row.finished_at: row.build_id
            for row in connection.execute(builds)
            if row.build_id.startswith(_IMPORTED)
        }
    happened, source = 0, None
    for event in events:
        moment = event.time.astimezone(UTC).replace(tzinfo=None)
        if isinstance(event, RequestReceived):
            happened += (moment, event.version, event.target, event.profile) in asked
        elif build_id := built.get(moment):
            happened += 1
            kind, digest, *_ = build_id.split(":")
            source = _SOURCE + digest if kind == "go-builder" else source
    return happened, source
