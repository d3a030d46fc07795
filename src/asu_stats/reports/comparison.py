"""Figures of the overview, next to those of the time range before."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.chance import fisher
from asu_stats.cloudevents import format_time
from asu_stats.reports import figures, overview, rolling, sums
from asu_stats.reports.overview import Overview
from asu_stats.reports.report import Query, Report
from asu_stats.reports.tally import Tally
from asu_stats.store.archive import segments
from asu_stats.store.database.schema import build_metrics, client_stats
from asu_stats.times import aware, midnight
from asu_stats.windows import Window


class Compared(TypedDict):
    """A figure of the overview, and the same figure of the time range before."""

    figure: Annotated[str, Field(description="Name of the figure, as in the overview.")]
    unit: Annotated[str, Field(description="`count`, `percent` or `seconds`.")]
    value: Annotated[
        float | None, Field(description="The figure in this time range; null if unknown.")
    ]
    before: Annotated[
        float | None,
        Field(description="The same number of days earlier; null if unknown or without data."),
    ]
    before_unknown: Annotated[
        str | None, Field(description="Why the earlier figures are unknown, else null.")
    ]
    change: Annotated[
        float | None,
        Field(description="In percent, 2 decimals; of a figure in percent, in points."),
    ]
    significant: Annotated[
        bool | None,
        Field(
            description="Whether chance alone changes a figure in percent so much in less than 1% "
            "of cases (Fisher's exact test, two-sided); null for other figures, and if unknown."
        ),
    ]
    compared_until: Annotated[
        str | None,
        Field(
            description="End of the earlier time range if this one includes today: the same time "
            "of day. Else null."
        ),
    ]


_DAY: Final = timedelta(days=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_DETAILS: Final = (build_metrics, client_stats)
# Part and rest of each figure in percent.
_SPLITS: Final[Mapping[str, Callable[[Overview], tuple[int, int]]]] = {
    "cache_hit_rate": lambda of: (
        of["totals"]["cache_hits"],
        of["totals"]["requests"] - of["totals"]["cache_hits"],
    ),
    "success_rate": lambda of: (
        of["totals"]["successful_builds"],
        of["totals"]["failed_builds"],
    ),
    "diff_packages_rate": lambda of: (
        of["diff_packages"]["enabled"],
        of["diff_packages"]["disabled"],
    ),
}
_CHANCE: Final = 0.01
_FIGURES: Final[tuple[tuple[str, str, Callable[[Overview], float | None]], ...]] = (
    ("requests", "count", lambda of: of["totals"]["requests"]),
    ("unique_requests", "count", lambda of: of["totals"]["unique_requests"]),
    ("cache_hit_rate", "percent", lambda of: of["totals"]["cache_hit_rate"]),
    ("success_rate", "percent", lambda of: of["totals"]["success_rate"]),
    ("failed_builds", "count", lambda of: of["totals"]["failed_builds"]),
    ("rejected_requests", "count", lambda of: of["totals"]["rejected_requests"]),
    (
        "median_duration_seconds",
        "seconds",
        lambda of: of["build_performance"]["median_duration_seconds"],
    ),
    ("p95_duration_seconds", "seconds", lambda of: of["build_performance"]["p95_duration_seconds"]),
    ("unique_clients", "count", lambda of: of["clients"]["total_unique"]),
    ("diff_packages_rate", "percent", lambda of: of["diff_packages"]["percentage_enabled"]),
)


def read(
    connection: Connection,
    window: Window,
    now: datetime | None = None,
    shown: Overview | None = None,
) -> list[Compared]:
    """Return the figures of `window`, and of the same number of days before it.

    If `now` (UTC) lies in `window`, the earlier days count up to the same time of day. Earlier
    figures are `None` unless data goes back to the first of those days. With a time of day, the
    details of that last day must still be in tables. `shown` is the overview of `window`, if it was
    read already.
    """
    shown = shown or overview.read(connection, window)
    earlier, since = window.before(), shown["period"]["data_since"]
    until = compared_until(window, now)
    unknown = _unknown(connection, earlier, since, until)
    before = None
    if earlier and not unknown:
        found = _up_to(connection, earlier, until) if until else overview.tally(connection, earlier)
        before = overview.response(shown["period"], found)
    rows: list[Compared] = []
    for name, unit, figure in _FIGURES:
        value, value_before = figure(shown), figure(before) if before else None
        rows.append(
            {
                "figure": name,
                "unit": unit,
                "value": value,
                "before": value_before,
                "before_unknown": unknown,
                "change": _change(unit, value, value_before),
                "significant": _is_significant(name, shown, before),
                "compared_until": format_time(until) if until else None,
            }
        )
    return rows


def _unknown(
    connection: Connection, earlier: Window | None, since: str | None, until: datetime | None
) -> str | None:
    """Return why the figures of `earlier` are unknown, `None` if they are known."""
    if earlier is None or since is None:
        return "nothing was recorded"
    if earlier.start < date.fromisoformat(since):
        return f"the previous time range starts on {earlier.start}, and data on {since}"
    if until:
        first = midnight(until.date())
        if segments.any_between(connection, _DETAILS, first, first + _DAY):
            return (
                f"the previous time range ends on {until.date()} at a time of day, and the detail "
                "rows of that day are in archive files; choose a time range without today"
            )
    return None


def whole_days(window: Window, now: datetime | None) -> Window | None:
    """Return the earlier days that count whole, `None` if there are none."""
    earlier, until = window.before(), compared_until(window, now)
    if earlier is None or until is None:
        return earlier
    return Window(earlier.start, until.date() - _DAY) if earlier.start < until.date() else None


def compared_until(window: Window, now: datetime | None) -> datetime | None:
    """Return the time up to which the earlier days count; `None` if they count whole."""
    if now is None or not window.start <= now.date() <= window.end or not window.before():
        return None
    return now.replace(microsecond=0) - timedelta(days=window.days)


def _up_to(connection: Connection, window: Window, last: datetime) -> Tally:
    """Return the tally of `window` up to and including the time `last`.

    Whole days are read from rollups, the last day from details.
    """
    just_before = aware(midnight(last.date())) - _MICROSECOND
    if window.start == last.date():
        return rolling.tally(connection, just_before, last)
    days = Window(window.start, last.date() - _DAY)
    return overview.tally(connection, days).plus(rolling.tally(connection, just_before, last, days))


def _change(unit: str, value: float | None, before: float | None) -> float | None:
    if value is None or before is None:
        return None
    difference = figures.points if unit == "percent" else figures.growth
    return difference(value, before)


def _is_significant(name: str, shown: Overview, before: Overview | None) -> bool | None:
    if before is None or name not in _SPLITS:
        return None
    (part, rest), (part_before, rest_before) = map(_SPLITS[name], (shown, before))
    if not part + rest or not part_before + rest_before:
        return None
    now, then = (part, part + rest), (part_before, part_before + rest_before)
    return 2 * min(fisher(*now, *then), fisher(*then, *now)) < _CHANCE


def _days(query: Query) -> Window:
    earlier = query.window.before() or query.window
    return Window(earlier.start, query.window.end)


def _send(connection: Connection, query: Query) -> None:
    window, now = query.window, query.now
    overview.send(connection, window)
    earlier, since = window.before(), sums.first_day(connection)
    if earlier is None or since is None or earlier.start < since:
        return
    if until := compared_until(window, now):
        first = midnight(until.date())
        segments.send_any_between(connection, _DETAILS, first, first + _DAY)
        rolling.send(connection, aware(first) - _MICROSECOND, until, whole_days(window, now))
    if days := whole_days(window, now):
        overview.send(connection, days)


REPORT: Final = Report(
    name="comparison",
    summary="Overview compared with the time range before",
    days=_days,
    send=_send,
    read=lambda connection, query: read(connection, query.window, query.now),
    response=list[Compared],
    default_days=7,
    row=Compared,
    uses_clock=lambda query: query.window.start <= query.today <= query.window.end,
)
