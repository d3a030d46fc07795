"""The overview of a time range."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from asu_stats.dashboard import charts, drawing
from asu_stats.dashboard.charts import Rows
from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.view import View
from asu_stats.reports import (
    clients,
    comparison,
    decimals,
    duration_timeseries,
    errors,
    overview,
    profiles,
    sums,
    targets,
    timeseries,
    versions,
)
from asu_stats.reports.comparison import Compared
from asu_stats.reports.listing import Page
from asu_stats.windows import Window

TOP: Final = 6
_NOTABLE_PERCENT: Final = 10.0

# Figure of the comparison, label, whether higher is better (`None`: neither), sparkline field.
_TILES: Final = (
    ("requests", "Requests", None, "requests"),
    ("unique_requests", "Unique requests", None, "unique_requests"),
    ("cache_hit_rate", "Cache hit rate", True, "cache_hit_rate"),
    ("success_rate", "Success rate", True, "success_rate"),
    ("median_duration_seconds", "Median build time", False, "median_seconds"),
    ("p95_duration_seconds", "p95 build time", False, "p95_seconds"),
    ("unique_clients", "Clients", None, "unique_clients"),
)


_CUBES: Final = (
    *overview.CUBES,
    *versions.CUBES,
    *targets.CUBES,
    *profiles.CUBES,
    *clients.CUBES,
    *errors.CUBES,
)


def send(db: Connection, view: View) -> None:
    """Ask for what `read` needs first, and do not wait for it."""
    earlier = comparison.whole_days(view.window, view.now)
    first = earlier.start if earlier else view.window.start
    sums.send_changes(db, Window(first, view.window.end))
    timeseries.send(db, view.window, view.interval)
    for window in (view.window, earlier):
        if window is not None:
            sums.send_days(db, window, *overview.SUMS)


def read(db: Connection, view: View) -> Content:
    """Return totals compared with the previous time range, requests over time, and top lists.

    Several reports need the same cubes, so all are asked for together first.
    """
    sums.send_cubes(db, view.window, *_CUBES)
    if earlier := comparison.whole_days(view.window, view.now):
        sums.send_cubes(db, earlier, *overview.CUBES)
    if view.day_interval == "day":
        sums.send_cubes(db, view.window, *duration_timeseries.CUBES, interval="day")
    series: Rows = timeseries.read(db, view.window, interval=view.interval, filters={})
    durations: Rows = duration_timeseries.read(db, view.window, interval=view.day_interval)
    figures = overview.read(db, view.window)
    compared = comparison.read(db, view.window, view.now, figures)
    found = {row["figure"]: row for row in compared}
    return {
        "figures": figures,
        "gaps": figures["period"]["incomplete"],
        "tiles": [
            {
                "label": label,
                "better": better,
                "lines": drawing.sparkline(
                    _line(view, durations if "seconds" in field else series, field),
                    from_zero="rate" not in field,
                ),
                "notable": _is_notable(found[name]),
                "sample": _smaller_sample(found, name, figures["totals"]),
                **found[name],
            }
            for name, label, better, field in _TILES
        ],
        "chart": charts.over_time(series, view.interval, height="tall"),
        "tops": (
            _top(view, "versions", "version", "targets", versions.read(db, view.window)),
            _top(view, "targets", "target", "profiles", targets.read(db, view.window)),
            _top(view, "profiles", "profile", "profiles", profiles.read(db, view.window)),
            _top(view, "clients", "client", "clients", clients.read(db, view.window)),
        ),
        "failures": errors.read(db, view.window, Page(TOP)),
    }


def _line(view: View, rows: Rows, field: str) -> list[float | None]:
    """Return the values of the buckets that have started; `None` before the first data."""
    started = [row for row in rows if view.has_begun(row["timestamp"])]
    counted = view.counted([row["timestamp"] for row in started])
    return [
        row.get(field) if is_counted else None
        for row, is_counted in zip(started, counted, strict=True)
    ]


def _smaller_sample(found: Mapping[str, Compared], name: str, totals: Mapping[str, Any]) -> int:
    """Return the smaller of the samples of a figure now and before, for the decimals of its change.

    The sample of a count is the count. A comparison does not have the builds before: they are the
    failed builds divided by their share, and without any at most the requests.
    """
    row, requests = found[name], found["requests"]["before"] or 0
    if row["unit"] == "count":
        return int(min(row["value"] or 0, row["before"] or 0))
    if name == "cache_hit_rate":
        return min(int(totals["requests"]), int(requests))
    failed, success = found["failed_builds"]["before"], found["success_rate"]["before"]
    share = {"count": failed, "percentage": None if success is None else round(100 - success, 2)}
    before = decimals.sample_of(share, "percentage") or int(requests)
    return min(decimals.sample_of(totals, "success_rate"), before)


def _is_notable(row: Compared) -> bool:
    """Return whether to colour a change: if it is significant, or a duration changed by 10%."""
    if row["unit"] == "seconds":
        return abs(row["change"] or 0) >= _NOTABLE_PERCENT
    return bool(row["significant"])


def _top(
    view: View, page: str, name: str, below: str, rows: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Return the names with the most requests, each with a link to its page."""
    count = "total_requests" if page == "clients" else "requests"
    requested = bisect_left(rows, 0, key=lambda row: -row[count])  # rows are sorted
    return {
        "title": page.capitalize(),
        "page": page,
        "total": requested,
        "most": rows[0][count] if requested else 0,
        "rows": [
            {
                "name": row[name],
                "requests": row[count],
                "link": view.link(below, **{name: row[name]}),
            }
            for row in rows[: min(requested, TOP)]
        ],
    }
