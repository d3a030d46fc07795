"""The recorder: takes events from any thread and sees to it that none is lost.

A writer thread applies whatever has gathered while the last batch was being written, in one
transaction (group commit). While the store is away, events go to the spool and come back from
there; an event that the store refuses while it takes others is set aside alone.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from asu_stats.events import Event
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.recorder.spool import Spool

log = logging.getLogger(__name__)

WAIT_SECONDS: Final = 2.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_ORPHANS_SECONDS: Final = 10.0
_PROBES: Final = 24  # refusals in a row after which the store, not an event, is at fault


class Applied(Protocol):
    """What the sink says of a batch: per event whether it was new."""

    @property
    def new(self) -> Sequence[bool]:
        """Whether each event, in the order given, was not known before."""


Sink = Callable[[Sequence[Event]], Applied]


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many events of a call were new, and how many were known before."""

    accepted: int
    duplicates: int


@dataclass(slots=True)
class Counters:
    """What has happened to events in this process, for the metrics."""

    spooled: int = 0
    replayed: int = 0
    dead_lettered: int = 0
    lost: int = 0


@dataclass(slots=True)
class _Call:
    events: Sequence[Event]
    all_or_nothing: bool
    done: "Future[Recorded | None]" = field(default_factory=Future)


class Recorder:
    """The way of events into a store, shared by all threads of a process.

    `sink` writes a batch in one transaction or raises: `StoreUnavailableError` when the store is
    away, anything else when it refuses the batch. Use as a context manager, or call `close`.
    """

    def __init__(
        self,
        sink: Sink,
        spool: Spool,
        *,
        queue_events: int = 100_000,
        batch_events: int = 2_000,
    ) -> None:
        self.counters = Counters()
        self._sink = sink
        self._spool = spool
        self._queue_events = queue_events
        self._batch_events = batch_events
        self._calls: deque[_Call] = deque()
        self._waiting = 0
        self._wake = threading.Condition()
        self._closing = False
        self._pause = 0.0
        self._away_until = 0.0
        self._ill_until = 0.0
        self._replay_at = 0.0
        self._reason: str | None = None
        self._writer = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._writer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Events in memory that are not written yet."""
        return self._waiting

    @property
    def spooled(self) -> int:
        """Events in this process's spool."""
        return self._spool.events

    @property
    def trouble(self) -> str | None:
        """Why the store can't be written to, `None` while it can."""
        return self._reason

    def record(self, events: Sequence[Event], *, wait: bool = True) -> None:
        """Record events; never raises, and never blocks for longer than about two seconds.

        With `wait` they are safe, in the store or in the spool, when this returns; without, a crash
        of the process may lose what it had just been given.
        """
        if not events:
            return
        if self._waiting + len(events) > self._queue_events or self._closing:
            self._put_aside(events)
            return
        call = self._submit(_Call(events, all_or_nothing=False))
        if not wait:
            return
        try:
            call.done.result(WAIT_SECONDS)
        except FutureTimeoutError:
            self._put_aside(events)  # written twice is counted once

    def commit(self, events: Sequence[Event]) -> Recorded:
        """Write events all or nothing, and return only when they are committed.

        Raises `StoreUnavailableError` when they are not; then nothing of them is kept.
        """
        if self._closing:
            raise StoreUnavailableError("recorder: shutting down")
        recorded = self._submit(_Call(events, all_or_nothing=True)).done.result()
        assert recorded is not None  # noqa: S101 - all-or-nothing calls are never spooled
        return recorded

    def close(self) -> None:
        """Write what waits, or spool it, and stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._writer.join()
        self._spool.close()

    def _submit(self, call: _Call) -> _Call:
        with self._wake:
            self._calls.append(call)
            self._waiting += len(call.events)
            self._wake.notify()
        return call

    def _run(self) -> None:
        while True:
            calls = self._next_calls()
            try:
                self._write(calls)
                if time.monotonic() >= self._replay_at:
                    self._replay()
            except Exception:  # a bug; the thread must live on all the same
                log.exception("recorder: unexpected error")
                self._fail(calls, StoreUnavailableError("recorder: internal error"))
                self._back_off()
            with self._wake:
                self._waiting -= sum(len(call.events) for call in calls)
                if self._closing and not self._calls:
                    return

    def _next_calls(self) -> list[_Call]:
        """Wait for calls, or for the time of the next replay; return what one batch holds."""
        with self._wake:
            while not self._calls and not self._closing:
                pause = self._replay_at - time.monotonic()
                if pause <= 0:
                    return []
                self._wake.wait(pause)
            calls: list[_Call] = []
            size = 0
            while self._calls:
                size += len(self._calls[0].events)
                if calls and size > self._batch_events:
                    break
                calls.append(self._calls.popleft())
            return calls

    def _write(self, calls: list[_Call]) -> None:
        now = time.monotonic()
        if now < self._away_until:
            self._fail(calls, StoreUnavailableError(self._reason or "database: away"))
            return
        if now < self._ill_until:
            self._fail([c for c in calls if not c.all_or_nothing], None)
            calls = [c for c in calls if c.all_or_nothing]
        if not calls:
            return
        try:
            applied = self._sink([event for call in calls for event in call.events])
        except StoreUnavailableError as error:
            self._went_away(str(error))
            self._fail(calls, error)
        except Exception as error:
            self._write_apart(calls, error)
        else:
            self._succeeded()
            start = 0
            for call in calls:
                flags = applied.new[start : start + len(call.events)]
                start += len(call.events)
                call.done.set_result(Recorded(sum(flags), len(flags) - sum(flags)))

    def _write_apart(self, calls: list[_Call], error: Exception) -> None:
        """Write calls one by one after the store refused them together."""
        if len(calls) > 1:
            for call in calls:
                self._write([call])
            return
        (call,) = calls
        if call.all_or_nothing:
            self._log_trouble(_words(error))
            call.done.set_exception(StoreUnavailableError(_words(error)))
        else:
            if not self._try_to_take(call.events):
                self._put_aside(call.events)
            call.done.set_result(None)

    def _take(self, events: Sequence[Event]) -> bool:
        """Write events of which the store may refuse some; return whether it took any.

        Those refused are narrowed down to single ones and set aside if the store took others; if
        it took none, it is the store that is ill. Raises `StoreUnavailableError` when it is away.
        """
        refused: list[Event] = []
        parts = deque([events])
        took_any, probes, reason = False, 0, ""
        while parts and (took_any or probes < _PROBES):
            part = parts.popleft()
            try:
                self._sink(part)
                took_any = True
            except StoreUnavailableError:
                raise
            except Exception as error:
                probes, reason = probes + 1, _words(error)
                if len(part) == 1:
                    refused += part
                else:
                    middle = len(part) // 2
                    parts.extendleft((part[middle:], part[:middle]))
        if not took_any:
            self._fell_ill(reason)
            return False
        self._succeeded()
        for event in refused:
            self._dead_letter(event, reason)
        return True

    def _replay(self) -> None:
        """Try what waits in the spool again."""
        self._replay_at = time.monotonic() + _ORPHANS_SECONDS
        taken = 0

        def take(events: list[Event]) -> bool:
            nonlocal taken
            if events and not self._try_to_take(events):
                return False
            taken += len(events)
            self.counters.replayed += len(events)
            return True

        self._spool.replay(take, self._batch_events)
        if taken:
            log.info("recorder: %d events replayed from the spool", taken)

    def _try_to_take(self, events: Sequence[Event]) -> bool:
        try:
            return self._take(events)
        except StoreUnavailableError as error:
            self._went_away(str(error))
            return False

    def _fail(self, calls: list[_Call], error: StoreUnavailableError | None) -> None:
        for call in calls:
            if call.done.done():
                continue
            if call.all_or_nothing:
                call.done.set_exception(error or StoreUnavailableError("database: away"))
            else:
                self._put_aside(call.events)
                call.done.set_result(None)

    def _put_aside(self, events: Sequence[Event]) -> None:
        kept = self._spool.put(events)
        self.counters.spooled += kept
        if kept < len(events):
            if not self.counters.lost:
                log.error("recorder: the spool is full; events are being lost")
            self.counters.lost += len(events) - kept

    def _dead_letter(self, event: Event, reason: str) -> None:
        self.counters.dead_lettered += 1
        log.error("recorder: the store refuses event %s: set aside", event.id[:64].encode())
        self._spool.set_aside(event, reason)

    def _went_away(self, reason: str) -> None:
        self._away_until = self._back_off()
        self._log_trouble(reason)

    def _fell_ill(self, reason: str) -> None:
        self._ill_until = self._back_off()
        self._log_trouble(reason)

    def _back_off(self) -> float:
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._replay_at = time.monotonic() + self._pause
        return self._replay_at

    def _log_trouble(self, reason: str) -> None:
        if self._reason is None:
            log.warning("recorder: the store can't be written to: %s", reason)
        self._reason = reason

    def _succeeded(self) -> None:
        if self._reason is not None:
            log.info("recorder: the store can be written to again")
            self._reason = None
        if self._spool.events and self._pause:
            self._replay_at = 0.0
        self._pause = self._away_until = self._ill_until = 0.0


def _words(error: Exception) -> str:
    """Return what the database says, without statement and parameters."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0][:200]
