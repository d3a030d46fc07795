"""The oracle: every figure of docs/reference/figures.md, computed from raw events.

It shares no code with store and reports, so an error there cannot be in both.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import comb
from typing import Any

from asu_stats.conformance.history import (
    by_release,
    client_of,
    diff_counts,
    identity,
    mean,
    percent,
    percentile,
    ranked,
    rounded,
    rounded_change,
    time_of,
    unique_hashes,
)
from asu_stats.conformance.series import Series


class Oracle(Series):
    """The expected response of every statistics endpoint for a time range of a history."""

    def overview(self) -> dict[str, Any]:
        hits = sum(e["data"]["outcome"] == "cache_hit" for e in self.accepted)
        succeeded = [b for b in self.finished if b.succeeded]
        failed = [b for b in self.finished if b.failed]
        seconds = [b.seconds for b in succeeded if b.seconds is not None]
        clients = Counter(client_of(e["data"].get("client"))[0] for e in self.accepted)
        enabled, disabled, unknown = diff_counts(self.accepted)
        days = [time_of(e).date() for e in self.events]
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
                "successful_builds": len(succeeded),
                "failed_builds": len(failed),
                "success_rate": percent(len(succeeded), len(succeeded) + len(failed)),
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
        """Return the rows per version, target or profile, with the top names `below` each."""
        rows = []
        accepted = [e for e in self.accepted if keep(e["data"].get)]
        finished = [b for b in self.finished if keep(b.__getattribute__)]
        names = {e["data"][name] for e in accepted}
        names |= {getattr(b, name) for b in finished if b.succeeded or b.failed}
        for value in names:
            requests = [e for e in accepted if e["data"][name] == value]
            builds = [b for b in finished if getattr(b, name) == value]
            succeeded, failed = sum(b.succeeded for b in builds), sum(b.failed for b in builds)
            hits = sum(e["data"]["outcome"] == "cache_hit" for e in requests)
            row = {
                name: value,
                "requests": len(requests),
                "cache_hits": hits,
                "cache_hit_rate": percent(hits, len(requests)),
                "avg_build_duration": mean(
                    [b.seconds for b in builds if b.succeeded and b.seconds is not None]
                ),
                "successful_builds": succeeded,
                "failed_builds": failed,
                "success_rate": percent(succeeded, succeeded + failed),
            }
            if below:
                counts = Counter(e["data"][below] for e in requests)
                row[f"unique_{below}s"] = len(counts)
                row[f"top_{below}s"] = [{below: b, "requests": n} for b, n in ranked(counts)[:5]]
            rows.append(row)
        key = by_release if name == "version" else identity
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
        requests = [e for e in self.accepted if client_of(e["data"].get("client"))[0] == client]
        results = Counter(self.result_of(e) for e in requests)
        rejected = [e for e in self.rejected if client_of(e["data"].get("client"))[0] == client]
        versions = Counter(e["data"]["version"] for e in requests)
        return {
            "client": client,
            "total_requests": len(requests),
            "unique_builds": unique_hashes(requests),
            "cache_hits": results["hit"],
            "cache_hit_rate": percent(results["hit"], len(requests)),
            "successful_builds": None if results["unknown"] else results["success"],
            "failed_builds": None if results["unknown"] else results["failure"],
            "pending": None if results["unknown"] else results["pending"],
            "success_rate": None
            if results["unknown"]
            else percent(results["success"], results["success"] + results["failure"]),
            "rejected_requests": self.count_rejected(rejected),
            "unique_rejected_requests": self.unique_rejected(rejected),
            "top_versions": [
                {"version": v, "requests": n} for v, n in ranked(versions, by_release)[:5]
            ],
        }

    def clients(self) -> list[dict[str, Any]]:
        names = {client_of(e["data"].get("client"))[0] for e in self.accepted + self.rejected}
        rows = [self._client_row(name) for name in names]
        return sorted(rows, key=lambda row: (-row["total_requests"], row["client"]))

    def client(self, client: str) -> dict[str, Any]:
        requests = [e for e in self.accepted if client_of(e["data"].get("client"))[0] == client]
        errors: Counter[tuple[str, str]] = Counter()
        for event in self.rejected:
            if client_of(event["data"].get("client"))[0] == client:
                errors[event["data"]["error_category"], event["data"]["error_type"]] += 1
        for event in requests:
            build = self.build_for(event)
            waited = event["data"]["outcome"] in {"queued", "joined"}
            if waited and build is not None and build.failed:
                errors[build.category or "", build.type or ""] += 1

        def top(name: str, limit: int) -> list[dict[str, Any]]:
            counts = Counter(e["data"][name] for e in requests)
            return [{name: value, "requests": n} for value, n in ranked(counts)[:limit]]

        def distinct(name: str) -> int:
            return len({e["data"][name] for e in requests})

        client_versions = Counter(client_of(e["data"].get("client"))[1] for e in requests)
        rejected = [e for e in self.rejected if client_of(e["data"].get("client"))[0] == client]
        return {
            **self._client_row(client),
            "period": {
                **self.overview()["period"],
                "incomplete": self.gaps(requests, rejected, of_all=False),
            },
            "top_versions_total": distinct("version"),
            "top_targets_total": distinct("target"),
            "top_profiles_total": distinct("profile"),
            "client_versions_total": len(client_versions),
            "errors_total": len(errors),
            "client_versions": [
                {"client_version": v, "requests": n} for v, n in ranked(client_versions, by_release)
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
        enabled, disabled, unknown = diff_counts(self.accepted)
        versions = {e["data"]["version"] for e in self.accepted}
        by_version = []
        for version in versions:
            on, off, neither = diff_counts(
                [e for e in self.accepted if e["data"]["version"] == version]
            )
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
            on, off, neither = diff_counts([e for e in self.accepted if time_of(e).date() == day])
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
            "by_version": sorted(
                by_version, key=lambda row: (-row["total"], by_release(row["version"]))
            ),
            "by_version_total": len(versions),
            "trend": trend,
        }

    def packages(self, **filters: str) -> list[dict[str, Any]]:
        """Count the packages in accepted requests that were not cache hits."""
        requests = [e for e in self.accepted if all(e["data"][k] == v for k, v in filters.items())]
        counts: Counter[str] = Counter()
        for event in requests:
            if event["data"]["outcome"] != "cache_hit":
                names = event["data"].get("packages") or []
                counts.update({n.removeprefix("+") for n in names if not n.startswith("-")})
        return [
            {"package": name, "requests": n, "percentage": percent(n, len(requests))}
            for name, n in ranked(counts)
        ]

    def request_patterns(self, **filters: str) -> dict[str, Any]:
        """Return the properties of requested images."""
        requests = [
            e["data"]
            for e in self.accepted
            if filters.get("version") in {None, e["data"]["version"]}
            and filters.get("client") in {None, client_of(e["data"].get("client"))[0]}
        ]

        def share(values: Sequence[bool | None]) -> dict[str, Any]:
            known = [value for value in values if value is not None]
            return {
                "count": sum(known),
                "percentage": percent(sum(known), len(known)),
                "unknown": len(values) - len(known),
            }

        def distribution(values: Sequence[int]) -> dict[str, Any]:
            return {
                "requests": len(values),
                **{f"p{p}": percentile(values, p) for p in (50, 90, 99)},
                "max": max(values, default=None),
            }

        # `null` means that no size was requested; without the member it is unknown.
        sizes = [(d["rootfs_size_mb"] or 0) if "rootfs_size_mb" in d else None for d in requests]
        return {
            "requests": len(requests),
            "with_custom_repositories": share([d.get("has_custom_repos") for d in requests]),
            "with_defaults": share([d.get("has_defaults") for d in requests]),
            "with_rootfs_size": share([None if n is None else n > 0 for n in sizes]),
            "rootfs_size_mb": distribution([n for n in sizes if n]),
            "package_count": distribution(
                [len(d["packages"]) for d in requests if "packages" in d]
            ),
        }

    def errors(self) -> dict[str, Any]:
        found = [(b.category, b.type, b.version) for b in self.finished if b.failed]
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
                                    by_release,
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
                {"version": v, "errors": n}
                for v, n in ranked(Counter(v for _, _, v in found), by_release)
            ],
        }

    def performance(self) -> dict[str, Any]:
        timed = [b for b in self.finished if b.succeeded and b.seconds is not None]
        seconds = [b.seconds for b in timed if b.seconds is not None]
        requests = Counter(e["data"]["version"] for e in self.accepted)
        by_version = []
        for version in sorted(
            {b.version for b in timed}, key=lambda v: (-requests[v], by_release(v))
        ):
            durations = [b.seconds for b in timed if b.version == version and b.seconds is not None]
            by_version.append(
                {
                    "version": version,
                    "avg_duration": mean(durations),
                    "median_duration": percentile(durations, 50),
                    "builds": len(durations),
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
        """Return the figures of the time range and of the equally long time range before it.

        If `clock` is in the time range, the previous one ends at the same time of day.
        """
        start, end = self.start, self.end
        now, split_now = self._compared(), self._split()
        until = None
        if start <= clock.date() <= end:
            until = clock - ((end - start) + timedelta(days=1))
        first = start - timedelta(days=(end - start).days + 1)
        days = [time_of(e).date() for e in self.events]
        before: dict[str, Any] = {}
        split_before: dict[str, tuple[int, int]] = {}
        unknown = "nothing was recorded"
        if days:
            unknown = f"the previous time range starts on {first}, and data on {min(days)}"
        if days and first >= min(days):
            unknown = ""
            if until:
                midnight = datetime(first.year, first.month, first.day, tzinfo=UTC)
                self.between(midnight - timedelta(microseconds=1), until)
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
            return rounded_change((new - past) / past * 100, 2) if past else None

        units = {"cache_hit_rate", "success_rate", "diff_packages_rate"}
        rows = []
        for name in now:
            unit = "percent" if name in units else "seconds" if "seconds" in name else "count"
            figures = {"value": now[name], "before": before.get(name), "change": change(name, unit)}
            figures["before_unknown"] = unknown or None
            compared_until = until.strftime("%Y-%m-%dT%H:%M:%SZ") if until else None
            figures["significant"] = None
            if name in split_before:
                figures["significant"] = significant(split_now[name], split_before[name])
            rows.append({"figure": name, "unit": unit, **figures, "compared_until": compared_until})
        return rows

    def _split(self) -> dict[str, tuple[int, int]]:
        """Return the numerator, and the rest of the denominator, of each figure in percent."""
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
    """Return whether two shares differ in Fisher's exact test, two-sided, at 1%.

    Each share is a pair of part and rest. `None` if one of them is empty.
    """
    (a, b), (c, d) = now, before
    if not a + b or not c + d:
        return None
    part, whole = a + c, a + b + c + d

    def tail(parts: range) -> Fraction:
        ways = sum(comb(part, n) * comb(whole - part, a + b - n) for n in parts)
        return Fraction(ways, comb(whole, a + b))

    maximum = min(part, a + b)
    return 2 * min(tail(range(a, maximum + 1)), tail(range(a + 1))) < Fraction(1, 100)
