"""Raw events as a history: which requests and builds there were, and how they ended.

Independent of the rest of the program on purpose: own rounding and percentiles, no rollups, no SQL.
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
    """Return `value` rounded half up; `None` stays `None`."""
    if value is None:
        return None
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return float(exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP))


def rounded_up(value: Fraction, places: int) -> float:
    """Round half up, which for a negative value is towards zero."""
    scale = 10**places
    return float(Fraction((value * scale + Fraction(1, 2)).__floor__(), scale))


def ratio(part: int, whole: int) -> Fraction | None:
    """Return the exact quotient, `None` over nothing."""
    return Fraction(part, whole) if whole else None


def percent(part: int, whole: int) -> float | None:
    """Return a rate in percent, to 2 decimals."""
    value = ratio(part, whole)
    return None if value is None else rounded(value * 100, 2)


def as_it_is(name: Any) -> Any:
    """Sort names as texts."""
    return name


def mean(values: Sequence[int]) -> float | None:
    """Return the average, to 1 decimal."""
    return rounded(ratio(sum(values), len(values)), 1)


def percentile(values: Sequence[int], p: int) -> int | None:
    """Return the nearest rank: the smallest value that at least `p` percent do not exceed."""
    ordered = sorted(values)
    for value in ordered:
        if sum(1 for other in ordered if other <= value) * 100 >= p * len(ordered):
            return value
    return None


def ranked(counts: dict[Any, int], key: Callable[[Any], Any] = as_it_is) -> list[tuple[Any, int]]:
    """Return names by count, descending, then by name; none that counts 0."""
    found = [(k, n) for k, n in counts.items() if n]
    return sorted(found, key=lambda item: (-item[1], key(item[0])))


def age(version: str) -> tuple[Any, ...]:
    """Sorts versions as they came out; names that are none come first, `SNAPSHOT` last."""
    if version == "SNAPSHOT":
        return (2,)
    numbers, _, rest = version.partition("-")
    if not all(number.isdigit() for number in numbers.split(".")):
        return 0, version
    candidate = int(rest[2:]) if rest.startswith("rc") else 1_000
    return 1, [int(number) for number in numbers.split(".")], candidate


def split(events: Sequence[Event]) -> tuple[int, int, int]:
    """How many have diff_packages, have not, and don't say."""
    said = Counter(e["data"].get("diff_packages") for e in events)
    return said[True], said[False], said[None]


def unique_hashes(events: Sequence[Event]) -> int | None:
    """Count distinct request hashes, `None` if one is unknown."""
    hashes = {hash_of(e) for e in events}
    return None if None in hashes else len(hashes)


def when(event: Event) -> datetime:
    """Return the time of an event in UTC."""
    return _instant(event["time"])


@lru_cache(maxsize=65_536)
def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def client_of(text: str | None) -> tuple[str, str]:
    """Return name and version of a client string."""
    name, _, version = (text or "").partition("/")
    return name.strip() or "unknown", version.strip() or "unknown"


def hash_of(event: Event) -> str | None:
    """Return the request hash, `None` for imported history that lacks it."""
    found: str | None = event["data"].get("request_hash")
    return found


