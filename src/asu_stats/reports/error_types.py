"""Errors type by type, over time, and some of them in full (contract §2.8)."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Final

from sqlalchemy import Connection

from asu_stats.cloudevents import format_time
from asu_stats.releases import release_order
from asu_stats.reports import figures, latest_errors, sums
from asu_stats.reports.answers import ErrorBucket, ErrorExample, ErrorTypeRow
from asu_stats.store.blocks import Totals
from asu_stats.store.cubes import FAILURES
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
                {"version": v, "errors": n}
                for v, n in figures.top(versions, _VERSIONS, release_order)
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


def examples(
    connection: Connection,
    window: Window,
    *,
    version: str | None = None,
    category: str | None = None,
    type: str | None = None,  # noqa: A002 - as the API calls it
) -> list[ErrorExample]:
    """Return the latest errors in `window` of a version, category and type, newest first."""
    first = datetime.combine(window.start, time())
    asked = {"version": version, "error_category": category, "error_type": type}
    found = latest_errors.read(
        connection,
        EXAMPLES,
        first=first,
        after=first + timedelta(days=window.days),
        filters={name: value for name, value in asked.items() if value is not None},
    )
    return [
        {
            "timestamp": format_time(error.timestamp.replace(tzinfo=UTC)),
            "category": error.error_category,
            "type": error.error_type,
            "version": error.version,
            "target": error.target,
            "profile": error.profile,
            "client": error.client,
            "request_hash": error.request_hash[:_SHOWN_HASH] or None,
            "message": error.error_message[-_MESSAGE:] if error.error_message else None,
        }
        for error in found
    ]
