"""Sends recorded events, one per line, to an asu-stats server over HTTP.

An event that is sent twice counts once, so a file can be sent again from the start at any time.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Final, Protocol

from asu_stats.cloudevents import check_source, from_cloudevent
from asu_stats.events import Event
from asu_stats.exceptions import (
    InvalidEventError,
    MisconfiguredSenderError,
    StoreRefusedError,
    StoreUnavailableError,
)
from asu_stats.recorder.remote import Delivered
from asu_stats.strict_json import parse_json

BATCH_EVENTS: Final = 1_000
_LINE_BYTES: Final = 4 << 20
_LISTED: Final = 1_000  # invalid lines that a report names
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0

Line = tuple[int, Event]


class Sink(Protocol):
    """What sends a batch to a server, such as `HttpSink`."""

    def __call__(self, events: Sequence[Event], /) -> Delivered: ...


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """A line without a valid event, or one that the server rejected."""

    line: int
    problem: str


@dataclass(slots=True)
class SendReport:
    """Counts of a file. `sent` are events that the server committed, new or duplicates.

    `error` is why sending stopped, at the line `stopped_at`; no line after it was sent.
    """

    lines: int = 0
    sent: int = 0
    duplicates: int = 0
    invalid: int = 0
    stopped_at: int | None = None
    error: str | None = None
    invalid_lines: list[InvalidLine] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every line is on the server."""
        return not self.invalid and not self.error

    def as_json(self) -> dict[str, Any]:
        return {"complete": self.complete, **asdict(self)}


@dataclass(slots=True)
class FileSender:
    """Sends lines with `sink`, or only checks them if it is `None`.

    While the server is unreachable, a batch is sent again after growing pauses, for at most
    `retry_seconds`. `on_invalid` gets each invalid line, `on_read` the bytes that are done.
    """

    sink: Sink | None
    retry_seconds: float
    on_invalid: Callable[[InvalidLine], object]
    on_read: Callable[[int], object]
    on_retry: Callable[[str, float], object]
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    report: SendReport = field(default_factory=SendReport)

    def send(self, file: BinaryIO) -> SendReport:
        """Send every valid line. Stops at the first batch that the server does not take."""
        batch: list[Line] = []
        size = 0
        for number, line in _lines(file):
            self.report.lines += 1
            size += len(line)
            if event := self._event(number, line):
                batch.append((number, event))
            if len(batch) >= BATCH_EVENTS:
                if not self._deliver(batch):
                    return self.report
                self.on_read(size)
                batch, size = [], 0
        if self._deliver(batch):
            self.on_read(size)
        return self.report

    def _event(self, number: int, line: bytes) -> Event | None:
        """Return the event of a line, `None` if it has none."""
        if not line.strip():
            return None
        if len(line) > _LINE_BYTES:
            self._refuse(number, f"longer than {_LINE_BYTES:,} bytes")
            return None
        try:
            event = from_cloudevent(parse_json(line), now=None)
            check_source(event.source)
        except InvalidEventError as error:
            self._refuse(
                number, f"{error.field}: {error.problem}" if error.field else error.problem
            )
        except ValueError as error:
            self._refuse(number, str(error))
        else:
            return event
        return None

    def _refuse(self, number: int, problem: str) -> None:
        found = InvalidLine(number, problem)
        self.report.invalid += 1
        if len(self.report.invalid_lines) < _LISTED:
            self.report.invalid_lines.append(found)
        self.on_invalid(found)

    def _deliver(self, batch: Sequence[Line]) -> bool:
        """Send a batch; tell whether it is done. Events that the server rejects are left out."""
        waiting = [list(batch)] if batch else []
        while waiting:
            lines = waiting.pop(0)
            try:
                self._send(lines)
            except InvalidEventError as error:
                place = error.index or 0
                self._refuse(lines[place][0], error.problem)
                waiting[:0] = [rest] if (rest := lines[:place] + lines[place + 1 :]) else []
            except StoreRefusedError:  # too large for one call
                middle = len(lines) // 2
                waiting[:0] = [lines[:middle], lines[middle:]]
            except StoreUnavailableError as error:
                self.report.stopped_at = lines[0][0]
                self.report.error = str(error)
                return False
        return True

    def _send(self, lines: Sequence[Line]) -> None:
        """Send events in one call, again while the server is unreachable."""
        if self.sink is None:
            return
        deadline, pause = self.clock() + self.retry_seconds, _FIRST_PAUSE
        while True:
            try:
                delivered = self.sink([event for _, event in lines])
            except MisconfiguredSenderError:
                raise
            except StoreUnavailableError as error:
                wanted = error.retry_after_seconds
                wait = pause if wanted is None else max(wanted, _FIRST_PAUSE)
                if self.clock() + wait > deadline:
                    raise
                self.on_retry(str(error), wait)
                self.sleep(wait)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self.report.sent += len(lines)
                self.report.duplicates += delivered.duplicates
                return


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Return the lines with their numbers from 1, each cut just above the longest allowed."""
    number = 0
    while line := file.readline(_LINE_BYTES + 1):
        number += 1
        yield number, line
        while len(line) > _LINE_BYTES and not line.endswith(b"\n"):  # skip the rest
            line = file.readline(_LINE_BYTES + 1)
            if not line:
                break
