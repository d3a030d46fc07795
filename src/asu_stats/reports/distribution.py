"""Histogram of build durations."""

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import figures, sums
from asu_stats.reports.durations import of_version
from asu_stats.reports.parameters import VERSION
from asu_stats.reports.report import Query, Report
from asu_stats.store.blocks.cubes import SECONDS, VERSION_SECONDS
from asu_stats.store.blocks.distribution import Distribution
from asu_stats.windows import Window


class DurationBar(TypedDict):
    """Successful builds with similar durations."""

    from_seconds: Annotated[int, Field(description="Shortest duration, whole seconds.")]
    to_seconds: Annotated[int, Field(description="Longest duration, whole seconds.")]
    builds: Annotated[int, Field(description="Successful builds with such durations.")]
    percentage: Annotated[float | None, Field(description="Percent of all these builds.")]


_BARS: Final = 24
_WIDTHS: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600)


def read(
    connection: Connection, window: Window, *, version: str | None = None
) -> list[DurationBar]:
    """Return a histogram of the durations of successful builds that finished in `window`.

    All bars have the same width, except for the last, which holds all slower builds. At most 24
    bars reach up to the 99th percentile.
    """
    (totals,) = sums.cubes(connection, window, SECONDS if version is None else VERSION_SECONDS)
    durations = of_version(totals, version)
    return [
        {
            "from_seconds": start,
            "to_seconds": end,
            "builds": n,
            "percentage": figures.rate(n, durations.count),
        }
        for start, end, n in bars(durations, _WIDTHS)
    ]


def bars(spread: Distribution, widths: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return (from, to, count) of bars of equal width. The last one holds all values above p99.

    The width is the first of `widths` with which at most 24 bars reach up to p99.
    """
    least, most, p99 = spread.least, spread.most, spread.percentile(99)
    if least is None or most is None or p99 is None:
        return []
    length = p99 - least + 1
    width = next((w for w in widths if length <= w * (_BARS - 1)), -(-length // (_BARS - 1)))
    first = least - least % width
    edges = list(range(first, p99 + 1, width))
    counts = spread.histogram([*edges[1:], edges[-1] + width])
    found = [(edge, edge + width - 1, n) for edge, n in zip(edges, counts, strict=True)]
    higher = spread.count - sum(counts)
    return [*found, (edges[-1] + width, most, higher)] if higher else found


def _send(connection: Connection, query: Query) -> None:
    cube = VERSION_SECONDS if "version" in query.filters else SECONDS
    sums.send_cubes(connection, query.window, cube)


REPORT: Final = Report(
    name="performance/distribution",
    summary="Histogram of build durations",
    send=_send,
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=list[DurationBar],
    parameters=(VERSION,),
    row=DurationBar,
)
