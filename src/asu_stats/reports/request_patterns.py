"""What accepted requests contain: repositories, first-boot scripts, sizes, numbers of packages.

Shares are of the requests that state the value. All other requests are counted as unknown.
"""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.reports import figures, sums
from asu_stats.reports.distribution import bars
from asu_stats.reports.fields import Period, Requests
from asu_stats.reports.parameters import CLIENT, VERSION
from asu_stats.reports.report import Report
from asu_stats.store.blocks.cubes import BY_PACKAGE_COUNT, BY_ROOTFS_SIZE, PATTERNS
from asu_stats.store.blocks.totals import Totals
from asu_stats.windows import Window

_Share = Annotated[
    float | None, Field(description="Percent of the requests that state it; null without any.")
]
_Value = Annotated[int | None, Field(description="Null without any.")]


class RequestShare(TypedDict):
    """Requests with some option."""

    count: Annotated[int, Field(description="Accepted requests with it.")]
    percentage: _Share
    unknown: Annotated[int, Field(description="Requests that do not state it.")]


ValueBar = TypedDict(
    "ValueBar",
    {
        "from": Annotated[int, Field(description="Lowest value.")],
        "to": Annotated[int, Field(description="Highest value.")],
        "requests": Annotated[int, Field(description="Requests from `from` to `to`.")],
        "percentage": Annotated[float | None, Field(description="Percent of all these requests.")],
    },
)
ValueBar.__doc__ = "Requests whose value lies in one range."


class ValueDistribution(TypedDict):
    """Distribution of a number in requests. Percentiles are nearest-rank."""

    requests: Annotated[int, Field(description="Accepted requests that state a value.")]
    p50: _Value
    p90: _Value
    p99: _Value
    max: _Value
    histogram: Annotated[
        list[ValueBar],
        Field(description="At most 24 bars of equal width, and one for all higher values."),
    ]


class RequestPatterns(TypedDict):
    """`GET /api/v1/stats/request-patterns`."""

    period: Period
    requests: Requests
    with_custom_repositories: RequestShare
    with_defaults: RequestShare
    with_rootfs_size: RequestShare
    rootfs_size_mb: Annotated[ValueDistribution, Field(description="Of the requests with a size.")]
    package_count: ValueDistribution


_CUBES: Final = (PATTERNS, BY_ROOTFS_SIZE, BY_PACKAGE_COUNT)
_WIDTHS: Final = tuple(step * 10**power for power in range(9) for step in (1, 2, 5))


def read(
    connection: Connection,
    window: Window,
    *,
    version: str | None = None,
    client: str | None = None,
) -> RequestPatterns:
    """Return what accepted requests in `window` contain, of one version and client if given."""
    patterns, sizes, counts = sums.cubes(connection, window, *_CUBES)
    # The keys of all three begin with version and client.
    where = {place: name for place, name in enumerate((version, client)) if name is not None}
    said = dict(zip(PATTERNS.adds, patterns.total(where), strict=True))
    requests: int = said["requests"]
    return {
        "period": sums.period(connection, window, []),
        "requests": requests,
        "with_custom_repositories": _share(requests, said, "custom_repos"),
        "with_defaults": _share(requests, said, "defaults"),
        "with_rootfs_size": _share(requests, said, "rootfs_size"),
        "rootfs_size_mb": _distribution(sizes, where),
        "package_count": _distribution(counts, where),
    }


def _share(requests: int, said: Mapping[str, int], feature: str) -> RequestShare:
    count, without = said[f"{feature}_true"], said[f"{feature}_false"]
    return {
        "count": count,
        "percentage": figures.rate(count, count + without),
        "unknown": requests - count - without,
    }


def _distribution(totals: Totals, where: Mapping[int, str]) -> ValueDistribution:
    """Return the distribution of the last part of the keys."""
    spread = totals.distribution(2, where)
    return {
        "requests": spread.count,
        "p50": spread.percentile(50),
        "p90": spread.percentile(90),
        "p99": spread.percentile(99),
        "max": spread.most,
        "histogram": [
            {
                "from": start,
                "to": end,
                "requests": n,
                "percentage": figures.rate(n, spread.count),
            }
            for start, end, n in bars(spread, _WIDTHS)
        ],
    }


REPORT: Final = Report(
    name="request-patterns",
    summary="Options of requests",
    send=lambda connection, query: sums.send_cubes(connection, query.window, *_CUBES),
    read=lambda connection, query: read(connection, query.window, **query.filters),
    response=RequestPatterns,
    parameters=(VERSION, CLIENT),
)
