"""Errors by category over time."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import figures, sums
from asu_stats.reports.parameters import CATEGORY, DAYS_INTERVAL, ERROR_TYPE, TARGET, VERSION
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import FAILURES
from asu_stats.store.rollups.definitions import ERRORS
from asu_stats.windows import Interval, Window, bucket_of_day

CATEGORIES: Final = 20
_STORED: Final = {"category": "error_category", "type": "error_type"}


class ErrorBucket(TypedDict):
    """Errors of one category in one bucket of time."""

    timestamp: Annotated[str, Field(description="Day, Monday of the week, or month 2024-01.")]
    category: Annotated[
        str | None, Field(description="The twenty with most errors; null for all others together.")
    ]
    errors: Annotated[int, Field(description="Failed builds and rejected requests.")]


def read(
    connection: Connection, window: Window, *, interval: Interval, **filters: str
) -> list[ErrorBucket]:
    """Return the errors of each category in each bucket.

    `filters` may name a version, a target, a category and a type.
    Only the `CATEGORIES` most common categories have rows of their own. All others share one row
    without a category.
    """
    buckets = []
    seen: Counter[str] = Counter()
    for stamp, errors in _errors(connection, window, interval, filters):
        seen.update(errors)
        buckets.append((stamp, errors))
    shown = [category for category, _ in figures.top(seen, CATEGORIES)]
    rest = [None] if len(seen) > len(shown) else []
    return [
        {"timestamp": stamp, "category": category, "errors": n}
        for stamp, errors in buckets
        for category, n in _split(errors, shown, rest)
    ]


def _errors(
    connection: Connection, window: Window, interval: Interval, filters: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Yield the errors of each bucket by category."""
    stored = {_STORED.get(name, name): value for name, value in filters.items()}
    if "target" in stored:  # of which there is no cube
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in sums.rows(connection, ERRORS, ("date", "error_category"), window, stored):
            found[bucket_of_day(row.date, interval)][row.error_category] += int(row.errors)
        yield from ((stamp, found[stamp]) for stamp in window.timestamps(interval))
        return
    where = {FAILURES.key.index(name): value for name, value in stored.items()}
    for stamp, _, failures in sums.cube_over_time(connection, window, interval, FAILURES):
        yield stamp, failures.counts(0, where)


def _split(
    errors: Mapping[str, int], shown: Sequence[str], rest: Sequence[None]
) -> Iterator[tuple[str | None, int]]:
    """Yield the errors of each shown category, and the sum of all others."""
    yield from ((category, errors.get(category, 0)) for category in shown)
    for name in rest:
        yield name, sum(errors.values()) - sum(errors.get(category, 0) for category in shown)


def _send(connection: Connection, query: Query) -> None:
    if "target" not in query.filters:
        interval = query.filters["interval"]
        sums.send_cubes(connection, query.window, FAILURES, interval=interval)


REPORT: Final = Report(
    name="errors/timeseries",
    summary="Errors by category over time",
    send=_send,
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[ErrorBucket],
    parameters=(VERSION, TARGET, CATEGORY, ERROR_TYPE, DAYS_INTERVAL),
    default_days=7,
    row=ErrorBucket,
    example={"days": "2"},
)
