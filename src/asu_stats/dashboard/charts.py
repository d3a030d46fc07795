"""Charts, declared as data: an API query, and its rows as a table.

The page contains the table. A script sends the query and draws the chart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from asu_stats.dashboard.tables import Column
from asu_stats.reports.decimals import FROM

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Series:
    """One field of a chart, as a line or bars. `colour` is an index of the palette."""

    field: str
    label: str
    colour: int
    unit: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. `kind` is lines, bars, stack or horizontal.

    With `split`, each value of that field is a series. `endpoint` is below `/api/v1/stats/`.
    """

    name: str
    title: str
    endpoint: str
    x: Column
    series: Sequence[Series]
    rows: Rows
    kind: str = "lines"
    parameters: Mapping[str, str] = field(default_factory=dict)
    path: str = ""  # the member of the response with the rows
    within: str = ""  # the list in each of these, if the rows are in there
    split: str = ""
    rest: str = ""  # label of the series whose value of `split` is null
    note: str = ""
    height: str = "usual"
    has_csv: bool = True
    is_future: bool = False

    @property
    def drawing(self) -> dict[str, Any]:
        """Return the data for the script."""
        return {
            "kind": self.kind,
            "x": self.x.field,
            "path": self.path,
            "within": self.within,
            "future": self.is_future,
            "split": self.split,
            "rest": self.rest,
            "decimals_from": FROM,
            "series": [
                {"field": s.field, "label": s.label, "colour": s.colour, "unit": s.unit}
                | ({"kind": s.kind} if s.kind else {})
                for s in self.series
            ],
        }

    @property
    def is_over_time(self) -> bool:
        """Return whether it shows what happened, by time."""
        return self.x.field in {"timestamp", "day"}

    @property
    def is_blank(self) -> bool:
        """Return whether there is nothing to draw: no rows, or only zeros and unknown values."""
        fields = [series.field for series in self.series[: 1 if self.split else None]]
        return not any(row[field] for row in self.rows for field in fields)

    @property
    def columns(self) -> list[Column]:
        """Return the columns of the table."""
        split = [Column(self.split, self.split.capitalize(), "text")] if self.split else []
        kinds = {"%": "rate", "s": "seconds"}
        figures = [Column(s.field, s.label, kinds.get(s.unit, "count")) for s in self.series]
        return [self.x, *split, *figures]


TOP_NAMES: Final = 10
TIMESTAMP: Final = Column("timestamp", "UTC", "name")
REQUESTS: Final = Series("requests", "Requests", 1)
CACHE_HITS: Final = Series("cache_hits", "Cache hits", 3)
FAILED: Final = Series("failed_builds", "Failed builds", 2)
BUILT: Final = Series("successful_builds", "Successful builds", 8)


def top_names(rows: Rows, endpoint: str, name: str, **filters: str) -> Chart:
    """Return the chart of the names with the most requests, of a list sorted by requests.

    `name` is the field with the names.
    """
    requests = "total_requests" if name == "client" else "requests"
    return Chart(
        "most-requested",
        f"Most requests, by {name}",
        endpoint,
        Column(name, name.capitalize(), "name"),
        (Series(requests, "Requests", 1), Series("failed_builds", "Failed builds", 2)),
        rows[:TOP_NAMES],
        kind="horizontal",
        parameters={"limit": str(TOP_NAMES), **filters},
    )


def over_time(
    rows: Rows,
    interval: str,
    *,
    name: str = "over-time",
    title: str = "Requests and failures",
    height: str = "usual",
    **filters: str,
) -> Chart:
    """Return the chart of requests over time, optionally filtered."""
    return Chart(
        name,
        title,
        "timeseries",
        TIMESTAMP,
        (REQUESTS, CACHE_HITS, FAILED),
        rows,
        parameters={"interval": interval, **filters},
        height=height,
    )
