"""The upstream Python server's Redis TimeSeries, a UTC day at a time, and its list of errors.

Every sample is +1 at a millisecond, except those of `stats:time`, which are seconds. Names are read
from labels. Keys cannot be split into names, because a client is free text.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

from asu_stats.exceptions import ForeignDataError
from asu_stats.times import aware, midnight

DAY: Final = 86_400_000
MARGIN: Final = 60_000  # samples that belong to a day's last one may be after midnight
ERRORS: Final = "build:errors"
_ENTRY: Final = re.compile(
    r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) ([^: ]*):([^: ]*):(\S*) ?(.*)", re.DOTALL
)
_SUMMARY: Final = ("requests", "cache-hits", "successes", "failures")

Names = tuple[str, str, str]


class Failed(NamedTuple):
    """An entry of the list of errors."""

    at: int
    names: Names
    message: str


@dataclass(slots=True)
class Samples:
    """Samples of a day, and shortly before and after it; times are sorted milliseconds."""

    start: int
    summary: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    clients: list[tuple[int, str]] = field(default_factory=list)
    builds: dict[Names, list[int]] = field(default_factory=dict)
    seconds: dict[Names, list[tuple[int, float]]] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)

    def is_on_day(self, at: int) -> bool:
        """Return whether a time is on the day itself."""
        return self.start <= at < self.start + DAY


def begin_of(day: date) -> int:
    """Return the millisecond at which a UTC day begins."""
    return round(aware(midnight(day)).timestamp() * 1000)


class Series:
    """The series of a server. Raises `ForeignDataError` if they are unreadable."""

    def __init__(self, client: Any, place: str) -> None:
        self._client = client
        self._place = place

    def first(self) -> int | None:
        """Return the time of the first request that was counted; `None` if none was."""
        found = self._range("stats:build:requests", "-", "+", 1)
        return int(found[0][0]) if found else None

    def days(self, until: int) -> list[date]:
        """Return the UTC days that have samples before `until`, in order."""
        found, start = list[date](), 0
        while start < until and (firsts := self._firsts(start, until - 1)):
            day = datetime.fromtimestamp(min(firsts) / 1000, UTC).date()
            found.append(day)
            start = begin_of(day) + DAY
        return found

    def _firsts(self, first: int, last: int) -> list[int]:
        """Return the time of the first sample of each series that has one in a range."""
        counted = (self._range(f"stats:build:{name}", first, last, 1) for name in _SUMMARY)
        labelled = (
            samples
            for kind in ("clients", "builds")
            for _, samples in self._labelled(kind, first, last, 1)
        )
        return [int(samples[0][0]) for samples in (*counted, *labelled) if samples]

    def failed(self) -> list[tuple[str, Failed | None]]:
        """Return the error list, oldest first, with `None` for invalid entries."""
        with self._translating_errors():
            lines = self._client.lrange(ERRORS, 0, -1)
        texts = [line.decode("utf-8", "replace") for line in reversed(lines)]
        return [(text, _entry(text)) for text in texts]

    def of_day(self, day: date, until: int, failed: Sequence[Failed]) -> Samples:
        """Return the samples of a day before `until`."""
        start = begin_of(day)
        found = Samples(start)
        first, last = start - MARGIN, min(start + DAY + MARGIN, until) - 1
        if first > last:
            return found
        for name in _SUMMARY:
            for at, value in self._range(f"stats:build:{name}", first, last):
                found.summary[name] += [int(at)] * max(0, round(value))
        for labels, samples in self._labelled("clients", first, last):
            for at, value in samples:
                found.clients += [(int(at), labels.get("client", ""))] * max(0, round(value))
        found.clients.sort()
        for labels, samples in self._labelled("builds", first, last):
            at_names = found.builds.setdefault(_names(labels), [])
            for at, value in samples:
                at_names += [int(at)] * max(0, round(value))
        for labels, samples in self._labelled("time", first, last):
            found.seconds[_names(labels)] = [(int(at), value) for at, value in samples]
        place = bisect_left(failed, first, key=lambda entry: entry.at)
        end = bisect_left(failed, last + 1, key=lambda entry: entry.at)
        found.failed = list(failed[place:end])
        return found

    def _range(
        self, key: str, first: int | str, last: int | str, count: int | None = None
    ) -> list[tuple[int, float]]:
        with self._translating_errors():
            if not self._client.exists(key):
                return []
            found: list[tuple[int, float]] = self._client.ts().range(key, first, last, count=count)
            return found

    def _labelled(
        self, kind: str, first: int, last: int, count: int | None = None
    ) -> Iterator[tuple[dict[str, str], list[tuple[int, float]]]]:
        with self._translating_errors():
            rows = self._client.ts().mrange(
                first, last, count=count, filters=[f"stats={kind}"], with_labels=True
            )
        for row in rows:
            yield from row.values()

    @contextmanager
    def _translating_errors(self) -> Iterator[None]:
        import redis

        try:
            yield
        except redis.ResponseError as error:
            words = str(error)
            if "unknown command" in words.lower():
                words = (
                    "this Redis lacks the module TimeSeries, which stores the server's statistics"
                )
            raise ForeignDataError(self._place, words) from error
        except redis.RedisError as error:
            raise ForeignDataError(self._place, str(error)) from error


def _names(labels: dict[str, str]) -> Names:
    return labels.get("version", ""), labels.get("target", ""), labels.get("profile", "")


def _entry(text: str) -> Failed | None:
    match = _ENTRY.fullmatch(text)
    if match is None:
        return None
    day, clock, version, target, profile, message = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}+00:00")
    except ValueError:
        return None
    return Failed(round(moment.timestamp() * 1000), (version, target, profile), message)
