"""Responses of the endpoints of the upstream Python server."""

import operator
import re
from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import Annotated, Final, NotRequired

from pydantic import Field
from sqlalchemy import Connection, DateTime, bindparam, func, select
from typing_extensions import TypedDict

from asu_stats.legacy.names import fold
from asu_stats.reports import floor, latest_errors, sums
from asu_stats.reports.latest_errors import LatestError
from asu_stats.reports.packages import branch_of, most
from asu_stats.store.archive.archive import everything
from asu_stats.store.database import statements
from asu_stats.store.database.schema import build_metrics
from asu_stats.store.rollups.definitions import LEGACY
from asu_stats.times import naive
from asu_stats.windows import Window

DAYS: Final = 30
WEEKS: Final = 26
_HASH: Final = re.compile("[0-9a-f]{64}")
_MESSAGE: Final = 200


class Dataset(TypedDict):
    """One line of a chart. `color` is only in charts with fixed lines."""

    label: Annotated[str, Field(description="Name of the values.")]
    data: Annotated[list[float], Field(description="Values, one for each label.")]
    color: Annotated[NotRequired[str], Field(description="Color of the bars or the line.")]


class Chart(TypedDict):
    """Lines over days or weeks. Labels are the first UTC day of each."""

    labels: Annotated[list[str], Field(description="Names along the horizontal axis.")]
    datasets: list[Dataset]


class PackageCount(TypedDict):
    """Number of requests that named a package."""

    name: Annotated[str, Field(description="Name of the package.")]
    count: Annotated[int, Field(description="Requests that named the package.")]


class TopPackages(TypedDict):
    """The most requested packages."""

    packages: list[PackageCount]
    branch: Annotated[str | None, Field(description="The requested branch; null for all.")]
    days: Annotated[int, Field(description="Days that were counted.")]


def builds_per_day(connection: Connection, today: date) -> Chart:
    """Return requests (with rejected ones, like upstream), cache hits and failures of 30 days."""
    window = Window.last(DAYS, today=today)
    adds = ("total_requests", "rejected_requests", "cache_hits", "failed_builds")
    found = {day: amounts for day, *amounts in sums.days(connection, window, *adds)}
    days = [list(map(int, found.get(day, (0, 0, 0, 0)))) for day in window]

    def dataset(label: str, color: str, *places: int) -> Dataset:
        counts = (sum(amounts[place] for place in places) for amounts in days)
        return {"label": label, "data": [float(n) if n else 0 for n in counts], "color": color}

    return {
        "labels": [f"{day.isoformat()}Z" for day in window],
        "datasets": [
            dataset("Requests", "green", 0, 1),
            dataset("Cache-Hits", "orange", 2),
            dataset("Failures", "red", 3),
        ],
    }


def builds_by_version(connection: Connection, today: date, branch: str | None) -> Chart:
    """Return successful builds of 26 weeks, the last of which ends today.

    Without `branch` there is a line per branch, with it one per version that begins with it.
    """
    window = Window.last(7 * WEEKS, today=today)
    found: dict[str, list[float]] = defaultdict(lambda: [0.0] * WEEKS)
    names = floor.Visible(connection, window)
    for row in sums.rows(connection, LEGACY, ("date", "version"), window):
        name = names.shown("version", row.version)
        if branch is None:
            name = branch_of(name)
        elif not name.startswith(branch):
            continue
        if row.build_completed:
            found[name][(row.date - window.start).days // 7] += int(row.build_completed)
    lines = fold(found, sum, lambda one, other: list(map(operator.add, one, other)))
    starts = (window.start + timedelta(weeks=week) for week in range(WEEKS))
    return {
        "labels": [f"{start.isoformat()}Z" for start in starts],
        "datasets": [{"label": name, "data": lines[name]} for name in sorted(lines)],
    }


def top_packages(connection: Connection, today: date, branch: str | None, n: int) -> TopPackages:
    """Return at most `n` packages that were requested most in 30 days."""
    found = most(connection, Window.last(DAYS, today=today), branch or None, n)
    packages: list[PackageCount] = [{"name": name, "count": count} for name, count in found]
    return {"packages": packages, "branch": branch, "days": DAYS}


_BUILDS: Final = everything(build_metrics)
_SUCCESSFUL: Final = select(func.count()).where(
    _BUILDS.c.status == "success",
    _BUILDS.c.finished_at > bindparam("first", type_=DateTime),
    _BUILDS.c.finished_at <= bindparam("last", type_=DateTime),
)


def builds_24h(connection: Connection, now: datetime) -> int:
    """Return the successful builds of the last 24 hours, to the second."""
    window = {"first": naive(now) - timedelta(hours=24), "last": naive(now)}
    return int(statements.fetch(connection, _SUCCESSFUL, **window)[0][0])


def build_errors(connection: Connection, entries: int) -> str:
    """Return the latest failed builds as text, newest first."""
    found = latest_errors.read(connection, entries, builds_only=True)
    if not found:
        return "No build errors recorded."
    lines = [
        f"Build Errors: {len(found)} entries",
        f"Time range: {_time(found[-1].timestamp)} to {_time(found[0].timestamp)}",
        "",
        "Recent errors:",
        "-" * 60,
    ]
    names = (f"{_time(row.timestamp)} {row.version}:{row.target}:{row.profile}" for row in found)
    lines += [f"{name} {_message(row)}" for name, row in zip(names, found, strict=True)]
    return "\n".join(lines)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _message(row: LatestError) -> str:
    """Return an error text on one line, without request hashes, which open the image."""
    line = " ".join((row.error_message or row.error_type).split())
    if len(row.request_hash) > 12:  # not a hash of asu-stats
        line = line.replace(row.request_hash, "[job-id]")
    return _HASH.sub("[job-id]", line)[:_MESSAGE]
