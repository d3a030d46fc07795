"""Checks recorded events: each event on its own, and the consistency of all of them.

A violation is refused by a server, or counted differently than the sender intends. A note is
allowed, but makes some figure incomplete or less exact.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, Literal

from asu_stats.cloudevents import format_time, from_cloudevent
from asu_stats.event_times import OLDEST_EVENT
from asu_stats.events import (
    FAILED_STATUSES,
    UNKNOWN,
    BuildFinished,
    BuildStarted,
    Event,
    RequestReceived,
)
from asu_stats.exceptions import EventTooEarlyError, InvalidEventError
from asu_stats.strict_json import parse_json

# CloudEvents: intermediaries must forward events up to this size.
_EVENT_BYTES: Final = 64 << 10
_NAMES: Final = ("version", "target", "profile", "diff_packages")
_TOLERANCE_SECONDS: Final = 2  # between a reported duration and end minus start


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of an event. `line` counts from 1; `place` is the path of a member."""

    line: int
    kind: Literal["violation", "note"]
    place: str
    problem: str


@dataclass(slots=True)
class _Build:
    request_hash: str
    line: int
    started: datetime | None = None
    finished: datetime | None = None
    status: str = ""
    has_names: bool = False


@dataclass(slots=True)
class Stream:
    """Checks a stream of events. Memory holds only digests and names, not the events."""

    now: datetime
    events: int = 0
    duplicates: int = 0
    _seen: dict[tuple[str, str], tuple[bytes, int]] = field(default_factory=dict)
    _requests: dict[str, tuple[tuple[Any, ...], int]] = field(default_factory=dict)
    _builds: dict[str, _Build] = field(default_factory=dict)

    def read(self, lines: Iterable[bytes]) -> Iterator[Finding]:
        """Check events, one per line; skip empty lines. Yield findings as they occur."""
        for number, line in enumerate(lines, 1):
            if line.strip():
                for kind, place, problem in self._read(number, line):
                    yield Finding(number, kind, place, problem)
        yield from self._incomplete_builds()

    def _read(self, number: int, line: bytes) -> Iterator["_Found"]:
        self.events += 1
        try:
            item = parse_json(line)
            event = from_cloudevent(item, now=self.now, oldest=OLDEST_EVENT)
        except (InvalidEventError, EventTooEarlyError) as error:
            yield "violation", getattr(error, "field", "time"), error.problem
            return
        except ValueError as error:
            yield "violation", "", str(error)
            return
        digest, line_number = self._seen.setdefault(
            (event.source, event.id), (_digest(item), number)
        )
        if line_number != number:
            self.duplicates += 1
            if digest != _digest(item):
                problem = f"the same source and id as the different event in line {line_number}"
                yield "violation", "id", problem
            return
        yield from _attributes(item, line)
        match event:
            case RequestReceived():
                yield from self._request(number, event)
            case BuildStarted() | BuildFinished():
                yield from self._build(number, event)

    def _request(self, number: int, event: RequestReceived) -> Iterator["_Found"]:
        if event.request_hash:
            names = tuple(getattr(event, name) for name in _NAMES)
            first = self._requests.setdefault(event.request_hash, (names, number))
            for name, value, other in zip(_NAMES, names, first[0], strict=True):
                if value != other:
                    problem = (
                        f"{_shown(value)}, but {_shown(other)} for the same hash in line {first[1]}"
                    )
                    yield "violation", f"data.{name}", problem
        if event.client == UNKNOWN:
            yield "note", "data.client", "no client: counted as `unknown`"
        if event.packages is None and event.package_count is None:
            yield "note", "data.packages", "neither packages nor package_count"
        if event.outcome == "rejected" and not event.error_message:
            yield "note", "data.error_message", "rejected without an error message"

    def _build(self, number: int, event: BuildStarted | BuildFinished) -> Iterator["_Found"]:
        build = self._builds.setdefault(event.build_id, _Build(event.request_hash, number))
        build.has_names = build.has_names or bool(event.names)
        if build.request_hash != event.request_hash:
            problem = f"the same build_id with another request hash in line {build.line}"
            yield "violation", "data.build_id", problem
            return
        if isinstance(event, BuildStarted):
            if build.started not in {None, event.time}:
                yield "violation", "time", "another start of this build has a different time"
            build.started = event.time
        else:
            if build.finished is not None:
                statuses: str = event.status
                if build.status != event.status:
                    statuses = f"first {build.status}, then {event.status}"
                problem = f"a second end of the build ({statuses}) is ignored"
                yield "violation", "data.build_id", problem
                return
            build.finished, build.status = event.time, event.status
            if event.status in FAILED_STATUSES and not event.error_message:
                yield "note", "data.error_message", "failed without an error message"
        yield from _duration(build, event)

    def _incomplete_builds(self) -> Iterator[Finding]:
        """Yield notes on builds whose start, end or request is not in the stream."""
        for build_id, build in self._builds.items():
            name = build_id[:40]
            if build.finished is None:
                problem = f"{name}: no asu.build.finished in this stream"
                yield Finding(build.line, "note", "data.build_id", problem)
            elif build.started is None:
                problem = f"{name}: no asu.build.started in this stream"
                yield Finding(build.line, "note", "data.build_id", problem)
            if build.request_hash not in self._requests and not build.has_names:
                problem = (
                    "no request with this hash in this stream, and no version, target and profile"
                )
                yield Finding(build.line, "note", "data.request_hash", problem)


_Found = tuple[Literal["violation", "note"], str, str]


def _attributes(item: dict[str, Any], line: bytes) -> Iterator[_Found]:
    if len(line) > _EVENT_BYTES:
        yield "note", "", f"longer than {_EVENT_BYTES} bytes: intermediaries may refuse it"
    if isinstance(subject := item.get("subject"), str) and len(subject) > 12:
        yield "note", "subject", "longer than 12 characters: a full hash gives access to the image"


def _duration(build: _Build, event: Event) -> Iterator[_Found]:
    """Compare the reported duration of a build with its start and end."""
    if build.started is None or build.finished is None:
        return
    duration = build.finished - build.started
    if duration < timedelta():
        times = f"{format_time(build.finished)}, is before its start, {format_time(build.started)}"
        yield "violation", "time", f"the end of the build, {times}"
        return
    reported = event.duration_seconds if isinstance(event, BuildFinished) else None
    if reported is not None and abs(reported - duration.total_seconds()) > _TOLERANCE_SECONDS:
        problem = f"{reported}, but end minus start is {duration.total_seconds():.0f} seconds"
        yield "note", "data.duration_seconds", problem


def _digest(item: Any) -> bytes:
    """Return a digest of an event that does not depend on the order of its members."""
    return blake2b(repr(_sorted(item)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((name, _sorted(member)) for name, member in value.items())
    return list(map(_sorted, value)) if isinstance(value, list) else value


def _shown(value: object) -> str:
    return ascii(value)[:60]
