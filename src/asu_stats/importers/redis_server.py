"""Imports the history of the upstream Python server from Redis: sums without request hashes.

It imports requests and cache hits by time, builds with version, target, profile and duration, and
failures with their entry in the error list. Requests have no version there. Of requests that were
not cache hits, it is unknown whether they were accepted.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

from asu_stats import cloudevents, urls
from asu_stats.cloudevents import ID_LENGTH
from asu_stats.event_times import OLDEST_EVENT, Acceptable
from asu_stats.events import UNKNOWN, Event
from asu_stats.exceptions import ForeignDataError, InvalidEventError
from asu_stats.importers import redis_matching as matching
from asu_stats.importers.redis_series import Failed, Names, Samples, Series
from asu_stats.importers.report import Rejected, Summary
from asu_stats.importers.sending import Sender
from asu_stats.text import NAME_LENGTH, stored_name

# Samples of the last minutes may still get matching ones.
_OPEN: Final = timedelta(minutes=5)
_SOURCE: Final = "urn:asu-stats:redis:"
_NOT_IMPORTED: Final = (
    "stats:packages counts builds by package and cannot be assigned to requests: not imported"
)


class RedisServer:
    """The Redis of an upstream server. Raises `ForeignDataError` if it is unreadable."""

    def __init__(
        self,
        url: str,
        summary: Summary,
        rejected: Rejected,
        now: datetime,
        *,
        oldest: date = OLDEST_EVENT,
        builds_before: datetime | None = None,
    ) -> None:
        self._series = Series(connect(url), shown(url))
        self._place = shown(url)
        self._builds_before = builds_before
        self._summary = summary
        self._rejected = rejected
        self._acceptable = Acceptable(now, oldest)
        self._until = round((now - _OPEN).timestamp() * 1000)
        self.totals: dict[date, Counter[str]] = {}

    def has_requests(self) -> bool:
        """Return whether the server keeps its requests in TimeSeries."""
        return self._series.first() is not None

    def read(
        self,
        sender: Sender,
        begin: Callable[[int], object],
        done: Callable[[], object],
        *,
        since: date | None = None,
    ) -> None:
        """Send the events of all days from `since` on; `begin` gets their number."""
        first = self._series.first()
        if first is None:
            raise ForeignDataError(self._place, "no series stats:build:requests: nothing to import")
        summary = self._summary
        summary.source = summary.source or _source(first)
        summary.unknown = [_NOT_IMPORTED]
        entries = self._series.failed()
        for place, (text, entry) in enumerate(entries):
            if entry is None and since is None:
                summary.rejected += 1
                line = {"id": f"build:errors:{place}", "entry": text}
                self._rejected.put(line, "not an entry of the error list", imported=False)
        failed = [entry for _, entry in entries if entry is not None]
        days = [day for day in self._series.days(self._until) if since is None or day >= since]
        begin(len(days))
        for day in days:
            samples = self._series.of_day(day, self._until, failed)
            self._import_day(day, samples, sender)
            done()
        sender.flush()

    def _is_known(self, kind: str, at: int) -> bool:
        """Return whether an event is about a build that was imported from the results of RQ."""
        before = self._builds_before
        return kind == "build.finished" and before is not None and at >= before.timestamp() * 1000

    def _import_day(self, day: date, samples: Samples, sender: Sender) -> None:
        summary, totals = self._summary, self.totals.setdefault(day, Counter())
        requests, stray = matching.requests(samples)
        numbers: Counter[str] = Counter()

        def send(at: int, kind: str, series: str, data: dict[str, Any]) -> bool:
            """Send an event of this day. Returns whether it is valid."""
            key = f"{series}:{at}"
            numbers[key] += 1
            if not samples.is_on_day(at) or self._is_known(kind, at):
                return False
            moment = datetime.fromtimestamp(at // 1000, UTC) + timedelta(milliseconds=at % 1000)
            try:
                self._acceptable.check(moment)
            except InvalidEventError as error:
                summary.rejected += 1
                self._rejected.put({"id": key, **data}, str(error), imported=False)
                return False
            event = _event(summary.source, moment, kind, f"{key}:{numbers[key]}", data)
            summary.rows += 1
            summary.extend(moment)
            sender.send([event])
            return True

        for request in requests:
            outcome = "cache_hit" if request.is_hit else UNKNOWN
            data = _asked(request, outcome)
            if send(request.at, "request.received", "stats:build:requests", data):
                totals.update(requests=1, cache_hits=request.is_hit)
                summary.kinds["cache_hit" if request.is_hit else "request"] += 1
                summary.matched["client"] += request.client is not None
        for build in matching.builds(samples):
            series = "stats:builds:" + ":".join(build.names) if build.names else "successes"
            data = {"status": "success", **_names(build.names), "duration_seconds": build.seconds}
            if send(build.at, "build.finished", series, data):
                totals.update(successful_builds=1, seconds=build.seconds or 0)
                summary.kinds["success"] += 1
                summary.matched["duration"] += build.seconds is not None
        failures, left = matching.failures(samples)
        for at, entry in failures:
            message = entry.message if entry else None
            data = {"status": "failure", **_names(entry and entry.names), "error_message": message}
            if send(at, "build.finished", "stats:build:failures", data):
                totals.update(failed_builds=1)
                summary.kinds["failure"] += 1
                summary.matched["error"] += entry is not None
        self._reject_unmatched(hit for hit in stray if samples.is_on_day(hit))
        self._reject_unmatched(entry for entry in left if samples.is_on_day(entry.at))

    def _reject_unmatched(self, rest: Iterable[int | Failed]) -> None:
        """Reject data that belongs to no counted request or build."""
        for item in rest:
            self._summary.rejected += 1
            if isinstance(item, Failed):
                line = {"id": f"build:errors:{item.at}", **item._asdict()}
                reason = "no failed build was counted at that time"
            else:
                line = {"id": f"stats:build:cache-hits:{item}"}
                reason = "no request was counted before it"
            self._rejected.put(line, reason, imported=False)


def connect(url: str) -> Any:
    """Return a client of the Redis at `url`. Raises `ForeignDataError` for an unusable URL."""
    try:
        import redis
    except ModuleNotFoundError:
        raise ForeignDataError(shown(url), "redis is missing: install asu-stats[redis]") from None
    try:
        return redis.Redis.from_url(
            url, protocol=2, encoding_errors="replace", socket_timeout=60, socket_connect_timeout=10
        )
    except ValueError:
        expected = "expected a URL such as redis://localhost:6379/0"
        raise ForeignDataError(shown(url), expected) from None


def shown(url: str) -> str:
    """Return the URL of a Redis server without user, password and query."""
    with contextlib.suppress(ValueError):
        return urls.without_user(url).partition("?")[0]
    return "redis"


def _source(first: int) -> str:
    return _SOURCE + blake2b(str(first).encode(), digest_size=12).hexdigest()


def _event(source: str, at: datetime, kind: str, key: str, data: dict[str, Any]) -> Event:
    if len(key) > ID_LENGTH:
        key = blake2b(key.encode("utf-8", "replace"), digest_size=20).hexdigest()
    if kind == "build.finished":
        digest = blake2b(f"{source} {key}".encode("utf-8", "replace"), digest_size=16)
        data = {**data, "build_id": f"redis:{digest.hexdigest()}"}
    key = key.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return cloudevents.new(kind, source=source, id=key, time=at, data=data, imported=True)


def _asked(request: matching.Request, outcome: str) -> dict[str, Any]:
    names = dict.fromkeys(("version", "target", "profile"), UNKNOWN)
    client = request.client and request.client[:NAME_LENGTH]
    return {"outcome": outcome, **names, "client": client}


def _names(names: Names | None) -> dict[str, str]:
    if names is None:
        return {}
    said = zip(("version", "target", "profile"), names, strict=True)
    return {key: stored_name(name, NAME_LENGTH) for key, name in said if name}
