"""The nine reports as SQL over requests and builds, with results in the form of asu-stats.

The SQL is the same for DuckDB, ClickHouse and SQLite, except for table names and the day of a time.
Databases count. Rates, averages and percentiles are computed here with `reports.figures`, so that
responses can be compared with `==`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from asu_stats.releases import order_of, release_order
from asu_stats.reports import figures
from asu_stats.store.blocks.distribution import Distribution
from benchmarks.backend import WindowQuery

_HITS: Final = "count(*) FILTER (WHERE outcome = 'cache_hit')"
_DIFF: Final = "count(*) FILTER (WHERE diff_packages)"
_BUILT: Final = (
    "count(*) FILTER (WHERE status = 'success'), "
    "count(*) FILTER (WHERE status IN ('failure', 'timeout')), "
    "sum(duration_seconds) FILTER (WHERE status = 'success')"
)


def _distribution(pairs: Iterable[tuple[int, int]]) -> Distribution:
    """Return the distribution of pairs of seconds and builds; seconds may repeat."""
    builds: Counter[int] = Counter()
    for seconds, count in pairs:
        builds[seconds] += count
    return Distribution.of(builds)


def overview(query: WindowQuery) -> Any:
    """Return `overview`. The first day with data is given, so it is not part of the timing."""
    accepted = "FILTER (WHERE outcome <> 'rejected')"
    ((requests, rejected, unique, hits, diff, unique_rejected),) = query.requests(
        f"count(*) {accepted}, count(*) FILTER (WHERE outcome = 'rejected'), "
        f"count(DISTINCT request_hash) {accepted}, {_HITS}, "
        "count(*) FILTER (WHERE diff_packages AND outcome <> 'rejected'), "
        "count(DISTINCT request_hash) FILTER (WHERE outcome = 'rejected')",
        where="",
    )
    clients = dict(query.requests("count(*)", "client"))
    counts: dict[str, int] = defaultdict(int)
    seconds = []
    for status, duration, builds in query.builds("count(*)", "status, duration_seconds"):
        counts[status] += builds
        if status == "success":
            seconds.append((duration, builds))
    durations = _distribution(seconds)
    good, bad = counts["success"], counts["failure"] + counts["timeout"]
    return {
        "period": {
            "start": query.window.start.isoformat(),
            "end": query.window.end.isoformat(),
            "days": query.window.days,
            "data_since": query.backend.data_since,
            "incomplete": [],
        },
        "totals": {
            "requests": requests,
            "unique_requests": unique,
            "cache_hits": hits,
            "cache_hit_rate": figures.rate(hits, requests),
            "successful_builds": good,
            "failed_builds": bad,
            "success_rate": figures.rate(good, good + bad),
            "rejected_requests": rejected,
            "unique_rejected_requests": unique_rejected,
            "cancelled_builds": counts["cancelled"],
        },
        "build_performance": {
            "avg_duration_seconds": figures.average(durations.total, durations.count),
            "median_duration_seconds": durations.percentile(50),
            "p95_duration_seconds": durations.percentile(95),
            "total_build_time_hours": figures.hours(durations.total),
        },
        "clients": {
            "total_unique": len(clients),
            "top_5": [{"client": c, "requests": n} for c, n in figures.top(clients, 5)],
        },
        "diff_packages": {
            "enabled": diff,
            "disabled": requests - diff,
            "unknown": 0,
            "percentage_enabled": figures.rate(diff, requests),
        },
    }


def _named(query: WindowQuery, name: str, below: str | None) -> Any:
    """Return the rows per `name`, with the most requested names below each."""
    by = f"{name}, {below}" if below else name
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    inner: dict[str, dict[str, int]] = defaultdict(dict)
    for value, *rest in query.requests(f"count(*), {_HITS}", by):
        *lower, requests, hits = rest
        found[value][0] += requests
        found[value][1] += hits
        for part in lower:
            inner[value][part] = requests
    for value, good, bad, seconds in query.builds(_BUILT, name, where="status <> 'cancelled'"):
        found[value][2:] = good, bad, seconds or 0
    rows = []
    for value, (requests, hits, good, bad, seconds) in found.items():
        row = {
            name: value,
            "requests": requests,
            "cache_hits": hits,
            "cache_hit_rate": figures.rate(hits, requests),
            "avg_build_duration": figures.average(seconds, good),
            "successful_builds": good,
            "failed_builds": bad,
            "success_rate": figures.rate(good, good + bad),
        }
        if below:
            row[f"unique_{below}s"] = len(inner[value])
            row[f"top_{below}s"] = [
                {below: part, "requests": n} for part, n in figures.top(inner[value], 5)
            ]
        rows.append(row)
    order = order_of(name)
    return sorted(rows, key=lambda row: (-row["requests"], order(row[name])))


def clients(query: WindowQuery) -> Any:
    """Return `clients`. The column `status` has the result of each wait."""
    versions: dict[str, dict[str, int]] = defaultdict(dict)
    for client, version, requests in query.requests("count(*)", "client, version"):
        versions[client][version] = requests
    accepted = "FILTER (WHERE outcome <> 'rejected')"
    fields = (
        f"count(*) {accepted}, count(DISTINCT request_hash) {accepted}, {_HITS}, "
        "count(*) FILTER (WHERE status = 'success' AND outcome <> 'cache_hit'), "
        "count(*) FILTER (WHERE status IN ('failure', 'timeout')), "
        "count(*) FILTER (WHERE outcome = 'rejected'), "
        "count(DISTINCT request_hash) FILTER (WHERE outcome = 'rejected')"
    )
    rows_by_client = query.requests(fields, "client", where="")
    rows = [
        {
            "client": client,
            "total_requests": requests,
            "unique_builds": unique,
            "cache_hits": hits,
            "cache_hit_rate": figures.rate(hits, requests),
            "successful_builds": good,
            "failed_builds": bad,
            "pending": requests - hits - good - bad,
            "success_rate": figures.rate(good, good + bad),
            "rejected_requests": rejected,
            "unique_rejected_requests": unique_rejected,
            "top_versions": [
                {"version": v, "requests": n}
                for v, n in figures.top(versions[client], 5, release_order)
            ],
        }
        for client, requests, unique, hits, good, bad, rejected, unique_rejected in rows_by_client
    ]
    return sorted(rows, key=lambda row: (-row["total_requests"], row["client"]))


def diff_packages(query: WindowQuery) -> Any:
    """Return `diff-packages`."""
    day = query.day("timestamp")
    days = {str(on): (yes, n - yes) for on, n, yes in query.requests(f"count(*), {_DIFF}", day)}
    versions = {v: (yes, n - yes) for v, n, yes in query.requests(f"count(*), {_DIFF}", "version")}
    yes, no = (sum(split[side] for split in days.values()) for side in (0, 1))

    def shown(split: tuple[int, int]) -> dict[str, Any]:
        return {
            "enabled": split[0],
            "disabled": split[1],
            "unknown": 0,
            "percentage_enabled": figures.rate(split[0], sum(split)),
        }

    return {
        "overview": {
            "total_builds": yes + no,
            "diff_packages_enabled": yes,
            "diff_packages_disabled": no,
            "diff_packages_unknown": 0,
            "percentage_enabled": figures.rate(yes, yes + no),
        },
        "by_version": [
            {"version": version, "total": sum(split), **shown(split)}
            for version, split in sorted(
                versions.items(), key=lambda item: (-sum(item[1]), release_order(item[0]))
            )
        ],
        "by_version_total": len(versions),
        "trend": [
            {"date": str(date), **shown(days.get(str(date), (0, 0)))} for date in query.window
        ],
    }


def errors(query: WindowQuery) -> Any:
    """Return `errors`: bad builds and rejected requests."""
    by = "error_category, error_type, version"
    rows = [
        *query.builds("count(*)", by, where="status IN ('failure', 'timeout')"),
        *query.requests("count(*)", by, where="outcome = 'rejected'"),
    ]
    categories: dict[str, int] = defaultdict(int)
    by_version: dict[str, int] = defaultdict(int)
    types: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    affected: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for category, error_type, version, count in rows:
        categories[category] += count
        by_version[version] += count
        types[category][error_type] += count
        affected[category, error_type][version] += count
    total = sum(categories.values())
    return {
        "total_errors": total,
        "by_category": [
            {
                "category": category,
                "count": count,
                "percentage": figures.rate(count, total),
                "top_errors": [
                    {
                        "type": error_type,
                        "count": of_type,
                        "affected_versions": [
                            v
                            for v, _ in figures.top(
                                affected[category, error_type], 10, release_order
                            )
                        ],
                        "affected_versions_total": len(affected[category, error_type]),
                    }
                    for error_type, of_type in figures.top(types[category], 5)
                ],
                "top_errors_total": len(types[category]),
            }
            for category, count in figures.top(categories, len(categories))
        ],
        "by_category_total": len(categories),
        "by_version": [
            {"version": version, "errors": count}
            for version, count in figures.top(by_version, len(by_version), release_order)
        ],
        "by_version_total": len(by_version),
    }


def performance(query: WindowQuery) -> Any:
    """Return `performance` without the slowest builds, which are not an aggregate."""
    versions: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for version, seconds, builds in query.builds(
        "count(*)", "version, duration_seconds", where="status = 'success'"
    ):
        versions[version].append((seconds, builds))
    requests = dict(query.requests("count(*)", "version"))
    all_durations = _distribution(pair for pairs in versions.values() for pair in pairs)
    order = sorted(versions, key=lambda v: (-requests.get(v, 0), release_order(v)))
    of_version = {version: _distribution(versions[version]) for version in order}
    return {
        "build_duration": {
            "avg_seconds": figures.average(all_durations.total, all_durations.count),
            "median_seconds": all_durations.percentile(50),
            "p50_seconds": all_durations.percentile(50),
            "p90_seconds": all_durations.percentile(90),
            "p95_seconds": all_durations.percentile(95),
            "p99_seconds": all_durations.percentile(99),
            "min_seconds": all_durations.least,
            "max_seconds": all_durations.most,
        },
        "by_version": [
            {
                "version": version,
                "avg_duration": figures.average(durations.total, durations.count),
                "median_duration": durations.percentile(50),
                "builds": durations.count,
            }
            for version, durations in of_version.items()
        ],
        "by_version_total": len(of_version),
        "slowest_builds_total": all_durations.count,
    }


def timeseries(query: WindowQuery) -> Any:
    """Return `timeseries` by day."""
    found: dict[str, list[int]] = defaultdict(lambda: [0] * 6)
    for day, *sums in query.requests(
        f"count(*), {_HITS}, count(DISTINCT client)", query.day("timestamp")
    ):
        found[str(day)][:3] = sums
    for day, good, bad, seconds in query.builds(_BUILT, query.day("finished_at")):
        found[str(day)][3:] = good, bad, seconds or 0
    return [
        {
            "timestamp": str(day),
            "requests": requests,
            "cache_hits": hits,
            "cache_hit_rate": figures.rate(hits, requests),
            "successful_builds": good,
            "failed_builds": bad,
            "success_rate": figures.rate(good, good + bad),
            "avg_build_duration": figures.average(seconds, good),
            "unique_clients": names,
        }
        for day in query.window
        for requests, hits, names, good, bad, seconds in (found[str(day)],)
    ]


REPORTS: Final[Mapping[str, Callable[[WindowQuery], Any]]] = {
    "overview": overview,
    "versions": lambda query: _named(query, "version", "target"),
    "targets": lambda query: _named(query, "target", "profile"),
    "profiles": lambda query: _named(query, "profile", None),
    "clients": clients,
    "diff-packages": diff_packages,
    "errors": errors,
    "performance": performance,
    "timeseries": timeseries,
}
