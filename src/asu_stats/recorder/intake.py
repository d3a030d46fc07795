"""The queue in memory between the callers of a recorder and its writer thread."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from asu_stats.events import Event

Make = Callable[[], Event | None]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Numbers of new and duplicate events of a call."""

    accepted: int
    duplicates: int


@dataclass(slots=True)
class Call:
    """Events that were recorded together, and the future of their result."""

    events: Sequence[Event]
    all_or_nothing: bool
    done: "Future[Recorded | None]" = field(default_factory=Future)


class Intake:
    """Calls, and functions that create events. Any thread adds; one thread takes batches.

    An event waits at most `gather_seconds` for others to share its batch of about `batch_events`.
    """

    def __init__(self, *, batch_events: int, gather_seconds: float) -> None:
        self.closing = False
        self._batch_events = batch_events
        self._gather_seconds = gather_seconds
        self._calls: deque[Call] = deque()
        self._later: deque[Make] = deque()
        self._taken = 0  # events that were submitted or taken, and are not finished
        self._wake = threading.Condition()
        self._idle = False
        self._gathering = False
        self._hurry = False

    @property
    def waiting(self) -> int:
        """Events that are not finished yet."""
        return self._taken + len(self._later)

    @property
    def later(self) -> int:
        """Events that are not created yet."""
        return len(self._later)

    def submit(self, call: Call) -> Call:
        """Add a call. A call without events does not wait for a batch to fill."""
        with self._wake:
            self._calls.append(call)
            self._taken += len(call.events)
            if not self._gathering or not call.events or self._taken >= self._batch_events:
                self._wake.notify()
        return call

    def add(self, make: Make, *, hurry: bool) -> None:
        """Add a function that creates an event, usually without a lock and a wake-up.

        With `hurry` it does not wait for a batch to fill.
        """
        self._later.append(make)
        self._hurry = self._hurry or hurry
        if hurry or self._idle or len(self._later) == self._batch_events:
            with self._wake:
                self._wake.notify()

    def close(self) -> None:
        """Make the writer thread end once the queue is empty."""
        with self._wake:
            self.closing = True
            self._wake.notify()

    def pop_late(self) -> Make | None:
        """Return a function that was added while the writer thread ended, if any."""
        try:
            return self._later.popleft()
        except IndexError:
            return None

    def next_batch(self, until: Callable[[], float]) -> tuple[list[Make], list[Call]]:
        """Wait for events until a time (`time.monotonic`). Return one batch."""
        with self._wake:
            self._idle = True  # from here on `add` notifies
            while not self._calls and not self._later and not self.closing:
                pause = until() - time.monotonic()
                if pause <= 0:
                    break
                self._wake.wait(pause)
            self._idle = False
            if self._gather_seconds and (self._calls or self._later):
                self._gather()
            self._hurry = False
            size = len(self._later)
            if not self._calls:  # otherwise `flush` confirms all that came before it
                size = min(size, self._batch_events)
            makes = [self._later.popleft() for _ in range(size)]
            self._taken += size
            calls: list[Call] = []
            while self._calls:
                size += len(self._calls[0].events)
                if calls and size > self._batch_events:
                    break
                calls.append(self._calls.popleft())
            return makes, calls

    def finish(self, count: int) -> bool:
        """Count `count` events as finished. Returns whether the writer thread must end."""
        with self._wake:
            self._taken -= count
            return self.closing and not self._calls and not self._later

    def _gather(self) -> None:
        """Wait for a batch to fill, until `flush`, `close` or an event with `hurry`."""
        until = time.monotonic() + self._gather_seconds
        self._gathering = True
        while (
            not (self.closing or self._hurry)
            and self.waiting < self._batch_events
            and all(call.events for call in self._calls)
            and (pause := until - time.monotonic()) > 0
        ):
            self._wake.wait(pause)
        self._gathering = False
