"""Errors by type, over time, with the latest in full (docs/reference/figures.md, Errors)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

import numpy as np
from sqlalchemy import Connection

from asu_stats.cloudevents import format_time
from asu_stats.reports import figures, latest_errors, sums
from asu_stats.reports.answers import ErrorBucket, ErrorExample, ErrorTypeRow
from asu_stats.reports.listing import Listing
from asu_stats.store.blocks.codec import Totals
from asu_stats.store.blocks.cubes import FAILURES
from asu_stats.times import aware, midnight
from asu_stats.windows import Interval, Window

EXAMPLES: Final = 20
CATEGORIES: Final = 20
_VERSIONS: Final = 10
_MESSAGE: Final = 2000
_SHOWN_HASH: Final = 12


def read(
    connection: Connection,
    window: Window,
    *,
    version: str | None = None,
    category: str | None = None,
) -> Listing[ErrorTypeRow]:
    """Return a row per type, by errors descending, then by category and type."""
    (failures,) = sums.cubes(connection, window, FAILURES)
    groups, errors = failures.grouped()
    if version is not None:
        errors = np.where(groups.tails == version, errors, 0)
    if category is not None:
        kinds = np.array([kind == category for kind, _ in groups.heads], bool)
        errors = np.where(kinds[groups.group], errors, 0)
    counts = np.add.reduceat(errors, groups.starts) if len(errors) else errors
    some = np.flatnonzero(counts)
    order = some[figures.descending(counts[some])]
    total, tops = int(counts.sum()), sums.Tops(groups, errors, _VERSIONS)

    def make(first: int, after: int) -> list[ErrorTypeRow]:
        places = order[first:after]
        heads = [groups.heads[place] for place in places.tolist()]
        rows = zip(heads, counts[places].tolist(), tops.of(heads), strict=True)
        return [
            {
                "category": kind,
                "type": of_type,
                "count": n,
                "percentage": figures.rate(n, total),
                "versions": versions.names,
                "top_versions": [{"version": v, "errors": m} for v, m in versions.first],
            }
            for (kind, of_type), n, versions in rows
        ]

    return Listing(len(order), make, "count")


def over_time(
    connection: Connection, window: Window, *, interval: Interval, version: str | None = None
) -> list[ErrorBucket]:
    """Return for every bucket the errors of each category that has any in `window`.

    Where there are more than `CATEGORIES`, those with fewest are one, without name.
    """
    buckets = []
    seen: Counter[str] = Counter()
    for stamp, _, failures in sums.cube_over_time(connection, window, interval, FAILURES):
        errors = _by_category(failures, version)
        seen.update(errors)
        buckets.append((stamp, errors))
    shown = [category for category, _ in figures.top(seen, CATEGORIES)]
    rest = [None] if len(seen) > len(shown) else []
    return [
        {"timestamp": stamp, "category": category, "errors": n}
        for stamp, errors in buckets
        for category, n in _split(errors, shown, rest)
    ]


def _by_category(failures: Totals, version: str | None) -> dict[str, int]:
    categories, codes = failures.column(0)
    errors = failures.sums[:, 0]
    if version is not None:
        versions, of = failures.column(2)
        errors = np.where(versions[of] == version, errors, 0)
    # bincount adds floats up: exact up to 2 ** 53
    counts = np.bincount(codes, errors, len(categories)).astype(np.int64)
    some = np.flatnonzero(counts)
    return dict(zip(categories[some].tolist(), counts[some].tolist(), strict=True))


def _split(
    errors: Mapping[str, int], shown: Sequence[str], rest: Sequence[None]
) -> Iterator[tuple[str | None, int]]:
    """Yield the errors of the categories that are shown, and those of all others together."""
    yield from ((category, errors.get(category, 0)) for category in shown)
    for name in rest:
        yield name, sum(errors.values()) - sum(errors.get(category, 0) for category in shown)


def examples(
    connection: Connection,
    window: Window,
    *,
    version: str | None = None,
    category: str | None = None,
    type: str | None = None,  # noqa: A002 - as the API calls it
) -> list[ErrorExample]:
    """Return the latest errors in `window` of a version, category and type, newest first."""
    first = midnight(window.start)
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
            "timestamp": format_time(aware(error.timestamp)),
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
