"""Errors type by type, over time, and some of them in full (contract §2.8)."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, func, select

from asu_stats.cloudevents import format_time
from asu_stats.reports import figures, sums
from asu_stats.reports.answers import ErrorBucket, ErrorExample, ErrorTypeRow
from asu_stats.store.archive import build_metrics_archive, error_stats_archive
from asu_stats.store.packs import FAILURES, Totals
from asu_stats.store.tables import build_metrics, error_stats
from asu_stats.windows import Interval, Window

EXAMPLES: Final = 20
_VERSIONS: Final = 10
_MESSAGE: Final = 2000
_SHOWN_HASH: Final = 12


def read(
    connection: Connection,
    window: Window,
    *,
    version: str | None = None,
    category: str | None = None,
) -> list[ErrorTypeRow]:
    """Return a row per type, by errors descending, then by category and type."""
    (failures,) = sums.cubes(connection, window, FAILURES)
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for kind, of_type, of_version, errors in _errors(failures):
        if version in {None, of_version} and category in {None, kind}:
            found[kind, of_type][of_version] += errors
    total = sum(sum(versions.values()) for versions in found.values())
    ranked = sorted(
        ((sum(versions.values()), *kind, versions) for kind, versions in found.items()),
        key=lambda row: (-row[0], row[1], row[2]),
    )
    return [
        {
            "category": kind,
            "type": of_type,
            "count": errors,
            "percentage": figures.rate(errors, total),
            "versions": len(versions),
            "top_versions": [
                {"version": v, "errors": n} for v, n in figures.top(versions, _VERSIONS)
            ],
        }
        for errors, kind, of_type, versions in ranked
    ]


def over_time(
    connection: Connection, window: Window, *, interval: Interval, version: str | None = None
) -> list[ErrorBucket]:
    """Return for every bucket the errors of each category that has any in `window`."""
    buckets = []
    seen: Counter[str] = Counter()
    for stamp, _, failures in sums.cube_over_time(connection, window, interval, FAILURES):
        errors: Counter[str] = Counter()
        for category, _, of_version, n in _errors(failures):
            if version in {None, of_version}:
                errors[category] += n
        seen += errors
        buckets.append((stamp, errors))
    categories = [category for category, _ in figures.top(seen, len(seen))]
    return [
        {"timestamp": stamp, "category": category, "errors": errors[category]}
        for stamp, errors in buckets
        for category in categories
    ]


def _errors(failures: Totals) -> Iterator[tuple[str, str, str, int]]:
    for (category, of_type, version), (errors,) in failures.rows():
        yield category, of_type, version, errors


def examples(connection: Connection, window: Window, **filters: str) -> list[ErrorExample]:
    """Return the latest errors in `window` whose details are kept, newest first.

    `filters` may name a version, a category and a type.
    """
    found = (
        row
        for errors in (error_stats, error_stats_archive)
        for row in connection.execute(_latest(errors, window, filters))
    )
    latest = sorted(found, key=lambda row: (row.timestamp, row.id), reverse=True)[:EXAMPLES]
    return [
        {
            "timestamp": format_time(moment.replace(tzinfo=UTC)),
            "category": category,
            "type": of_type,
            "version": version,
            "target": target,
            "profile": profile,
            "client": client,
            "request_hash": request_hash[:_SHOWN_HASH] or None,
            "message": message[-_MESSAGE:] if message else None,
        }
        for (
            _,
            moment,
            category,
            of_type,
            version,
            target,
            profile,
            client,
            request_hash,
            message,
        ) in latest
    ]


def _latest(errors: Table, window: Window, filters: Mapping[str, str]) -> Select[Any]:
    """Select the latest errors in a table; a build keeps its text, and may be archived or not."""
    e, live, archived = errors.c, build_metrics.c, build_metrics_archive.c
    columns = {"version": e.version, "category": e.error_category, "type": e.error_type}
    same = [columns[name] == value for name, value in filters.items()]
    first, last = datetime.combine(window.start, time()), datetime.combine(window.end, time.max)
    return (
        select(
            e.id,
            e.timestamp,
            e.error_category,
            e.error_type,
            e.version,
            e.target,
            e.profile,
            e.client,
            e.request_hash,
            func.coalesce(e.error_message, live.error_message, archived.error_message),
        )
        .outerjoin(
            build_metrics, (live.request_hash == e.request_hash) & (live.build_id == e.build_id)
        )
        .outerjoin(
            build_metrics_archive,
            (archived.request_hash == e.request_hash) & (archived.build_id == e.build_id),
        )
        .where(e.timestamp.between(first, last), *same)
        .order_by(e.timestamp.desc(), e.id.desc())
        .limit(EXAMPLES)
    )
