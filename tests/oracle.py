"""The oracle: every figure of docs/reference/figures.md computed from raw events.

It is independent of the program on purpose: own rounding, own percentiles, no rollups, no SQL.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

from asu_stats.reports import incomplete  # words, no figures

Event = dict[str, Any]


def rounded(value: Fraction | None, places: int) -> float | None:
    if value is None:
        return None
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return float(exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP))


def rounded_up(value: Fraction, places: int) -> float:
    """Round half up, which for a negative value is towards zero."""
    scale = 10**places
    return float(Fraction((value * scale + Fraction(1, 2)).__floor__(), scale))


def ratio(part: int, whole: int) -> Fraction | None:
    return Fraction(part, whole) if whole else None


def percent(part: int, whole: int) -> float | None:
    value = ratio(part, whole)
    return None if value is None else rounded(value * 100, 2)


def _as_it_is(name: Any) -> Any:
    return name


def mean(values: Sequence[int]) -> float | None:
    return rounded(ratio(sum(values), len(values)), 1)


def percentile(values: Sequence[int], p: int) -> int | None:
    ordered = sorted(values)
    for value in ordered:
        if sum(1 for other in ordered if other <= value) * 100 >= p * len(ordered):
            return value
    return None


def ranked(counts: dict[Any, int], key: Callable[[Any], Any] = _as_it_is) -> list[tuple[Any, int]]:
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
    hashes = {hash_of(e) for e in events}
    return None if None in hashes else len(hashes)


def when(event: Event) -> datetime:
    return datetime.fromisoformat(event["time"]).astimezone(UTC)


def client_of(text: str | None) -> tuple[str, str]:
    name, _, version = (text or "").partition("/")
    return name.strip() or "unknown", version.strip() or "unknown"


def hash_of(event: Event) -> str | None:
    """Imported history may lack it."""
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
        return self.status in {"failure", "timeout"}


class Oracle:
    """All that the events say, asked for one window at a time."""

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

    def within(self, moment: datetime | None) -> bool:
        return moment is not None and self.start <= moment.date() <= self.end

    def window(self, start: date, end: date) -> "Oracle":
        self.start, self.end = start, end
        return self._take(self.within)

    def moments(self, first: datetime, last: datetime) -> "Oracle":
        """Look at the time after `first` up to `last`; the period is of no use then."""
        self.start, self.end = first.date(), last.date()
        return self._take(lambda moment: moment is not None and first < moment <= last)

    def _take(self, within: Callable[[datetime | None], bool]) -> "Oracle":
        received = [e for e in self.all_requests if within(when(e))]
        self.accepted = [e for e in received if e["data"]["outcome"] != "rejected"]
        self.rejected = [e for e in received if e["data"]["outcome"] == "rejected"]
        self.finished = [build for build in self.ended if within(build.end)]
        return self

    def gaps(self, accepted: list[Event], rejected: list[Event], *, of_all: bool) -> list[str]:
        """The sentences on what can't be known of some requests."""
        unhashed = [e for e in accepted if hash_of(e) is None]
        outcomes = Counter(e["data"]["outcome"] for e in unhashed)
        return incomplete.reasons(
            without_hash=len(unhashed),
            untraced=outcomes["queued"] + outcomes["joined"] + outcomes["unknown"],
            unknown_diff=split(accepted)[2] if of_all else 0,
            unknown_outcome=outcomes["unknown"] if of_all else 0,
            rejected_without_hash=len([e for e in rejected if hash_of(e) is None]),
        )

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
            for build in self.ended
            if hash_of(request)
            and build.request_hash == hash_of(request)
            and build.end >= when(request)  # type: ignore[operator]
        ]
        return min(mine, key=lambda build: (build.end, build.build_id)) if mine else None

    def overview(self) -> dict[str, Any]:
        hits = sum(e["data"]["outcome"] == "cache_hit" for e in self.accepted)
        good = [b for b in self.finished if b.good]
        bad = [b for b in self.finished if b.bad]
        seconds = [b.seconds for b in good if b.seconds is not None]
        clients = Counter(client_of(e["data"].get("client"))[0] for e in self.accepted)
        enabled, disabled, unknown = split(self.accepted)
        days = [when(e).date() for e in self.events]
        return {
            "period": {
                "start": self.start.isoformat(),
                "end": self.end.isoformat(),
                "days": (self.end - self.start).days + 1,
                "data_since": min(days).isoformat() if days else None,
                "incomplete": self.gaps(self.accepted, self.rejected, of_all=True),
            },
            "totals": {
                "requests": len(self.accepted),
                "unique_requests": unique_hashes(self.accepted),
                "cache_hits": hits,
                "cache_hit_rate": percent(hits, len(self.accepted)),
                "successful_builds": len(good),
                "failed_builds": len(bad),
                "success_rate": percent(len(good), len(good) + len(bad)),
                "rejected_requests": self.count_rejected(self.rejected),
                "unique_rejected_requests": self.unique_rejected(self.rejected),
                "cancelled_builds": sum(b.status == "cancelled" for b in self.finished),
            },
            "build_performance": {
                "avg_duration_seconds": mean(seconds),
                "median_duration_seconds": percentile(seconds, 50),
                "p95_duration_seconds": percentile(seconds, 95),
                "total_build_time_hours": rounded(Fraction(sum(seconds), 3600), 2),
            },
            "clients": {
                "total_unique": len(clients),
                "top_5": [{"client": c, "requests": n} for c, n in ranked(clients)[:5]],
            },
            "diff_packages": {
                "enabled": enabled,
                "disabled": disabled,
                "unknown": unknown,
                "percentage_enabled": percent(enabled, enabled + disabled),
            },
        }

    def _rows(
        self, name: str, below: str | None, keep: Callable[[Any], bool] = lambda _: True
    ) -> list[dict[str, Any]]:
        """Rows per version, target or profile, with what stands below each."""
        rows = []
        accepted = [e for e in self.accepted if keep(e["data"].get)]
        finished = [b for b in self.finished if keep(b.__getattribute__)]
        names = {e["data"][name] for e in accepted}
        names |= {getattr(b, name) for b in finished if b.good or b.bad}
        for value in names:
            mine = [e for e in accepted if e["data"][name] == value]
            built = [b for b in finished if getattr(b, name) == value]
            good, bad = sum(b.good for b in built), sum(b.bad for b in built)
            hits = sum(e["data"]["outcome"] == "cache_hit" for e in mine)
            row = {
                name: value,
                "requests": len(mine),
                "cache_hits": hits,
                "cache_hit_rate": percent(hits, len(mine)),
                "avg_build_duration": mean(
                    [b.seconds for b in built if b.good and b.seconds is not None]
                ),
                "successful_builds": good,
                "failed_builds": bad,
                "success_rate": percent(good, good + bad),
            }
            if below:
                counts = Counter(e["data"][below] for e in mine)
                row[f"unique_{below}s"] = len(counts)
                row[f"top_{below}s"] = [{below: b, "requests": n} for b, n in ranked(counts)[:5]]
            rows.append(row)
        key = age if name == "version" else _as_it_is
        return sorted(rows, key=lambda row: (-row["requests"], key(row[name])))

    def versions(self, **filters: str) -> list[dict[str, Any]]:
        return self._rows(
            "version", "target", lambda get: all(get(k) == v for k, v in filters.items())
        )

    def targets(self, **filters: str) -> list[dict[str, Any]]:
        return self._rows(
            "target", "profile", lambda get: all(get(k) == v for k, v in filters.items())
        )

    def profiles(self, **filters: str) -> list[dict[str, Any]]:
        return self._rows("profile", None, lambda get: all(get(k) == v for k, v in filters.items()))

    def _client_row(self, client: str) -> dict[str, Any]:
        mine = [e for e in self.accepted if client_of(e["data"].get("client"))[0] == client]
        fates = Counter(self.fate(e) for e in mine)
        rejected = [e for e in self.rejected if client_of(e["data"].get("client"))[0] == client]
        versions = Counter(e["data"]["version"] for e in mine)
        return {
            "client": client,
            "total_requests": len(mine),
            "unique_builds": unique_hashes(mine),
            "cache_hits": fates["hit"],
            "cache_hit_rate": percent(fates["hit"], len(mine)),
            "successful_builds": None if fates["untraced"] else fates["good"],
            "failed_builds": None if fates["untraced"] else fates["bad"],
            "pending": None if fates["untraced"] else fates["pending"],
            "success_rate": None
            if fates["untraced"]
            else percent(fates["good"], fates["good"] + fates["bad"]),
            "rejected_requests": self.count_rejected(rejected),
            "unique_rejected_requests": self.unique_rejected(rejected),
            "top_versions": [{"version": v, "requests": n} for v, n in ranked(versions, age)[:5]],
        }

    def clients(self) -> list[dict[str, Any]]:
        names = {client_of(e["data"].get("client"))[0] for e in self.accepted + self.rejected}
        rows = [self._client_row(name) for name in names]
        return sorted(rows, key=lambda row: (-row["total_requests"], row["client"]))

    def client(self, client: str) -> dict[str, Any]:
        mine = [e for e in self.accepted if client_of(e["data"].get("client"))[0] == client]
        errors: Counter[tuple[str, str]] = Counter()
        for event in self.rejected:
            if client_of(event["data"].get("client"))[0] == client:
                errors[event["data"]["error_category"], event["data"]["error_type"]] += 1
        for event in mine:
            build = self.awaited(event)
            waited = event["data"]["outcome"] in {"queued", "joined"}
            if waited and build is not None and build.bad:
                errors[build.category or "", build.type or ""] += 1

        def top(name: str, most: int) -> list[dict[str, Any]]:
            counts = Counter(e["data"][name] for e in mine)
            return [{name: value, "requests": n} for value, n in ranked(counts)[:most]]

        def distinct(name: str) -> int:
            return len({e["data"][name] for e in mine})

        client_versions = Counter(client_of(e["data"].get("client"))[1] for e in mine)
        rejected = [e for e in self.rejected if client_of(e["data"].get("client"))[0] == client]
        return {
            **self._client_row(client),
            "period": {
                **self.overview()["period"],
                "incomplete": self.gaps(mine, rejected, of_all=False),
            },
            "top_versions_total": distinct("version"),
            "top_targets_total": distinct("target"),
            "top_profiles_total": distinct("profile"),
            "client_versions_total": len(client_versions),
            "errors_total": len(errors),
            "client_versions": [
                {"client_version": v, "requests": n} for v, n in ranked(client_versions, age)
            ],
            "top_targets": top("target", 5),
            "top_profiles": top("profile", 5),
            "errors": [
                {
                    "category": category,
                    "type": error_type,
                    "count": n,
                    "percentage": percent(n, sum(errors.values())),
                }
                for (category, error_type), n in ranked(errors)
            ],
            "timeseries": self.timeseries("day", client=client),
        }

    def diff_packages(self) -> dict[str, Any]:
        enabled, disabled, unknown = split(self.accepted)
        versions = {e["data"]["version"] for e in self.accepted}
        by_version = []
        for version in versions:
            on, off, neither = split([e for e in self.accepted if e["data"]["version"] == version])
            by_version.append(
                {
                    "version": version,
                    "total": on + off + neither,
                    "enabled": on,
                    "disabled": off,
                    "unknown": neither,
                    "percentage_enabled": percent(on, on + off),
                }
            )
        trend = []
        for day in self.days():
            on, off, neither = split([e for e in self.accepted if when(e).date() == day])
            trend.append(
                {
                    "date": day.isoformat(),
                    "enabled": on,
                    "disabled": off,
                    "unknown": neither,
                    "percentage_enabled": percent(on, on + off),
                }
            )
        return {
            "overview": {
                "total_builds": len(self.accepted),
                "diff_packages_enabled": enabled,
                "diff_packages_disabled": disabled,
                "diff_packages_unknown": unknown,
                "percentage_enabled": percent(enabled, enabled + disabled),
            },
            "by_version": sorted(by_version, key=lambda row: (-row["total"], age(row["version"]))),
            "by_version_total": len(versions),
            "trend": trend,
        }

    def packages(self, **filters: str) -> list[dict[str, Any]]:
        """Packages named by accepted requests that were no cache hits."""
        mine = [e for e in self.accepted if all(e["data"][k] == v for k, v in filters.items())]
        counts: Counter[str] = Counter()
        for event in mine:
            if event["data"]["outcome"] != "cache_hit":
                names = event["data"].get("packages") or []
                counts.update({n.removeprefix("+") for n in names if not n.startswith("-")})
        return [
            {"package": name, "requests": n, "percentage": percent(n, len(mine))}
            for name, n in ranked(counts)
        ]

    def request_patterns(self, **filters: str) -> dict[str, Any]:
        """What accepted requests said of their images."""
        mine = [
            e["data"]
            for e in self.accepted
            if filters.get("version") in {None, e["data"]["version"]}
            and filters.get("client") in {None, client_of(e["data"].get("client"))[0]}
        ]

        def share(values: Sequence[bool | None]) -> dict[str, Any]:
            said = [value for value in values if value is not None]
            unknown = len(values) - len(said)
            return {
                "count": sum(said),
                "percentage": percent(sum(said), len(said)),
                "unknown": unknown,
            }

        def spread(values: Sequence[int]) -> dict[str, Any]:
            return {
                "requests": len(values),
                **{f"p{p}": percentile(values, p) for p in (50, 90, 99)},
                "max": max(values, default=None),
            }

        # A size that is null says that none was asked for; one that is absent says nothing.
        sizes = [(d["rootfs_size_mb"] or 0) if "rootfs_size_mb" in d else None for d in mine]
        return {
            "requests": len(mine),
            "with_custom_repositories": share([d.get("has_custom_repos") for d in mine]),
            "with_defaults": share([d.get("has_defaults") for d in mine]),
            "with_rootfs_size": share([None if n is None else n > 0 for n in sizes]),
            "rootfs_size_mb": spread([n for n in sizes if n]),
            "package_count": spread([len(d["packages"]) for d in mine if "packages" in d]),
        }

    def errors(self) -> dict[str, Any]:
        found = [(b.category, b.type, b.version) for b in self.finished if b.bad]
        found += [
            (e["data"]["error_category"], e["data"]["error_type"], e["data"]["version"])
            for e in self.rejected
        ]
        by_category = []
        for category, count in ranked(Counter(c for c, _, _ in found)):
            types = Counter(t for c, t, _ in found if c == category)
            by_category.append(
                {
                    "category": category,
                    "count": count,
                    "percentage": percent(count, len(found)),
                    "top_errors_total": len(types),
                    "top_errors": [
                        {
                            "type": kind,
                            "count": n,
                            "affected_versions_total": len(
                                {v for c, t, v in found if (c, t) == (category, kind)}
                            ),
                            "affected_versions": [
                                v
                                for v, _ in ranked(
                                    Counter(v for c, t, v in found if (c, t) == (category, kind)),
                                    age,
                                )
                            ][:10],
                        }
                        for kind, n in ranked(types)[:5]
                    ],
                }
            )
        return {
            "total_errors": len(found),
            "by_category": by_category,
            "by_category_total": len(by_category),
            "by_version_total": len({v for _, _, v in found}),
            "by_version": [
                {"version": v, "errors": n} for v, n in ranked(Counter(v for _, _, v in found), age)
            ],
        }

    def performance(self) -> dict[str, Any]:
        timed = [b for b in self.finished if b.good and b.seconds is not None]
        seconds = [b.seconds for b in timed if b.seconds is not None]
        requests = Counter(e["data"]["version"] for e in self.accepted)
        by_version = []
        for version in sorted({b.version for b in timed}, key=lambda v: (-requests[v], age(v))):
            mine = [b.seconds for b in timed if b.version == version and b.seconds is not None]
            by_version.append(
                {
                    "version": version,
                    "avg_duration": mean(mine),
                    "median_duration": percentile(mine, 50),
                    "builds": len(mine),
                }
            )
        return {
            "build_duration": {
                "avg_seconds": mean(seconds),
                "median_seconds": percentile(seconds, 50),
                **{f"p{p}_seconds": percentile(seconds, p) for p in (50, 90, 95, 99)},
                "min_seconds": min(seconds, default=None),
                "max_seconds": max(seconds, default=None),
            },
            "by_version": by_version,
            "by_version_total": len(by_version),
            "slowest_builds_total": len(timed),
            "slowest": sorted(seconds, reverse=True)[:10],
        }

    def days(self) -> list[date]:
        return [self.start + timedelta(days=n) for n in range((self.end - self.start).days + 1)]

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
        rows = []
        for stamp in sorted({bucket(hour) for hour in hours}):
            mine = [e for e in accepted if bucket(when(e)) == stamp]
            built = [b for b in finished if b.end and bucket(b.end) == stamp]
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

    def comparison(self, clock: datetime) -> list[dict[str, Any]]:
        """The figures of the window beside those of as many days before it.

        Where it is now in the window, those end at the same time of day.
        """
        start, end = self.start, self.end
        now = self._compared()
        until = None
        if start <= clock.date() <= end:
            until = clock - ((end - start) + timedelta(days=1))
        first = start - timedelta(days=(end - start).days + 1)
        days = [when(e).date() for e in self.events]
        before: dict[str, Any] = {}
        unknown = "nothing was recorded"
        if days:
            unknown = f"the previous time range starts on {first}, and data on {min(days)}"
        if days and first >= min(days):
            unknown = ""
            if until:
                midnight = datetime(first.year, first.month, first.day, tzinfo=UTC)
                self.moments(midnight - timedelta(microseconds=1), until)
            else:
                self.window(first, start - timedelta(days=1))
            before = self._compared()
            self.window(start, end)

        def change(name: str, unit: str) -> float | None:
            value, old = now[name], before.get(name)
            if value is None or old is None:
                return None
            new, past = Fraction(str(value)), Fraction(str(old))
            if unit == "percent":
                return float(new - past)
            return rounded_up((new - past) / past * 100, 2) if past else None

        units = {"cache_hit_rate", "success_rate", "diff_packages_rate"}
        rows = []
        for name in now:
            unit = "percent" if name in units else "seconds" if "seconds" in name else "count"
            figures = {"value": now[name], "before": before.get(name), "change": change(name, unit)}
            figures["before_unknown"] = unknown or None
            said = until.strftime("%Y-%m-%dT%H:%M:%SZ") if until else None
            rows.append({"figure": name, "unit": unit, **figures, "compared_until": said})
        return rows

    def _compared(self) -> dict[str, Any]:
        overview = self.overview()
        totals, builds = overview["totals"], overview["build_performance"]
        names = ("requests", "unique_requests", "cache_hit_rate", "success_rate")
        return {
            **{name: totals[name] for name in (*names, "failed_builds", "rejected_requests")},
            "median_duration_seconds": builds["median_duration_seconds"],
            "p95_duration_seconds": builds["p95_duration_seconds"],
            "unique_clients": overview["clients"]["total_unique"],
            "diff_packages_rate": overview["diff_packages"]["percentage_enabled"],
        }

    def _parts(self, interval: str) -> dict[str, list[date]]:
        parts: dict[str, list[date]] = defaultdict(list)
        for day in self.days():
            monday = day - timedelta(days=day.weekday())
            stamps = {"day": day.isoformat(), "week": monday.isoformat()}
            parts[stamps.get(interval, day.isoformat()[:7])].append(day)
        return parts

    def adoption(self, interval: str) -> list[dict[str, Any]]:
        """Requests per version and bucket: the eight with most, and the others as one."""
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
        """Requests and failed builds by hour of the week."""
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
