"""Errors by type (docs/reference/figures.md, Errors)."""

from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import figures, floor, sums
from asu_stats.reports.errors import VersionErrors
from asu_stats.reports.fields import Category, TypeOfError
from asu_stats.reports.listing import Listing
from asu_stats.reports.parameters import CATEGORY, VERSION
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import FAILURES
from asu_stats.windows import Window


class ErrorTypeRow(TypedDict):
    """One type of error."""

    category: Category
    type: TypeOfError
    count: Annotated[int, Field(description="Failed builds and rejected requests.")]
    percentage: Annotated[float | None, Field(description="Percent of the errors queried.")]
    versions: Annotated[int, Field(description="Distinct versions with this error.")]
    top_versions: Annotated[list[VersionErrors], Field(description="At most 10.")]


_VERSIONS: Final = 10
_CATEGORY, _VERSION = FAILURES.key.index("error_category"), FAILURES.key.index("version")


def read(
    connection: Connection,
    window: Window,
    *,
    version: str | None = None,
    category: str | None = None,
) -> Listing[ErrorTypeRow]:
    """Return a row per type, by errors descending, then by category and type."""
    (failures,) = sums.cubes(connection, window, FAILURES)
    failures = floor.rename(connection, window, failures, _VERSION, "version")
    given = {_CATEGORY: category, _VERSION: version}
    where = {place: name for place, name in given.items() if name is not None}
    tops = failures.tops(_VERSIONS, where)
    ranked = sorted(tops.counts(), key=lambda found: -found[1])  # types are in order of their names
    total = sum(count for _, count in ranked)

    def make(first: int, after: int) -> list[ErrorTypeRow]:
        shown = ranked[first:after]
        below = tops.of([head for head, _ in shown])
        return [
            {
                "category": kind,
                "type": of_type,
                "count": n,
                "percentage": figures.rate(n, total),
                "versions": versions.names,
                "top_versions": [{"version": v, "errors": m} for v, m in versions.first],
            }
            for ((kind, of_type), n), versions in zip(shown, below, strict=True)
        ]

    return Listing(len(ranked), make, "count")


REPORT: Final = Report(
    name="errors/types",
    summary="Errors by type",
    send=lambda connection, query: sums.send_cubes(connection, query.window, FAILURES),
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[ErrorTypeRow],
    parameters=(VERSION, CATEGORY),
    default_days=7,
    row=ErrorTypeRow,
    paged=True,
)