class Build:
    """One build, from all its events."""

    def __init__(self, events: Sequence[Event], requests: Sequence[Event]) -> None:
        starts = sorted((e for e in events if e["type"] == "asu.build.started"), key=when)
        ends = sorted((e for e in events if e["type"] == "asu.build.finished"), key=when)
        self.end = when(ends[0]) if ends else None
        data = ends[0]["data"] if ends else {}
        self.status: str = data.get("status", "building")
        self.category: str | None = data.get("error_category")
        self.type: str | None = data.get("error_type")
        self.build_id: str = events[0]["data"]["build_id"]
        self.request_hash: str | None = hash_of(events[0])
        self.seconds: int | None = data.get("duration_seconds")
        if starts and self.end:
            lasted = Fraction((self.end - when(starts[0])) // timedelta(microseconds=1), 1_000_000)
            whole = (lasted + Fraction(1, 2)).__floor__()
            if whole >= 0:
                self.seconds = whole
        said = {**(starts[0]["data"] if starts else {}), **data}
        if requests and self.request_hash:
            said = min(requests, key=when)["data"]
        self.version: str = said.get("version", "unknown")
        self.target: str = said.get("target", "unknown")
        self.profile: str = said.get("profile", "unknown")
        self.diff_packages: bool | None = said.get("diff_packages")

    @property
    def good(self) -> bool:
        return self.status == "success"

    @property
    def bad(self) -> bool:
        return self.status == "failure" or self.status == "timeout"


class History:
    """All that the events say, for one window at a time."""

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
        self.builds = [Build(of, by_hash[key[0]]) for key, of in by_build.items()]
        self.ended = [build for build in self.builds if build.end is not None]
        self.ended_of = defaultdict[str | None, list[Build]](list)
        for build in self.ended:
            if build.request_hash:
                self.ended_of[build.request_hash].append(build)

    def within(self, moment: datetime | None) -> bool:
        return moment is not None and self.start <= moment.date() <= self.end

    def window(self, start: date, end: date) -> Self:
        self.start, self.end = start, end
        return self._take(self.within)

    def moments(self, first: datetime, last: datetime) -> Self:
        """Look at the time after `first` up to `last`; the period is of no use then."""
        self.start, self.end = first.date(), last.date()
        return self._take(lambda moment: moment is not None and first < moment <= last)

    def _take(self, within: Callable[[datetime | None], bool]) -> Self:
        received = [e for e in self.all_requests if within(when(e))]
        self.accepted = [e for e in received if e["data"]["outcome"] != "rejected"]
        self.rejected = [e for e in received if e["data"]["outcome"] == "rejected"]
        self.finished = [build for build in self.ended if within(build.end)]
        return self

    def gaps(self, accepted: list[Event], rejected: list[Event], *, of_all: bool) -> list[str]:
        """Return what can't be known of some requests, as `gap_names` puts it."""
        unhashed = [e for e in accepted if hash_of(e) is None]
        outcomes = Counter(e["data"]["outcome"] for e in unhashed)
        return self.gap_names(
            without_hash=len(unhashed),
            untraced=outcomes["queued"] + outcomes["joined"] + outcomes["unknown"],
            unknown_diff=split(accepted)[2] if of_all else 0,
            unknown_outcome=outcomes["unknown"] if of_all else 0,
            rejected_without_hash=len([e for e in rejected if hash_of(e) is None]),
        )

    def gap_names(self, **requests: int) -> list[str]:
        """Return the names of the gaps; a server has sentences of its own."""
        return [name for name, count in requests.items() if count]

    def count_rejected(self, rejected: list[Event]) -> int | None:
        """Older servers, whose history lacks hashes, did not keep them."""
        return None if any(hash_of(e) is None for e in self.accepted) else len(rejected)

    def unique_rejected(self, rejected: list[Event]) -> int | None:
        """Distinct hashes, where rejections were kept at all."""
        if self.count_rejected(rejected) is None or None in map(hash_of, rejected):
            return None
        return len({hash_of(e) for e in rejected})

    def fate(self, request: Event) -> str:
        """How a request ended for its client: hit, good, bad or pending."""
        outcome = request["data"]["outcome"]
        if outcome == "cache_hit":
            return "hit"
        if outcome == "cached_failure":
            return "bad"
        if hash_of(request) is None:
            return "untraced"
        build = self.awaited(request)
        if build is None:
            return "pending"
        return "good" if build.good else "bad" if build.bad else "pending"

    def awaited(self, request: Event) -> Build | None:
        mine = [
            build
            for build in self.ended_of[hash_of(request)]
            if build.end >= when(request)  # type: ignore[operator]
        ]
        return min(mine, key=lambda build: (build.end, build.build_id)) if mine else None

    def days(self) -> list[date]:
        return [self.start + timedelta(days=n) for n in range((self.end - self.start).days + 1)]
