"""Requests and builds of raw events, with arithmetic of its own: no rollups, no SQL, no reports.

The oracle is independent of the rest of the program, so an error there cannot be in both.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Self

Event = dict[str, Any]


def rounded(value: Fraction | None, places: int) -> float | None:
    """Round half up (half away from zero); `None` stays `None`."""
    if value is None:
        return None
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return float(exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP))


def rounded_change(value: Fraction, places: int) -> float:
    """Round half up towards positive infinity, as changes are rounded: -0.125 becomes -0.12."""
    scale = 10**places
    return float(Fraction((value * scale + Fraction(1, 2)).__floor__(), scale))


def ratio(part: int, whole: int) -> Fraction | None:
    """Return the exact quotient, or `None` if `whole` is 0."""
    return Fraction(part, whole) if whole else None


def percent(part: int, whole: int) -> float | None:
    """Return a rate in percent with 2 decimals."""
    value = ratio(part, whole)
    return None if value is None else rounded(value * 100, 2)


def identity(name: Any) -> Any:
    """Sort key of names that are compared as text."""
    return name


def mean(values: Sequence[int]) -> float | None:
    """Return the average with 1 decimal."""
    return rounded(ratio(sum(values), len(values)), 1)


def percentile(values: Sequence[int], p: int) -> int | None:
    """Return the percentile by nearest rank: the smallest value that `p` percent do not exceed."""
    ordered = sorted(values)
    for value in ordered:
        if sum(1 for other in ordered if other <= value) * 100 >= p * len(ordered):
            return value
    return None


def ranked(counts: dict[Any, int], key: Callable[[Any], Any] = identity) -> list[tuple[Any, int]]:
    """Return the names with a count above 0, by count descending, then by name."""
    positive = [(name, count) for name, count in counts.items() if count]
    return sorted(positive, key=lambda item: (-item[1], key(item[0])))


def by_release(version: str) -> tuple[Any, ...]:
    """Sort key of versions in release order: other names first, `SNAPSHOT` last."""
    if version == "SNAPSHOT":
        return (2,)
    numbers, _, rest = version.partition("-")
    if not all(number.isdigit() for number in numbers.split(".")):
        return 0, version
    candidate = int(rest[2:]) if rest.startswith("rc") else 1_000
    return 1, [int(number) for number in numbers.split(".")], candidate


def diff_counts(events: Sequence[Event]) -> tuple[int, int, int]:
    """Count requests with diff_packages enabled, disabled and unknown."""
    values = Counter(e["data"].get("diff_packages") for e in events)
    return values[True], values[False], values[None]


def unique_hashes(events: Sequence[Event]) -> int | None:
    """Count distinct request hashes; `None` if one is unknown."""
    hashes = {hash_of(e) for e in events}
    return None if None in hashes else len(hashes)


def time_of(event: Event) -> datetime:
    """Return the time of an event in UTC."""
    return _parsed_time(event["time"])


@lru_cache(maxsize=65_536)
def _parsed_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def client_of(text: str | None) -> tuple[str, str]:
    """Return client and client version of a client string."""
    name, _, version = (text or "").partition("/")
    return name.strip() or "unknown", version.strip() or "unknown"


def hash_of(event: Event) -> str | None:
    """Return the request hash; `None` in imported history without hashes."""
    request_hash: str | None = event["data"].get("request_hash")
    return request_hash


class Build:
    """One build: its events, and the requests with its hash, which have the names."""

    def __init__(self, events: Sequence[Event], requests: Sequence[Event]) -> None:
        starts = sorted((e for e in events if e["type"] == "asu.build.started"), key=time_of)
        ends = sorted((e for e in events if e["type"] == "asu.build.finished"), key=time_of)
        self.end = time_of(ends[0]) if ends else None
        data = ends[0]["data"] if ends else {}
        self.status: str = data.get("status", "building")
        self.category: str | None = data.get("error_category")
        self.type: str | None = data.get("error_type")
        self.build_id: str = events[0]["data"]["build_id"]
        self.request_hash: str | None = hash_of(events[0])
        self.seconds: int | None = data.get("duration_seconds")
        if starts and self.end:
            microseconds = (self.end - time_of(starts[0])) // timedelta(microseconds=1)
            seconds = (Fraction(microseconds, 1_000_000) + Fraction(1, 2)).__floor__()
            if seconds >= 0:
                self.seconds = seconds
        names = {**(starts[0]["data"] if starts else {}), **data}
        if requests and self.request_hash:
            names = min(requests, key=time_of)["data"]
        self.version: str = names.get("version", "unknown")
        self.target: str = names.get("target", "unknown")
        self.profile: str = names.get("profile", "unknown")
        self.diff_packages: bool | None = names.get("diff_packages")

    @property
    def succeeded(self) -> bool:
        return self.status == "success"

    @property
    def failed(self) -> bool:
        return self.status == "failure" or self.status == "timeout"


class History:
    """The requests and builds of events, for one time range at a time.

    Call `window` or `between` first.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        unique: dict[tuple[str, str], Event] = {}
        for event in events:
            unique.setdefault((event["source"], event["id"]), event)
        self.events = list(unique.values())
        self.all_requests = [e for e in self.events if e["type"] == "asu.request.received"]
        by_hash = defaultdict(list)
        for request in self.all_requests:
            by_hash[hash_of(request)].append(request)
        by_build = defaultdict(list)
        for event in self.events:
            if event["type"] != "asu.request.received":
                data = event["data"]
                by_build[hash_of(event), data["build_id"]].append(event)
        self.builds = [Build(group, by_hash[key[0]]) for key, group in by_build.items()]
        self.ended = [build for build in self.builds if build.end is not None]
        self.ended_by_hash = defaultdict[str | None, list[Build]](list)
        for build in self.ended:
            if build.request_hash:
                self.ended_by_hash[build.request_hash].append(build)

    def window(self, start: date, end: date) -> Self:
        """Select the days from `start` to `end`."""
        self.start, self.end = start, end
        return self._select(lambda time: start <= time.date() <= end)

    def between(self, first: datetime, last: datetime) -> Self:
        """Select the events after `first` up to `last`. The `period` of responses is then wrong."""
        self.start, self.end = first.date(), last.date()
        return self._select(lambda time: first < time <= last)

    def _select(self, contains: Callable[[datetime], bool]) -> Self:
        received = [e for e in self.all_requests if contains(time_of(e))]
        self.accepted = [e for e in received if e["data"]["outcome"] != "rejected"]
        self.rejected = [e for e in received if e["data"]["outcome"] == "rejected"]
        self.finished = [build for build in self.ended if build.end and contains(build.end)]
        return self

    def gaps(self, accepted: list[Event], rejected: list[Event], *, of_all: bool) -> list[str]:
        """Return the reasons why figures are incomplete; `of_all`: of all clients."""
        unhashed = [e for e in accepted if hash_of(e) is None]
        outcomes = Counter(e["data"]["outcome"] for e in unhashed)
        return self.gap_names(
            without_hash=len(unhashed),
            untraced=outcomes["queued"] + outcomes["joined"] + outcomes["unknown"],
            unknown_diff=diff_counts(accepted)[2] if of_all else 0,
            unknown_outcome=outcomes["unknown"] if of_all else 0,
            rejected_without_hash=len([e for e in rejected if hash_of(e) is None]),
        )

    def gap_names(self, **requests: int) -> list[str]:
        """Return the names of the gaps with requests. A subclass can return other texts."""
        return [name for name, count in requests.items() if count]

    def count_rejected(self, rejected: list[Event]) -> int | None:
        """Count rejections; `None` if history without hashes is in the time range.

        The servers that such history comes from did not store rejections.
        """
        return None if any(hash_of(e) is None for e in self.accepted) else len(rejected)

    def unique_rejected(self, rejected: list[Event]) -> int | None:
        """Count distinct hashes of rejections; `None` if rejections or their hashes are unknown."""
        if self.count_rejected(rejected) is None or None in map(hash_of, rejected):
            return None
        return len({hash_of(e) for e in rejected})

    def result_of(self, request: Event) -> str:
        """Return the result of an accepted request for its client.

        It is `hit`, `success`, `failure`, `pending`, or `unknown` without a hash.
        """
        outcome = request["data"]["outcome"]
        if outcome == "cache_hit":
            return "hit"
        if outcome == "cached_failure":
            return "failure"
        if hash_of(request) is None:
            return "unknown"
        build = self.build_for(request)
        if build is None:
            return "pending"
        return "success" if build.succeeded else "failure" if build.failed else "pending"

    def build_for(self, request: Event) -> Build | None:
        """Return the first build of the hash that ended at or after the request."""
        builds = [
            build
            for build in self.ended_by_hash[hash_of(request)]
            if build.end and build.end >= time_of(request)
        ]
        return min(builds, key=lambda build: (build.end, build.build_id), default=None)

    def days(self) -> list[date]:
        return [self.start + timedelta(days=n) for n in range((self.end - self.start).days + 1)]
