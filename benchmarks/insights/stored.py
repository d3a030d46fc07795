"""Events in a database."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine

from asu_stats.events import Event
from asu_stats.store import migrate
from asu_stats.store.apply import apply_batch
from asu_stats.store.database import engine as engines

_BATCH = 2_000


def create(directory: Path) -> Engine:
    """Create a database without events."""
    engine = engines.create(f"sqlite:///{directory / 'insights.db'}")
    migrate.upgrade(engine)
    return engine


def record(engine: Engine, events: Sequence[Event]) -> None:
    """Record events in their order."""
    for first in range(0, len(events), _BATCH):
        apply_batch(engine, events[first : first + _BATCH])


def stored(directory: Path, events: Sequence[Event]) -> Engine:
    """Create a database with `events`."""
    engine = create(directory)
    record(engine, events)
    return engine
