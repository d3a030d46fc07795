"""Errors by type (docs/reference/figures.md, Errors)."""

from typing import Annotated, Final

import numpy as np
from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import figures, sums
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
    percentage: Annotated[float | None, Field(description="Of the errors that were asked for.")]
    versions: Annotated[int, Field(description="Distinct versions it happened with.")]
    top_versions: Annotated[list[VersionErrors], Field(description="At most 10.")]


_VERSIONS: Final = 10


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


REPORT: Final = Report(
    name="errors/types",
    summary="Errors type by type",
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[ErrorTypeRow],
    parameters=(VERSION, CATEGORY),
    default_days=7,
    row=ErrorTypeRow,
    paged=True,
)
