"""The oracle: every figure of docs/reference/figures.md computed from raw events.

It is independent of the rest of the program on purpose, and shares nothing with store and reports.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import comb
from typing import Any

from asu_stats.conformance.history import (
    age,
    as_it_is,
    client_of,
    mean,
    percent,
    percentile,
    ranked,
    rounded,
    rounded_up,
    split,
    unique_hashes,
    when,
)
from asu_stats.conformance.series import Series


class Oracle(Series):
    """Every statistics response for a window of a history."""

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
        key = age if name == "version" else as_it_is
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
        """Count the packages named by accepted requests that were no cache hits."""
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
        """Return what accepted requests said of their images."""
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

    def comparison(self, clock: datetime) -> list[dict[str, Any]]:
        """Return the figures of the window beside those of as many days before it.

        Where it is now in the window, those end at the same time of day.
        """
        start, end = self.start, self.end
        now, split = self._compared(), self._split()
        until = None
        if start <= clock.date() <= end:
            until = clock - ((end - start) + timedelta(days=1))
        first = start - timedelta(days=(end - start).days + 1)
        days = [when(e).date() for e in self.events]
        before: dict[str, Any] = {}
        split_before: dict[str, tuple[int, int]] = {}
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
            before, split_before = self._compared(), self._split()
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
            figures["significant"] = None
            if name in split_before:
                figures["significant"] = significant(split[name], split_before[name])
            rows.append({"figure": name, "unit": unit, **figures, "compared_until": said})
        return rows

    def _split(self) -> dict[str, tuple[int, int]]:
        """Return part and rest of each figure in percent."""
        overview = self.overview()
        totals, diff = overview["totals"], overview["diff_packages"]
        hits = totals["cache_hits"]
        return {
            "cache_hit_rate": (hits, totals["requests"] - hits),
            "success_rate": (totals["successful_builds"], totals["failed_builds"]),
            "diff_packages_rate": (diff["enabled"], diff["disabled"]),
        }

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


def significant(now: tuple[int, int], before: tuple[int, int]) -> bool | None:
    """Tell whether two shares differ by Fisher's exact test, two-sided, at 1%."""
    (a, b), (c, d) = now, before
    if not a + b or not c + d:
        return None
    part, whole = a + c, a + b + c + d

    def tail(parts: range) -> Fraction:
        ways = sum(comb(part, n) * comb(whole - part, a + b - n) for n in parts)
        return Fraction(ways, comb(whole, a + b))

    most = min(part, a + b)
    return 2 * min(tail(range(a, most + 1)), tail(range(a + 1))) < Fraction(1, 100)
