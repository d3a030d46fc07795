"""The recorder takes events from any thread and stores them without losing any.

A writer thread applies all events that arrived while the last batch was written, in one transaction
(group commit). While the store is unreachable, events go to the spool and are replayed from there.
An event that the store rejects while it accepts others becomes a dead letter. The writer probes a
failed store until it works again, even if there is nothing to write.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import astuple, dataclass
from operator import add
from typing import Final, Protocol, Self

from asu_stats.events import Event
from asu_stats.exceptions import InvalidEventError, MissingArchiveError, StoreUnavailableError
from asu_stats.logs import Condition
from asu_stats.recorder.intake import Call, Intake, Make, Recorded
from asu_stats.recorder.spool import Spool
from asu_stats.text import counted

log = logging.getLogger(__name__)

WAIT_SECONDS: Final = 2.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_ORPHANS_SECONDS: Final = 10.0


class Applied(Protocol):
    """Result of a batch: per event whether it was new."""

    @property
    def new(self) -> Sequence[bool]:
        """Whether each event, in the order given, was not known before."""


Sink = Callable[[Sequence[Event]], Applied]


@dataclass(slots=True)
class Counters:
    """Counts of events of this process, for the metrics."""

    written: int = 0
    spooled: int = 0
    replayed: int = 0
    dead_lettered: int = 0
    lost: int = 0

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(*map(add, astuple(self), astuple(other)))


class Recorder:
    """Records events into a store; shared by all threads of a process.

    `sink` writes a batch in one transaction or raises: `StoreUnavailableError` when the store is
    unreachable, `InvalidEventError` with an index when it rejects that event, anything else when it
    rejects the batch. `rehearse` does and raises the same but stores nothing. Without it, the sink
    must name the events that it rejects. `probe` raises unless the store can write events of every
    type. After a failure the recorder waits at most `longest_pause` seconds before it tries again,
    longer if the store says so. With `in_order` no event overtakes an earlier one of this process
    in the spool. An event waits at most `gather_seconds` for others to share its batch. Use it as a
    context manager, or call `close`.
    """

    def __init__(
        self,
        sink: Sink,
        spool: Spool,
        *,
        rehearse: Callable[[Sequence[Event]], object] | None = None,
        probe: Callable[[], object],
        queue_events: int = 100_000,
        batch_events: int = 2_000,
        longest_pause: float = _LONGEST_PAUSE,
        in_order: bool = False,
        gather_seconds: float = 0.0,
    ) -> None:
        self.counters = Counters()
        self._sink = sink
        self._rehearse = rehearse
        self._probe = probe
        self._spool = spool
        self._queue_events = queue_events
        self._batch_events = batch_events
        self._longest_pause = longest_pause
        self._in_order = in_order
        self._intake = Intake(batch_events=batch_events, gather_seconds=gather_seconds)
        self._reported_lost = 0
        self._pause = 0.0
        self._unreachable_until = 0.0
        self._failing_until = 0.0
        self._replay_at = 0.0
        self._failure: StoreUnavailableError | None = None
        self._sound = Condition(log, "recorder")
        self._writable = Condition(log, "recorder: cannot write to the store")
        self._roomy = Condition(log, "recorder: events are being lost")
        self._accepting = Condition(log, "recorder: the store rejects events")
        self._writer = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._writer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Events in memory that are not written yet."""
        return self._intake.waiting

    @property
    def spooled(self) -> int:
        """Events in this process's spool."""
        return self._spool.events

    @property
    def damaged(self) -> int:
        """Number of damaged spool lines that this process found and kept in a file."""
        return self._spool.damaged

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Names of unreadable spool files, with the reason."""
        return self._spool.unreadable

    @property
    def failure(self) -> str | None:
        """Why the store is not writable; `None` if it is. Probed every few seconds."""
        return None if self._failure is None else str(self._failure)

    def record(self, events: Sequence[Event], *, wait: bool = True) -> None:
        """Record events; never raises, and never blocks for longer than about two seconds.

        With `wait` they are in the store or the spool when this returns. Otherwise a crash of the
        process may lose the latest events.
        """
        if not events:
            return
        if self._intake.waiting + len(events) > self._queue_events or self._intake.closing:
            self._spool_events(events)
            return
        call = self._intake.submit(Call(events, all_or_nothing=False))
        if not wait:
            return
        try:
            call.done.result(WAIT_SECONDS)
        except FutureTimeoutError:
            self._spool_events(events)  # an event that is written twice counts once

    def record_later(self, make: Make, *, hurry: bool = False) -> None:
        """Record the event that `make` returns, if any, once the writer thread has called it.

        This costs the caller almost nothing: no lock and no wake-up per event. With `hurry` the
        event does not wait for others to share its batch. `make` must not raise. If the queue is
        full, it is called immediately and its event is spooled. A crash of the process may lose the
        latest events.
        """
        if self._intake.closing or self._intake.later >= self._queue_events:
            self._spool_now(make)
            return
        self._intake.add(make, hurry=hurry)
        if self._intake.closing:  # closed after the check above: the writer may have ended
            self._spool_rest()

    def commit(self, events: Sequence[Event]) -> Recorded:
        """Write events all or nothing, and return only when they are committed.

        On failure none of them is stored. Raises `StoreUnavailableError` while the store is
        unreachable, and `InvalidEventError` for the first event that the store rejects.
        """
        if self._intake.closing:
            raise StoreUnavailableError("recorder: shutting down")
        recorded = self._intake.submit(Call(events, all_or_nothing=True)).done.result()
        assert recorded is not None  # noqa: S101 - all-or-nothing calls are never spooled
        return recorded

    def flush(self, timeout: float) -> bool:
        """Wait until every event recorded so far is in the store or in the spool.

        Returns whether that took at most `timeout` seconds and no event was lost since the last
        flush.
        """
        try:
            self._intake.submit(Call((), all_or_nothing=False)).done.result(timeout)
        except FutureTimeoutError:
            return False
        lost, self._reported_lost = self.counters.lost - self._reported_lost, self.counters.lost
        return not lost

    def abandon(self) -> None:
        """Abandon the recorder in a forked process; the parent keeps using it."""
        self._spool.abandon()

    def close(self) -> None:
        """Store or spool the remaining events, and stop."""
        self._intake.close()
        self._writer.join()
        self._spool_rest()
        self._spool.close()

    def _spool_rest(self) -> None:
        """Spool the events that `record_later` got while the recorder closed."""
        while make := self._intake.pop_late():
            self._spool_now(make)

    def _spool_now(self, make: Make) -> None:
        if events := self._made([make]):
            self._spool_events(events)

    def _made(self, makes: Sequence[Make]) -> list[Event]:
        """Return the events of `record_later`. One that cannot be created counts as lost."""
        events: list[Event] = []
        for make in makes:
            try:
                event = make()
            except Exception:  # a bug; the other events must survive it
                self._sound.failed("unexpected error", level=logging.ERROR, exc_info=True)
                self.counters.lost += 1
                continue
            if event is not None:
                events.append(event)
        return events

    def _run(self) -> None:
        while True:
            makes, calls = self._intake.next_batch(lambda: self._replay_at)
            count = len(makes) + sum(len(call.events) for call in calls)
            if events := self._made(makes):
                calls.insert(0, Call(events, all_or_nothing=False))
            try:
                self._write(calls)
                if time.monotonic() >= self._replay_at:
                    self._replay()
            except Exception:  # a bug; the thread must survive it
                self._sound.failed("unexpected error", level=logging.ERROR, exc_info=True)
                self._fail(calls, StoreUnavailableError("recorder: internal error"))
                self._back_off()
            if self._intake.finish(count):
                return

    def _write(self, calls: list[Call]) -> None:
        now = time.monotonic()
        if now < self._unreachable_until:
            self._fail(calls, self._failure)
            return
        if now < self._failing_until:
            self._fail([c for c in calls if not c.all_or_nothing], None)
            calls = [c for c in calls if c.all_or_nothing]
        events = [event for call in calls for event in call.events]
        if not any(call.all_or_nothing for call in calls):
            if not events:  # only `flush` waits
                self._fail(calls, None)
                return
            if self._in_order and self._spool.events:
                self._fail(calls, None)
                self._replay_at = 0.0
                return
        try:
            applied = self._sink(events)
        except StoreUnavailableError as error:
            self._became_unreachable(error)
            self._fail(calls, error)
        except Exception as error:
            self._write_apart(calls, error)
        else:
            self._succeeded()
            self.counters.written += len(events)
            start = 0
            for call in calls:
                flags = applied.new[start : start + len(call.events)]
                start += len(call.events)
                call.done.set_result(Recorded(sum(flags), len(flags) - sum(flags)))

    def _write_apart(self, calls: list[Call], error: Exception) -> None:
        """Write calls one by one after the store rejected them together."""
        if not any(call.all_or_nothing for call in calls):
            events = [event for call in calls for event in call.events]
            if not self._try_to_write(events):
                self._spool_events(events)
            for call in calls:
                call.done.set_result(None)
            return
        if len(calls) > 1:
            for call in calls:
                self._write([call])
            return
        (call,) = calls
        call.done.set_exception(self._rejection(call.events, error))

    def _rejection(self, events: Sequence[Event], error: Exception) -> Exception:
        """Return the exception for events that the store rejected together."""
        if isinstance(error, InvalidEventError):
            return error
        if not self._store_works(error):
            return self._failure or StoreUnavailableError(_message(error))
        try:
            found = self._first_rejected(events)
        except StoreUnavailableError as unavailable:
            self._became_unreachable(unavailable)
            return unavailable
        if found is None:  # rejected once only: the sender should send it again
            return StoreUnavailableError(_message(error))
        index, error = found
        self._accepting.failed(f"event {_shown(events[index])}: {_message(error)}")
        return InvalidEventError("", _problem(error), index=index)

    def _first_rejected(self, events: Sequence[Event]) -> tuple[int, Exception] | None:
        """Return the index of the first event that the store rejects, and why.

        `None` if it accepts all of them now. A binary search over rehearsals finds it.
        """
        if self._rehearse is None:
            return None
        accepted, rejected, error = 0, len(events) + 1, None
        tried = len(events)
        while rejected - accepted > 1:
            try:
                self._rehearse(events[:tried])
                accepted = tried
            except StoreUnavailableError:
                raise
            except Exception as reason:
                rejected, error = tried, reason
            tried = (accepted + rejected) // 2
        return None if error is None else (rejected - 1, error)

    def _store_works(self, rejection: Exception | None = None) -> bool:
        """Return whether the store can write, or a `rejection` shows that it can. Log a failure."""
        if isinstance(rejection, MissingArchiveError | InvalidEventError):
            return True
        try:
            self._probe()
        except StoreUnavailableError as error:
            self._became_unreachable(error)
            return False
        except Exception as error:
            self._store_failed(_message(error))
            return False
        return True

    def _write_accepted(self, events: Sequence[Event]) -> bool:
        """Write events, some of which the store may reject. Returns whether it can write.

        Rejected events become dead letters if the store accepts others. If it does not name the
        rejected event, the batch is halved until one event is left. Raises `StoreUnavailableError`
        when it is unreachable.
        """
        parts, works = deque([events]), False
        while parts:
            part = parts.popleft()
            try:
                self._sink(part)
                works = True
                self.counters.written += len(part)
            except StoreUnavailableError:
                raise
            except Exception as error:
                works = works or self._store_works(error)
                if not works:
                    return False
                named = error.index if isinstance(error, InvalidEventError) else None
                rejected = 0 if len(part) == 1 else named
                if rejected is not None:
                    if not self._dead_letter(part[rejected], error):
                        return False
                    if rest := [*part[:rejected], *part[rejected + 1 :]]:
                        parts.appendleft(rest)
                else:
                    middle = len(part) // 2
                    parts.extendleft((part[middle:], part[:middle]))
        self._succeeded()
        return True

    def _replay(self) -> None:
        """Probe a failed store, and replay the spool."""
        if self._failure is not None:
            if not self._store_works():
                return
            self._succeeded()
        self._replay_at = time.monotonic() + _ORPHANS_SECONDS
        replayed = 0

        def write(events: list[Event]) -> bool:
            nonlocal replayed
            if events and not self._try_to_write(events):
                return False
            replayed += len(events)
            self.counters.replayed += len(events)
            return True

        self._spool.replay(write, self._batch_events)
        if replayed:
            log.info("recorder: %s replayed from the spool", counted(replayed, "event"))

    def _try_to_write(self, events: Sequence[Event]) -> bool:
        try:
            return self._write_accepted(events)
        except StoreUnavailableError as error:
            self._became_unreachable(error)
            return False

    def _fail(self, calls: list[Call], error: StoreUnavailableError | None) -> None:
        for call in calls:
            if call.done.done():
                continue
            if call.all_or_nothing:
                call.done.set_exception(error or StoreUnavailableError("database: unreachable"))
            else:
                self._spool_events(call.events)
                call.done.set_result(None)

    def _spool_events(self, events: Sequence[Event]) -> None:
        kept = self._spool.put(events)
        self.counters.spooled += kept
        lost = len(events) - kept
        if lost:
            words = "the spool is full or not writable"
            self._roomy.failed(words, count=lost, level=logging.ERROR)
            self.counters.lost += lost
        else:
            self._roomy.works()

    def _dead_letter(self, event: Event, error: Exception) -> bool:
        """Keep an event as a dead letter. Returns whether that succeeded."""
        reason = _message(error)
        if not self._spool.add_dead_letter(event, reason):
            return False
        self.counters.dead_lettered += 1
        self._accepting.failed(f"event {_shown(event)} set aside: {reason}", level=logging.ERROR)
        return True

    def _became_unreachable(self, error: StoreUnavailableError) -> None:
        self._unreachable_until = self._back_off(error.retry_after_seconds or 0.0)
        self._set_failure(error)

    def _store_failed(self, reason: str) -> None:
        self._failing_until = self._back_off()
        self._set_failure(StoreUnavailableError(reason))

    def _back_off(self, least: float = 0.0) -> float:
        """Double the pause. Returns the time of the next try, at least `least` seconds away."""
        import random  # needed after a failure only

        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), self._longest_pause)
        spread = random.uniform(0.5, 1.0)  # noqa: S311 - so that many senders do not retry at once
        self._replay_at = time.monotonic() + max(self._pause * spread, least)
        return self._replay_at

    def _set_failure(self, failure: StoreUnavailableError) -> None:
        self._failure = failure
        self._writable.failed(failure)

    def _succeeded(self) -> None:
        self._failure = None
        self._writable.works()
        if self._spool.events and self._pause:
            self._replay_at = 0.0
        self._pause = self._unreachable_until = self._failing_until = 0.0


def _message(error: Exception) -> str:
    """Return the message of the database, without statement and parameters."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0][:200]


def _shown(event: Event) -> str:
    """Return the id of an event, fit for a log line."""
    return ascii(event.id[:64])


def _problem(error: Exception) -> str:
    """Return the reason of a rejection for the sender, without internals of the database."""
    return str(error) if isinstance(error, MissingArchiveError) else "the database rejects it"
