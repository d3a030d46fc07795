"""Time series of the oracle, computed from raw events in the simplest way."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from asu_stats.conformance.history import (
    Build,
    History,
    by_release,
    client_of,
    hash_of,
    mean,
    percent,
    percentile,
    ranked,
    time_of,
)


def _stamp(day: date, interval: str) -> str:
    """Return the day, its Monday, or its month."""
    if interval == "week":
        day -= timedelta(days=day.weekday())
    return day.isoformat()[:7] if interval == "month" else day.isoformat()


class Series(History):
    """A history with figures per hour, day, week or month."""

    def timeseries(self, interval: str, **filters: str) -> list[dict[str, Any]]:
        def bucket(moment: datetime) -> str:
            if interval == "hour":
                return moment.strftime("%Y-%m-%dT%H:00:00Z")
            return _stamp(moment.date(), interval)

        client = filters.get("client")
        accepted = [
            e
            for e in self.accepted
            if all(
                (client_of(e["data"].get("client"))[0] if k == "client" else e["data"][k]) == v
                for k, v in filters.items()
            )
        ]
        finished = (
            []
            if client
            else [b for b in self.finished if all(getattr(b, k) == v for k, v in filters.items())]
        )
        starts = [
            datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
            for day in self.days()
            for hour in (range(24) if interval == "hour" else (0,))
        ]
        requests_of, builds_of = defaultdict(list), defaultdict(list)
        for event in accepted:
            requests_of[bucket(time_of(event))].append(event)
        for build in finished:
            if build.end:
                builds_of[bucket(build.end)].append(build)
        rows = []
        for stamp in sorted({bucket(start) for start in starts}):
            requests, builds = requests_of[stamp], builds_of[stamp]
            hits = sum(e["data"]["outcome"] == "cache_hit" for e in requests)
            results = Counter(self.result_of(e) for e in requests)
            succeeded = results["success"] if client else sum(b.succeeded for b in builds)
            failed = results["failure"] if client else sum(b.failed for b in builds)
            incomplete = client and results["unknown"]
            times = [b.seconds for b in builds if b.succeeded and b.seconds is not None]
            without_clients = {"target", "profile"} & filters.keys()
            rows.append(
                {
                    "timestamp": stamp,
                    "requests": len(requests),
                    "cache_hits": hits,
                    "cache_hit_rate": percent(hits, len(requests)),
                    "successful_builds": None if incomplete else succeeded,
                    "failed_builds": None if incomplete else failed,
                    "success_rate": None if incomplete else percent(succeeded, succeeded + failed),
                    "avg_build_duration": None if client else mean(times),
                    "unique_clients": None
                    if without_clients
                    else len({client_of(e["data"].get("client"))[0] for e in requests}),
                    "unique_requests": None
                    if filters or interval == "hour" or None in map(hash_of, requests)
                    else len({hash_of(e) for e in requests}),
                }
            )
        return rows

    def _buckets(self, interval: str) -> dict[str, list[date]]:
        buckets: dict[str, list[date]] = defaultdict(list)
        for day in self.days():
            buckets[_stamp(day, interval)].append(day)
        return buckets

    def adoption(self, interval: str) -> list[dict[str, Any]]:
        """Count requests per version and bucket: the top eight versions, and the others as one."""
        order = [
            v for v, _ in ranked(Counter(e["data"]["version"] for e in self.accepted), by_release)
        ]
        rows = []
        for stamp, days in self._buckets(interval).items():
            versions = [e["data"]["version"] for e in self.accepted if time_of(e).date() in days]
            counts = [(v, versions.count(v)) for v in order[:8]]
            if len(order) > 8:
                counts.append((None, sum(v in order[8:] for v in versions)))
            rows += [
                {
                    "timestamp": stamp,
                    "version": v,
                    "requests": n,
                    "percentage": percent(n, len(versions)),
                }
                for v, n in counts
            ]
        return rows

    def _timed(self, version: str | None) -> list[Build]:
        return [
            b
            for b in self.finished
            if b.succeeded and b.seconds is not None and version in {None, b.version}
        ]

    def durations(self, interval: str, version: str | None = None) -> list[dict[str, Any]]:
        """Return the durations of successful builds per bucket."""
        rows = []
        for stamp, days in self._buckets(interval).items():
            durations = [
                b.seconds
                for b in self._timed(version)
                if b.seconds is not None and b.end and b.end.date() in days
            ]
            rows.append(
                {
                    "timestamp": stamp,
                    "builds": len(durations),
                    "avg_seconds": mean(durations),
                    "median_seconds": percentile(durations, 50),
                    "p95_seconds": percentile(durations, 95),
                }
            )
        return rows

    def seconds(self, version: str | None = None) -> list[int]:
        """Return the durations of successful builds, ascending."""
        return sorted(b.seconds for b in self._timed(version) if b.seconds is not None)

    def _errors(self) -> list[tuple[str, str, str, date]]:
        found = [
            (b.category or "", b.type or "", b.version, b.end.date())
            for b in self.finished
            if b.failed and b.end
        ]
        for event in self.rejected:
            data = event["data"]
            names = data["error_category"], data["error_type"], data["version"]
            found.append((*names, time_of(event).date()))
        return found

    def error_types(self, **filters: str) -> list[dict[str, Any]]:
        """Count errors per type."""
        found = [
            (c, t, v)
            for c, t, v, _ in self._errors()
            if all({"category": c, "version": v}[name] == value for name, value in filters.items())
        ]
        rows = []
        for (category, kind), n in ranked(Counter((c, t) for c, t, _ in found)):
            versions = Counter(v for c, t, v in found if (c, t) == (category, kind))
            rows.append(
                {
                    "category": category,
                    "type": kind,
                    "count": n,
                    "percentage": percent(n, len(found)),
                    "versions": len(versions),
                    "top_versions": [
                        {"version": v, "errors": m} for v, m in ranked(versions, by_release)[:10]
                    ],
                }
            )
        return rows

    def error_series(self, interval: str, version: str | None = None) -> list[dict[str, Any]]:
        """Count errors per bucket and category."""
        found = [(c, day) for c, _, v, day in self._errors() if version in {None, v}]
        categories = [c for c, _ in ranked(Counter(c for c, _ in found))]
        return [
            {
                "timestamp": stamp,
                "category": category,
                "errors": sum(c == category and day in days for c, day in found),
            }
            for stamp, days in self._buckets(interval).items()
            for category in categories
        ]

    def week(self) -> list[dict[str, Any]]:
        """Count requests and failed builds by hour of the week."""
        return [
            {
                "weekday": weekday,
                "hour": hour,
                "requests": sum(
                    (time_of(e).isoweekday(), time_of(e).hour) == (weekday, hour)
                    for e in self.accepted
                ),
                "failed_builds": sum(
                    b.failed
                    and b.end is not None
                    and (b.end.isoweekday(), b.end.hour) == (weekday, hour)
                    for b in self.finished
                ),
            }
            for weekday in range(1, 8)
            for hour in range(24)
        ]
