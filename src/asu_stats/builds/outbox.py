"""The outbox: a change of the queue and its event are committed together, then delivered.

The event stays in `build_events` until the recorder has it. If the process is killed in between,
any other process delivers it later. Delivering twice is harmless: duplicate events
change nothing.
"""

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final, TypeAlias

from sqlalchemy import Connection, Engine, delete, insert, select

from asu_stats import cloudevents
from asu_stats.builds import statements as sql
from asu_stats.builds.fair_lock import FairLock
from asu_stats.builds.schema import build_events
from asu_stats.event_times import OLDEST_EVENT, format_time
from asu_stats.events import Event
from asu_stats.exceptions import InvalidEventError, reason
from asu_stats.logs import Condition
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.sqlite import BUSY_SECONDS
from asu_stats.store.database.statements import write
from asu_stats.times import aware, midnight, naive, utc_now

Record: TypeAlias = Callable[[Sequence[Event]], object]

_log = logging.getLogger(__name__)
_BATCH: Final = 500
REDELIVERY_AGE: Final = timedelta(seconds=60)
_AHEAD: Final = timedelta(minutes=5)  # a later time was written while a clock was ahead


@dataclass(frozen=True, slots=True)
class Change:
    """A transaction of the queue, with its events."""

    connection: Connection
    events: list[Event] = field(default_factory=list)


class Outbox:
    """Delivers events to `record`, which returns when they are stored or spooled.

    Events from before the UTC day `oldest`, made while the clock of this host was not set, are
    dropped: their time is unknown (docs/reference/events.md, Identity, order and time).
    """

    def __init__(self, engine: Engine, record: Record, *, oldest: date = OLDEST_EVENT) -> None:
        self._engine = engine
        self._record = record
        self._oldest = aware(midnight(oldest))
        self._lock = FairLock()
        self._guard = threading.Lock()
        self._delivered: list[str] = []
        self._unreadable: set[int] = set()  # rows that have been logged and are still there
        self._recording = Condition(_log, "recorder")

    @property
    def unreadable(self) -> int:
        """Number of rows that the last `redeliver` could not read."""
        return len(self._unreadable)

    @contextlib.contextmanager
    def change(self, *, alone: bool = False) -> Iterator[Change]:
        """Run a block in a write transaction. Its events are committed with it, then recorded.

        Blocks that are `alone` exclude each other, in all processes. Raises what
        `write_transaction` raises; nothing is recorded then.
        """
        # Waiting threads hold no connection, and are served in order.
        turn = self._lock.wait(seconds=BUSY_SECONDS) if alone else contextlib.nullcontext()
        with turn, write_transaction(self._engine) as connection:
            if alone:
                sql.exclude_others(connection)
            change = Change(connection)
            yield change
            events = self._dated(change.events)
            if events:
                self._store(connection, events)
        if events and self.deliver(events):
            self._delete_later(events)

    def deliver(self, events: Sequence[Event]) -> bool:
        """Deliver events to the recorder. Returns whether it took them; it never raises."""
        events = self._dated(events)
        try:
            self._record(events)
        except Exception as error:
            words = f"events not recorded: {reason(error)}"
            self._recording.failed(words, count=len(events), level=logging.ERROR, exc_info=True)
            return False
        self._recording.works()
        return True

    def _dated(self, events: Sequence[Event]) -> list[Event]:
        """Return the events, without those whose time is from before the clock was set."""
        found = [event for event in events if event.time >= self._oldest]
        if len(found) < len(events):
            _log.error(
                "clock: %d events not recorded, since the clock of this host says %s; set it",
                len(events) - len(found),
                format_time(min(event.time for event in events)),
            )
        return found

    @staticmethod
    def _store(connection: Connection, events: Sequence[Event]) -> None:
        created = naive(utc_now())
        rows = [
            {
                "event_id": event.id,
                "created_at": created,
                "event": json.dumps(cloudevents.to_cloudevent(event)),
            }
            for event in events
        ]
        write(connection, insert(build_events).inline(), rows)

    def _delete_later(self, events: Sequence[Event]) -> None:
        with self._guard:
            self._delivered += [event.id for event in events]

    def sweep(self) -> int:
        """Delete delivered events of this process. Returns how many."""
        with self._guard:
            ids, self._delivered = self._delivered, []
        done = 0
        try:
            while done < len(ids):
                some = ids[done : done + _BATCH]
                with write_transaction(self._engine) as connection:
                    connection.execute(
                        delete(build_events).where(build_events.c.event_id.in_(some))
                    )
                done += len(some)
        finally:
            with self._guard:
                self._delivered += ids[done:]
        return done

    def redeliver(self, *, older_than: timedelta = REDELIVERY_AGE) -> int:
        """Deliver the events of dead processes. Returns how many.

        An unreadable row stays in the table and is logged once.
        """
        count, after, unreadable = 0, 0, set[int]()
        while rows := self._pending(older_than, after):
            found = {number: event for number, text in rows if (event := self._read(number, text))}
            unreadable |= {number for number, _ in rows} - found.keys()
            if found:
                if not self.deliver(list(found.values())):
                    return count
                with write_transaction(self._engine) as connection:
                    delivered = build_events.c.id.in_(list(found))
                    connection.execute(delete(build_events).where(delivered))
            count += len(found)
            after = rows[-1][0]
        self._unreadable = unreadable
        return count

    def _pending(self, age: timedelta, after: int) -> list[tuple[int, str]]:
        created = build_events.c.created_at
        query = (
            select(build_events.c.id, build_events.c.event)
            .where((created <= naive(utc_now() - age)) | (created > naive(utc_now() + _AHEAD)))
            .where(build_events.c.id > after)
            .order_by(build_events.c.id)
            .limit(_BATCH)
        )
        with read_snapshot(self._engine) as connection:
            return [(row.id, row.event) for row in connection.execute(query)]

    def _read(self, number: int, text: str) -> Event | None:
        try:
            return cloudevents.from_cloudevent(json.loads(text), now=None)
        except (ValueError, LookupError, TypeError, RecursionError, InvalidEventError) as error:
            if number not in self._unreadable:
                self._unreadable.add(number)
                words = "row %d of build_events is not readable and stays there: %s"
                _log.error(words, number, error)
            return None
