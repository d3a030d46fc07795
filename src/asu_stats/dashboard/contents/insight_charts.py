"""The charts of the insight pages, made from their responses."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from asu_stats.dashboard.charts import Chart, Series
from asu_stats.dashboard.tables import Column

# Returns a chart of a response to a query with these parameters.
MakeChart = Callable[[Mapping[str, Any], Mapping[str, str]], Chart]

_VERSIONS: Final = 5


def adoption(found: Mapping[str, Any], parameters: Mapping[str, str]) -> Chart:
    """Return the shares of the most requested versions by days since their release."""
    shares = [
        {"version": of["version"], **share}
        for of in found["versions"][:_VERSIONS]
        for share in of["share_by_day"]
        if share["days_since_release"] is not None
    ]
    return Chart(
        "adoption-curves",
        "Share of requests by days since the release",
        "insights/adoption",
        Column("days_since_release", "Days since the release"),
        (Series("share", "Share of requests", 1, "%"),),
        sorted(shares, key=lambda row: row["days_since_release"]),
        parameters={"limit": str(_VERSIONS), **parameters},
        path="versions",
        within="share_by_day",
        split="version",
        has_csv=False,
    )


def forecast(found: Mapping[str, Any], parameters: Mapping[str, str]) -> Chart:
    """Return the requests of the next days with their 90% interval."""
    errors = found["backtest"]
    note = f"Method: {found['forecast_method']}. The interval contains a day with 90% probability."
    if errors["mase"] is not None:
        note += (
            f" Mean absolute scaled error in a backtest: {errors['mase']}; "
            f"of repeating last week: {errors['seasonal_naive_mase']}."
        )
    return Chart(
        "forecast",
        "Forecast of requests",
        "insights/capacity",
        Column("date", "Day", "name"),
        (
            Series("requests", "Requests", 1),
            Series("low", "Lower end of the interval", 3),
            Series("high", "Upper end", 3),
        ),
        found["forecast"],
        parameters=parameters,
        path="forecast",
        note=note,
        has_csv=False,
        is_future=True,
    )


def phases(found: Mapping[str, Any], parameters: Mapping[str, str]) -> Chart:
    """Return the median of each phase by day."""
    return Chart(
        "phases-over-time",
        "Median of each phase",
        "insights/phases",
        Column("day", "Day", "name"),
        (Series("p50_seconds", "Median", 1, "s"),),
        found["timeseries"],
        parameters={"limit": "20", **parameters},
        path="timeseries",
        split="phase",
        has_csv=False,
    )
