"""Checks a recorded stream of events: each by itself, and what they say together.

A server refuses a violation, or counts it otherwise than its sender means. A note is allowed, but
some figure is missing or less exact for it.
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

# What intermediaries of CloudEvents have to forward.
_EVENT_BYTES: Final = 64 << 10
_NAMES: Final = ("version", "target", "profile", "diff_packages")
# Seconds by which a reported duration may differ from end minus start.
_TOLERANCE: Final = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a stream, at a line that is counted from 1."""

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
    """A stream of events as it is read. Only digests and names of events are kept."""

    now: datetime
    events: int = 0
    duplicates: int = 0
    _seen: dict[tuple[str, str], tuple[bytes, int]] = field(default_factory=dict)
    _requests: dict[str, tuple[tuple[Any, ...], int]] = field(default_factory=dict)
    _builds: dict[str, _Build] = field(default_factory=dict)

    def read(self, lines: Iterable[bytes]) -> Iterator[Finding]:
        """Return what is wrong with events, one per line; empty lines are skipped."""
        for number, line in enumerate(lines, 1):
            if line.strip():
                for kind, place, problem in self._read(number, line):
                    yield Finding(number, kind, place, problem)
        yield from self._rest()

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
        known = self._seen.setdefault((event.source, event.id), (_digest(item), number))
        if known[1] != number:
            self.duplicates += 1
            if known[0] != _digest(item):
                yield "violation", "id", f"the same source and id as another event, line {known[1]}"
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
                        f"{_said(value)}, but {_said(other)} for the same hash in line {first[1]}"
                    )
                    yield "violation", f"data.{name}", problem
        if event.client == UNKNOWN:
            yield "note", "data.client", "no client: counts as unknown"
        if event.packages is None and event.package_count is None:
            yield "note", "data.packages", "neither packages nor package_count"
        if event.outcome == "rejected" and not event.error_message:
            yield "note", "data.error_message", "rejected for no reason that is known"

    def _build(self, number: int, event: BuildStarted | BuildFinished) -> Iterator["_Found"]:
        build = self._builds.setdefault(event.build_id, _Build(event.request_hash, number))
        build.has_names = build.has_names or bool(event.names)
        if build.request_hash != event.request_hash:
            problem = f"names a build of another request hash in line {build.line}"
            yield "violation", "data.build_id", problem
            return
        if isinstance(event, BuildStarted):
            if build.started not in {None, event.time}:
                yield "violation", "time", "the build started before, at another time"
            build.started = event.time
        else:
            if build.finished is not None:
                words = "as" if build.status == event.status else f"then as {build.status}, now as"
                problem = f"the build ended before, {words} {event.status}; this changes nothing"
                yield "violation", "data.build_id", problem
                return
            build.finished, build.status = event.time, event.status
            if event.status in FAILED_STATUSES and not event.error_message:
                yield "note", "data.error_message", "failed for no reason that is known"
        yield from _duration(build, event)

    def _rest(self) -> Iterator[Finding]:
        """Return what only the end of the stream shows."""
        for build_id, build in self._builds.items():
            name = build_id[:40]
            if build.finished is None:
                problem = f"{name}: no asu.build.finished in this stream"
                yield Finding(build.line, "note", "data.build_id", problem)
            elif build.started is None:
                problem = f"{name}: no asu.build.started in this stream"
                yield Finding(build.line, "note", "data.build_id", problem)
            if build.request_hash not in self._requests and not build.has_names:
                problem = "no request of this hash in this stream, and no version, target, profile"
                yield Finding(build.line, "note", "data.request_hash", problem)


_Found = tuple[Literal["violation", "note"], str, str]


def _attributes(item: dict[str, Any], line: bytes) -> Iterator[_Found]:
    if len(line) > _EVENT_BYTES:
        yield "note", "", f"longer than {_EVENT_BYTES} bytes, which intermediaries may not forward"
    if isinstance(subject := item.get("subject"), str) and len(subject) > 12:
        yield "note", "subject", "longer than 12 characters: a full hash opens the image"


def _duration(build: _Build, event: Event) -> Iterator[_Found]:
    """Compare start and end of a build, and the duration that its end reports."""
    if build.started is None or build.finished is None:
        return
    lasted = build.finished - build.started
    if lasted < timedelta():
        times = f"{format_time(build.finished)} lies before its start {format_time(build.started)}"
        yield "violation", "time", f"the end of the build, {times}"
        return
    reported = event.duration_seconds if isinstance(event, BuildFinished) else None
    if reported is not None and abs(reported - lasted.total_seconds()) > _TOLERANCE:
        problem = f"{reported}, but the build took {lasted.total_seconds():.0f} seconds"
        yield "note", "data.duration_seconds", problem


def _digest(item: Any) -> bytes:
    """Return what stands for the content of an event, whatever the order of its members."""
    return blake2b(repr(_sorted(item)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((name, _sorted(member)) for name, member in value.items())
    return list(map(_sorted, value)) if isinstance(value, list) else value


def _said(value: object) -> str:
    return ascii(value)[:60]
