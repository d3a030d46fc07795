"""What waits in memory for the writer thread of a recorder, and how that thread waits for it."""

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
    """Events that were recorded together, and the future that says what became of them."""

    events: Sequence[Event]
    all_or_nothing: bool
    done: "Future[Recorded | None]" = field(default_factory=Future)


class Intake:
    """Calls, and functions that make events. Any thread adds to it; one takes batches from it.

    An event waits `gather_seconds` at most for others to share its batch of about `batch_events`.
    """

    def __init__(self, *, batch_events: int, gather_seconds: float) -> None:
        self.closing = False
        self._batch_events = batch_events
        self._gather_seconds = gather_seconds
        self._calls: deque[Call] = deque()
        self._later: deque[Make] = deque()
        self._taken = 0  # events that were submitted or taken, and are not done
        self._wake = threading.Condition()
        self._idle = False
        self._gathering = False
        self._hurry = False

    @property
    def waiting(self) -> int:
        """Events that are not done yet."""
        return self._taken + len(self._later)

    @property
    def later(self) -> int:
        """Events that are still to be made."""
        return len(self._later)

    def submit(self, call: Call) -> Call:
        """Add a call; without events it ends the gathering."""
        with self._wake:
            self._calls.append(call)
            self._taken += len(call.events)
            if not self._gathering or not call.events or self._taken >= self._batch_events:
                self._wake.notify()
        return call

    def add(self, make: Make, *, hurry: bool) -> None:
        """Add a function that makes an event, without a lock and a wake-up each time.

        With `hurry` it ends the gathering.
        """
        self._later.append(make)
        self._hurry = self._hurry or hurry
        if hurry or self._idle or len(self._later) == self._batch_events:
            with self._wake:
                self._wake.notify()

    def close(self) -> None:
        """Let the thread take what is left, and end."""
        with self._wake:
            self.closing = True
            self._wake.notify()

    def rest(self) -> Make | None:
        """Return a function that was added while the thread ended, if there is one."""
        try:
            return self._later.popleft()
        except IndexError:
            return None

    def take(self, until: Callable[[], float]) -> tuple[list[Make], list[Call]]:
        """Wait for events until a time (`time.monotonic`); return what one batch holds."""
        with self._wake:
            self._idle = True  # from here on `add` wakes us
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

    def end(self, count: int) -> bool:
        """Note that `count` events are done. Returns whether the thread is to end."""
        with self._wake:
            self._taken -= count
            return self.closing and not self._calls and not self._later

    def _gather(self) -> None:
        """Wait for a batch to fill, unless `flush`, `close` or an event is in a hurry."""
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
