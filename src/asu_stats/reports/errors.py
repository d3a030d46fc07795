"""Errors: failed builds and rejected requests (docs/reference/figures.md, Errors)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import figures, floor, sums
from asu_stats.reports.fields import Category, Rate, Total, TypeOfError, Version
from asu_stats.reports.listing import ALL, Listing, Page
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import FAILURES
from asu_stats.store.blocks.totals import Totals
from asu_stats.windows import Window


class ErrorType(TypedDict):
    """One type of error."""

    type: TypeOfError
    count: Annotated[int, Field(description="Failed builds and rejected requests.")]
    affected_versions: Annotated[list[Version], Field(description="At most 10, most errors first.")]
    affected_versions_total: Total


class ErrorCategory(TypedDict):
    """One category of errors."""

    category: Category
    count: Annotated[int, Field(description="Failed builds and rejected requests.")]
    percentage: Rate
    top_errors: Annotated[list[ErrorType], Field(description="At most 5.")]
    top_errors_total: Total


class VersionErrors(TypedDict):
    """Errors of one version."""

    version: Version
    errors: Annotated[int, Field(description="Failed builds and rejected requests.")]


class Errors(TypedDict):
    """`GET /api/v1/stats/errors`."""

    total_errors: Annotated[int, Field(description="Failed builds and rejected requests.")]
    by_category: Sequence[ErrorCategory]
    by_category_total: Total
    by_version: Sequence[VersionErrors]
    by_version_total: Total


_TOP: Final = 5
CUBES: Final = (FAILURES,)
_VERSIONS: Final = 10


def read(connection: Connection, window: Window, page: Page = ALL) -> Errors:
    """Return the errors of `window` by category and type, and by version; `page` cuts both."""
    (failures,) = sums.cubes(connection, window, *CUBES)
    failures = floor.rename(connection, window, failures, FAILURES.key.index("version"), "version")
    categories, versions = _by_category(failures, page), _by_version(failures)
    return {
        "total_errors": failures.total()[0],
        "by_category": page.of(categories),
        "by_category_total": len(categories),
        "by_version": page.of(versions),
        "by_version_total": len(versions),
    }


def _by_category(failures: Totals, page: Page) -> Listing[ErrorCategory]:
    tops = failures.tops(page.most(_VERSIONS))
    types: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for (category, error_type), count in tops.counts():
        types[category].append((error_type, count))
    by_category = {category: sum(n for _, n in of) for category, of in types.items()}
    ranked = figures.top(by_category, len(by_category))
    total = sum(by_category.values())

    def make(first: int, after: int) -> list[ErrorCategory]:
        return [row(category, count) for category, count in ranked[first:after]]

    def row(category: str, count: int) -> ErrorCategory:
        shown = figures.top(types[category], page.most(_TOP))
        affected = tops.of([(category, error_type) for error_type, _ in shown])
        return {
            "category": category,
            "count": count,
            "percentage": figures.rate(count, total),
            "top_errors": [
                {
                    "type": error_type,
                    "count": n,
                    "affected_versions": [version for version, _ in versions.first],
                    "affected_versions_total": versions.names,
                }
                for (error_type, n), versions in zip(shown, affected, strict=True)
            ],
            "top_errors_total": len(types[category]),
        }

    return Listing(len(ranked), make, "count")


def _by_version(failures: Totals) -> Listing[VersionErrors]:
    ranked = failures.ranked(2)

    def make(first: int, after: int) -> list[VersionErrors]:
        return [{"version": version, "errors": n} for version, n in ranked.pairs(first, after)]

    return Listing(len(ranked), make, "errors")


REPORT: Final = Report(
    name="errors",
    summary="Failed builds and rejected requests",
    send=lambda connection, query: sums.send_cubes(connection, query.window, *CUBES),
    read=lambda connection, query: read(connection, query.window, query.page),
    response=Errors,
    default_days=7,
    row=ErrorCategory,
    member="by_category",
    nested=True,
)
