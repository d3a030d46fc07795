"""Errors by category over time."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import figures, sums
from asu_stats.reports.parameters import DAYS_INTERVAL, VERSION
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import FAILURES
from asu_stats.windows import Interval, Window

CATEGORIES: Final = 20


class ErrorBucket(TypedDict):
    """Errors of one category in one bucket of time."""

    timestamp: Annotated[str, Field(description="Day, Monday of the week, or month 2024-01.")]
    category: Annotated[
        str | None, Field(description="The twenty with most errors; null for all others together.")
    ]
    errors: Annotated[int, Field(description="Failed builds and rejected requests.")]


def read(
    connection: Connection, window: Window, *, interval: Interval, version: str | None = None
) -> list[ErrorBucket]:
    """Return the errors of each category in each bucket.

    Only the `CATEGORIES` most common categories have rows of their own. All others share one row
    without a category.
    """
    buckets = []
    seen: Counter[str] = Counter()
    for stamp, _, failures in sums.cube_over_time(connection, window, interval, FAILURES):
        errors = failures.counts(0, None if version is None else {2: version})
        seen.update(errors)
        buckets.append((stamp, errors))
    shown = [category for category, _ in figures.top(seen, CATEGORIES)]
    rest = [None] if len(seen) > len(shown) else []
    return [
        {"timestamp": stamp, "category": category, "errors": n}
        for stamp, errors in buckets
        for category, n in _split(errors, shown, rest)
    ]


def _split(
    errors: Mapping[str, int], shown: Sequence[str], rest: Sequence[None]
) -> Iterator[tuple[str | None, int]]:
    """Yield the errors of each shown category, and the sum of all others."""
    yield from ((category, errors.get(category, 0)) for category in shown)
    for name in rest:
        yield name, sum(errors.values()) - sum(errors.get(category, 0) for category in shown)


REPORT: Final = Report(
    name="errors/timeseries",
    summary="Errors by category over time",
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[ErrorBucket],
    parameters=(VERSION, DAYS_INTERVAL),
    default_days=7,
    row=ErrorBucket,
    example={"days": "2"},
)
