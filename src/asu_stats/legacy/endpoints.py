"""The legacy endpoints as data: path, parameters, response and replacement."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import Connection
from typing_extensions import TypedDict

from asu_stats.legacy import go_server, upstream_server
from asu_stats.reports.parameters import Parameter
from asu_stats.settings import LegacyShape
from asu_stats.windows import FIRST_DAY, Window

PREFIX: Final = "/api/v1"
GUIDE: Final = "/docs/migration"
_MAX_ENTRIES: Final = 5000
_MAX_PLACES: Final = 100
_SIXTY_FOUR_BITS: Final = 2**63

# What the Go server reads as a number: leading spaces, and text after the number, are ignored.
_NUMBER: Final = re.compile(r"[ \t]*([+-]?)0*([0-9]+)", re.ASCII)

# Returns the response, from a connection, the current day, and each parameter as it was sent.
Read = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A legacy endpoint. `read` computes its response."""

    name: str
    summary: str
    description: str
    successor: str | None
    response: Any
    example: Any
    read: Read
    parameters: tuple[Parameter, ...] = ()

    @property
    def path(self) -> str:
        """Path of the endpoint."""
        return f"{PREFIX}/{self.name}"


def number_in(text: str | None, default: int) -> int:
    """Return the number at the beginning of `text`, as the Go server reads it, else the default."""
    found = _NUMBER.match(text or "")
    if found is None or len(found[2]) > 19 or int(found[2]) >= _SIXTY_FOUR_BITS:
        return default
    return int(found[1] + found[2])


def window_of(days: int, today: date) -> Window:
    """Return the `days` days that end today, at most back to 1970; none for 0 or less."""
    most = (today - FIRST_DAY).days + 1
    return Window.last(max(0, min(days, most)), today=today)


def _number(name: str, default: int, meaning: str) -> Parameter:
    description = f"{meaning} Anything that is not a number means the default."
    return Parameter(name, description, {"type": "string", "default": str(default)})


_DAYS: Final = _number("days", 30, "Number of UTC days, including today.")
_WEEKS: Final = _number("weeks", 26, "Number of weeks of UTC days, including today.")
_ENTRIES: Final = _number("n", 100, f"Maximum number of entries, at most {_MAX_ENTRIES}.")
_BRANCH: Final = Parameter("branch", "Only versions that begin with this text.", {"type": "string"})

_OF_BRANCH: Final = Parameter("branch", "Only versions of this branch.", {"type": "string"})
_PLACES: Final = _number("n", 30, f"Maximum number of packages, at most {_MAX_PLACES}.")

_WindowRead = Callable[[Connection, Window], Any]


def _of_days(read: _WindowRead) -> Read:
    return lambda db, today, days: read(db, window_of(number_in(days, 30), today))


def _of_weeks(read: _WindowRead) -> Read:
    return lambda db, today, weeks: read(db, window_of(7 * number_in(weeks, 26), today))


def _errors(db: Connection, _: date, n: str | None) -> str:
    entries = number_in(n, 100)
    return upstream_server.build_errors(db, min(entries, _MAX_ENTRIES) if entries > 0 else 100)


def _top_packages(db: Connection, today: date, branch: str | None, n: str | None) -> Any:
    places = max(0, min(number_in(n, 30), _MAX_PLACES))
    return upstream_server.top_packages(db, today, branch, places)


def _nothing(*_: object) -> None:
    """Stand in for an endpoint that `legacy.api` computes itself."""


_KINDS: Final = {"build_completed": 4, "cache_hit": 2, "failure": 1, "request": 5}
_TIMESERIES: Final = "/api/v1/stats/timeseries?interval=day"
_VERSIONS: Final = "/api/v1/stats/versions"
_DIFF: Final = "/api/v1/stats/diff-packages"
_EVENTS: Final = (
    "`request` counts newly queued builds, `cache_hit` requests whose image existed, "
    "`build_completed` and `failure` the ends of builds. Kinds without events are left out."
)
_SPLIT: Final = (
    "Queued builds and successful builds together, as before: most builds count twice. If "
    "diff_packages is unknown, a build counts in the total only."
)

