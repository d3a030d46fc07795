"""Figures per bucket of time, as the oracle has them: the naive way, from raw events."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from asu_stats.conformance.history import (
    Build,
    History,
    age,
    client_of,
    hash_of,
    mean,
    percent,
    percentile,
    ranked,
    when,
)


class Series(History):
    """A history that also counts per hour, day, week or month."""

    def timeseries(self, interval: str, **filters: str) -> list[dict[str, Any]]:
        def bucket(moment: datetime) -> str:
            day = moment.date()
            return {
                "hour": moment.strftime("%Y-%m-%dT%H:00:00Z"),
                "day": day.isoformat(),
                "week": (day - timedelta(days=day.weekday())).isoformat(),
                "month": day.isoformat()[:7],
            }[interval]

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
        hours = [
            datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
            for day in self.days()
            for hour in range(24)
        ]
        asked, ended = defaultdict(list), defaultdict(list)
        for event in accepted:
            asked[bucket(when(event))].append(event)
        for build in finished:
            if build.end:
                ended[bucket(build.end)].append(build)
        rows = []
        for stamp in sorted({bucket(hour) for hour in hours}):
            mine, built = asked[stamp], ended[stamp]
            hits = sum(e["data"]["outcome"] == "cache_hit" for e in mine)
            fates = Counter(self.fate(e) for e in mine)
            good = fates["good"] if client else sum(b.good for b in built)
            bad = fates["bad"] if client else sum(b.bad for b in built)
            hidden = client and fates["untraced"]
            times = [b.seconds for b in built if b.good and b.seconds is not None]
            unknown = {"target", "profile"} & filters.keys()
            rows.append(
                {
                    "timestamp": stamp,
                    "requests": len(mine),
                    "cache_hits": hits,
                    "cache_hit_rate": percent(hits, len(mine)),
                    "successful_builds": None if hidden else good,
                    "failed_builds": None if hidden else bad,
                    "success_rate": None if hidden else percent(good, good + bad),
                    "avg_build_duration": None if client else mean(times),
                    "unique_clients": None
                    if unknown
                    else len({client_of(e["data"].get("client"))[0] for e in mine}),
                    "unique_requests": None
                    if filters or interval == "hour" or None in map(hash_of, mine)
                    else len({hash_of(e) for e in mine}),
                }
            )
        return rows

    def _parts(self, interval: str) -> dict[str, list[date]]:
        parts: dict[str, list[date]] = defaultdict(list)
        for day in self.days():
            monday = day - timedelta(days=day.weekday())
            stamps = {"day": day.isoformat(), "week": monday.isoformat()}
            parts[stamps.get(interval, day.isoformat()[:7])].append(day)
        return parts

    def adoption(self, interval: str) -> list[dict[str, Any]]:
        """Count requests per version and bucket: the eight with most, and the others as one."""
        order = [v for v, _ in ranked(Counter(e["data"]["version"] for e in self.accepted), age)]
        rows = []
        for stamp, days in self._parts(interval).items():
            asked = [e["data"]["version"] for e in self.accepted if when(e).date() in days]
            counts = [(v, asked.count(v)) for v in order[:8]]
            if len(order) > 8:
                counts.append((None, sum(v in order[8:] for v in asked)))
            rows += [
                {
                    "timestamp": stamp,
                    "version": v,
                    "requests": n,
                    "percentage": percent(n, len(asked)),
                }
                for v, n in counts
            ]
        return rows

    def _timed(self, version: str | None) -> list[Build]:
        return [
            b
            for b in self.finished
            if b.good and b.seconds is not None and version in {None, b.version}
        ]

    def durations(self, interval: str, version: str | None = None) -> list[dict[str, Any]]:
        """Durations per bucket."""
        rows = []
        for stamp, days in self._parts(interval).items():
            mine = [
                b.seconds
                for b in self._timed(version)
                if b.seconds is not None and b.end and b.end.date() in days
            ]
            rows.append(
                {
                    "timestamp": stamp,
                    "builds": len(mine),
                    "avg_seconds": mean(mine),
                    "median_seconds": percentile(mine, 50),
                    "p95_seconds": percentile(mine, 95),
                }
            )
        return rows

    def seconds(self, version: str | None = None) -> list[int]:
        """Durations of the successful builds, ascending."""
        return sorted(b.seconds for b in self._timed(version) if b.seconds is not None)

    def _errors(self) -> list[tuple[str, str, str, date]]:
        found = [
            (b.category or "", b.type or "", b.version, b.end.date())
            for b in self.finished
            if b.bad and b.end
        ]
        for event in self.rejected:
            data = event["data"]
            names = data["error_category"], data["error_type"], data["version"]
            found.append((*names, when(event).date()))
        return found

    def error_types(self, **filters: str) -> list[dict[str, Any]]:
        """Errors type by type."""
        found = [
            (c, t, v)
            for c, t, v, _ in self._errors()
            if all({"category": c, "version": v}[name] == of for name, of in filters.items())
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
                        {"version": v, "errors": m} for v, m in ranked(versions, age)[:10]
                    ],
                }
            )
        return rows

    def error_series(self, interval: str, version: str | None = None) -> list[dict[str, Any]]:
        """Errors per bucket and category."""
        found = [(c, day) for c, _, v, day in self._errors() if version in {None, v}]
        categories = [c for c, _ in ranked(Counter(c for c, _ in found))]
        return [
            {
                "timestamp": stamp,
                "category": category,
                "errors": sum(c == category and day in days for c, day in found),
            }
            for stamp, days in self._parts(interval).items()
            for category in categories
        ]

    def week(self) -> list[dict[str, Any]]:
        """Count requests and failed builds by hour of the week."""
        return [
            {
                "weekday": weekday,
                "hour": hour,
                "requests": sum(
                    (when(e).isoweekday(), when(e).hour) == (weekday, hour) for e in self.accepted
                ),
                "failed_builds": sum(
                    b.bad
                    and b.end is not None
                    and (b.end.isoweekday(), b.end.hour) == (weekday, hour)
                    for b in self.finished
                ),
            }
            for weekday in range(1, 8)
            for hour in range(24)
        ]