_DIFF_PACKAGES: Final = (
    Endpoint(
        "diff-packages-stats",
        "Builds by diff_packages",
        _SPLIT,
        _DIFF,
        go_server.DiffPackages,
        {
            "total_builds": 10,
            "diff_packages_true": 7,
            "diff_packages_false": 2,
            "percentage_true": 70,
            "percentage_false": 20,
        },
        _of_days(go_server.diff_packages),
        (_DAYS,),
    ),
    Endpoint(
        "diff-packages-by-version",
        "Builds by version and diff_packages",
        f"{_SPLIT} Versions descend as text; `null` without data.",
        _DIFF,
        list[go_server.VersionDiffPackages] | None,
        [
            {
                "version": "24.10.4",
                "total_builds": 10,
                "diff_packages_true": 7,
                "diff_packages_false": 2,
                "percentage_true": 70,
            }
        ],
        _of_weeks(go_server.diff_packages_by_version),
        (_WEEKS,),
    ),
    Endpoint(
        "diff-packages-trend",
        "Builds by day and diff_packages",
        f"{_SPLIT} Newest day first; `null` without data.",
        _DIFF,
        list[go_server.DayDiffPackages] | None,
        [
            {
                "date": "2026-01-04",
                "diff_packages_true": 7,
                "diff_packages_false": 2,
                "total": 10,
            }
        ],
        _of_days(go_server.diff_packages_trend),
        (_DAYS,),
    ),
)

_GO: Final = (
    Endpoint(
        "builds-per-day",
        "Events by day",
        _EVENTS,
        _TIMESERIES,
        dict[str, go_server.Kinds],
        {"2026-01-04": _KINDS},
        _of_days(go_server.builds_per_day),
        (_DAYS,),
    ),
    Endpoint(
        "builds-by-version",
        "Events by version",
        f"{_EVENTS} Builds of an unknown version are left out.",
        _VERSIONS,
        dict[str, go_server.Kinds],
        {"24.10.4": _KINDS},
        _of_weeks(go_server.builds_by_version),
        (_WEEKS,),
    ),
    *_DIFF_PACKAGES,
)


class Summary(TypedDict):
    """Waiting builds, and successful builds of the last 24 hours."""

    queue_length: Annotated[int, Field(description="Builds that wait for a worker.")]
    builds_24h: Annotated[int, Field(description="Builds of the last 24 hours.")]


_UPSTREAM: Final = (
    Endpoint(
        "stats/summary",
        "Waiting builds, and those of the last 24 hours",
        "Successful builds of the current hour and the 23 hours before it.",
        "/api/v1/stats/overview?days=1",
        Summary,
        {"queue_length": 3, "builds_24h": 120},
        _nothing,
    ),
    Endpoint(
        "builds-per-day",
        "Requests, cache hits and failed builds of 30 days",
        "Requests include rejected requests.",
        _TIMESERIES,
        upstream_server.Chart,
        {
            "labels": ["2026-01-03Z", "2026-01-04Z"],
            "datasets": [
                {"label": "Requests", "data": [0, 5.0], "color": "green"},
                {"label": "Cache-Hits", "data": [0, 2.0], "color": "orange"},
                {"label": "Failures", "data": [0, 1.0], "color": "red"},
            ],
        },
        upstream_server.builds_per_day,
    ),
    Endpoint(
        "builds-by-version",
        "Successful builds of 26 weeks by branch or version",
        "A week is seven UTC days; the last week ends today.",
        _VERSIONS,
        upstream_server.Chart,
        {"labels": ["2025-12-29Z"], "datasets": [{"label": "24.10", "data": [4.0]}]},
        upstream_server.builds_by_version,
        (_BRANCH,),
    ),
    Endpoint(
        "top-packages",
        "Most requested packages",
        "Requests of 30 days that named a package, without cache hits.",
        "/api/v1/stats/packages",
        upstream_server.TopPackages,
        {"packages": [{"name": "luci", "count": 3}], "branch": None, "days": 30},
        _top_packages,
        (_OF_BRANCH, _PLACES),
    ),
    Endpoint(
        "build-errors",
        "Failed builds as text",
        "One line per build, newest first. `[job-id]` replaces request hashes.",
        "/api/v1/stats/errors",
        str,
        "No build errors recorded.",
        _errors,
        (_ENTRIES,),
    ),
    *_DIFF_PACKAGES,
)


def endpoints(shape: LegacyShape) -> tuple[Endpoint, ...]:
    """Return the legacy endpoints, in the response format of one of the older servers."""
    return _GO if shape == "go" else _UPSTREAM
