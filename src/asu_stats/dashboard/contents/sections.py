"""The sections of the insight pages, declared as data: explanations, figures, charts and lists."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from asu_stats.dashboard.contents import insight_charts
from asu_stats.dashboard.contents.insight_charts import MakeChart
from asu_stats.dashboard.formats import duration_text
from asu_stats.dashboard.tables import Column
from asu_stats.reports.insights import cache, capacity, forecasts
from asu_stats.reports.parameters import Parameter


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a response: label, and path through the members of the response."""

    label: str
    path: tuple[str, ...]
    kind: str = "count"


@dataclass(frozen=True, slots=True)
class List:
    """A list of a response as a table. `hint` explains how to read it.

    With `within`, the rows are those of a list in each row of `member`, with the fields of both.
    """

    member: str
    title: str
    columns: tuple[Column, ...]
    empty: str
    hint: str = ""
    within: str = ""
    most: int = 0  # rows; 0: as usual


@dataclass(frozen=True, slots=True)
class Hours:
    """A list with a row per hour of the week as a heat map of one field, in `unit`."""

    member: str
    field: str
    title: str
    unit: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter of a report that readers can set: a number, or one of `values` with labels."""

    parameter: Parameter
    label: str
    values: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """One report: description, what to choose, figures, charts, a heat map and lists."""

    report: str
    title: str
    description: str
    lists: tuple[List, ...]
    figures: tuple[Figure, ...] = ()
    charts: tuple[MakeChart, ...] = ()
    hours: Hours | None = None
    choices: tuple[Choice, ...] = ()


_FAILURES: Final = Column("failures", "Failures", secondary=True)
_FIRST_SEEN: Final = Column("first_seen", "First seen", "text", secondary=True)
_LAST_SEEN: Final = Column("last_seen", "Last seen", "text", secondary=True)
_HIT: Final = Column("requests_hit", "Requests hit", hint="Distinct request hashes", secondary=True)
_DEVICES: Final = Column("devices", "Devices", secondary=True)
_DURATIONS: Final = (
    Column("builds", "Builds", "share"),
    Column("p50_seconds", "Median", "seconds"),
    Column("p95_seconds", "p95", "seconds"),
)

SECTIONS: Final[Mapping[str, tuple[Section, ...]]] = {
    "insights": (
        Section(
            "failures",
            "Why builds fail",
            "Failed builds and rejected requests by who can fix them: the user, the client "
            "program, the package maintainers, or the operator of the server.",
            (
                List(
                    "by_culprit",
                    "Who can fix it",
                    (
                        Column("culprit", "Culprit", "text"),
                        Column("failures", "Failures", "share"),
                        Column("percentage", "Share", "rate"),
                    ),
                    "Nothing failed in this time range.",
                    "A large share of unknown causes means that error rules are missing.",
                ),
                List(
                    "over_represented",
                    "What stands out",
                    (
                        Column("value", "Value", "name"),
                        Column("dimension", "Dimension", "text"),
                        _FAILURES,
                        Column("builds", "Builds", secondary=True),
                        Column("failure_rate", "Failure rate", "rate"),
                        Column("failure_rate_elsewhere", "Elsewhere", "rate"),
                        Column("p_value", "p-value", "text", secondary=True),
                    ),
                    "Nothing fails significantly more often than the rest.",
                    "These builds fail significantly more often than others. Failures that a row "
                    "explains are removed from the rows below it. Select a row for details.",
                ),
                List(
                    "groups",
                    "Groups of failures",
                    (
                        Column("type", "Error type", "name"),
                        Column("culprit", "Culprit", "text"),
                        Column("failures", "Failures", "share"),
                        _HIT,
                        _DEVICES,
                        Column("reason", "Why this culprit", "text", secondary=True),
                        _LAST_SEEN,
                    ),
                    "Nothing failed in this time range.",
                    "A group has the same error text, apart from names and numbers. Select a group "
                    "for its text.",
                ),
            ),
        ),
        Section(
            "packages",
            "Failing packages",
            "Packages that error texts name, by branch: a to-do list for package maintainers.",
            (
                List(
                    "packages",
                    "Packages",
                    (
                        Column("package", "Package", "name"),
                        Column("branch", "Branch", "text"),
                        Column("failures", "Failures", "share"),
                        _HIT,
                        _DEVICES,
                        Column("type", "Error type", "text", secondary=True),
                        _FIRST_SEEN,
                        _LAST_SEEN,
                        Column("failing_today", "Still failing", "text", secondary=True),
                    ),
                    "No error in this time range names a package.",
                ),
            ),
        ),
    ),
    "insights/regressions": (
        Section(
            "regressions",
            "What got worse, and since when",
            "Days on which the success rate dropped or builds became slower, of all builds or of "
            "the version, target, device or worker that explains it.",
            (
                List(
                    "regressions",
                    "Regressions",
                    (
                        Column("value", "Builds of", "name"),
                        Column("dimension", "Dimension", "words", secondary=True),
                        Column("measure", "Measure", "words"),
                        Column("since", "Since", "text", secondary=True),
                        Column("before", "Before", "measured"),
                        Column("after", "After", "measured"),
                        Column("recovered_on", "Recovered", "text"),
                        Column("fingerprint", "New error", "text", secondary=True),
                        Column("p_value", "p-value", "text", secondary=True),
                    ),
                    "Nothing got significantly worse.",
                ),
            ),
        ),
    ),
    "insights/queue": (
        Section(
            "queue",
            "The queue",
            "How long a request waits for its build to start, and who repeats failing requests.",
            (
                List(
                    "storms",
                    "Retry storms",
                    (
                        Column("request_hash", "Request", "text"),
                        Column("client", "Client", "text"),
                        Column("requests", "Requests", "share"),
                        Column("outcome", "Outcome", "text", secondary=True),
                        Column("since", "Since", "text"),
                    ),
                    "No client repeated a failing request many times.",
                    "Requests that failed or were rejected at least 10 times on a day.",
                ),
            ),
            (
                Figure("Moving", ("moving",), "text"),
                Figure("Waiting", ("waiting",)),
                Figure("Running", ("running",)),
                Figure("Expected wait", ("expected_wait_seconds",), "seconds"),
                Figure("Median wait", ("waited", "p50_seconds"), "seconds"),
                Figure("p95", ("waited", "p95_seconds"), "seconds"),
                Figure("Longest", ("waited", "max_seconds"), "seconds"),
            ),
            hours=Hours(
                "by_hour_of_week", "waited_p95_seconds", "p95 of the wait by hour of week", "s"
            ),
        ),
    ),
    "insights/cache": (
        Section(
            "cache",
            "The cache",
            "The effect of keeping images for longer or shorter, from the time between equal "
            "requests.",
            (
                List(
                    "what_if",
                    "Effect of the time to live",
                    (
                        Column("ttl_seconds", "Time to live", "seconds"),
                        Column("hit_rate", "Hit rate", "rate"),
                        Column("builds_saved", "Builds saved", "share"),
                        Column("build_hours_saved", "Build hours saved", "hours"),
                    ),
                    "No requests in this time range.",
                    "Compared with no cache at all.",
                ),
                List(
                    "worth_keeping",
                    "Most worth keeping",
                    (
                        Column("profile", "Profile", "name"),
                        Column("version", "Version", "text"),
                        Column("target", "Target", "text", secondary=True),
                        Column("requests", "Requests", "share"),
                        Column("build_seconds", "Build time", "seconds", secondary=True),
                    ),
                    "No image was requested twice.",
                ),
            ),
            (
                Figure("Hit rate", ("now", "hit_rate"), "rate"),
                Figure("Hits", ("now", "hits")),
                Figure("Builds", ("now", "builds")),
            ),
        ),
    ),
    "insights/adoption": (
        Section(
            "adoption",
            "Adoption of versions",
            "How fast releases replace each other, and how many requests still name branches that "
            "have reached their end of life.",
            (
                List(
                    "versions",
                    "Versions",
                    (
                        Column("version", "Version", "name"),
                        Column("released_on", "Released", "text"),
                        Column("days_since_release", "Days since", secondary=True),
                        Column("share", "Share of requests", "rate"),
                    ),
                    "No requests in this time range.",
                ),
            ),
            (Figure("Share of end-of-life branches", ("end_of_life_share",), "rate"),),
            (insight_charts.adoption,),
        ),
        Section(
            "warmup",
            "Images to build first",
            "After a release, these images are likely to be requested.",
            (
                List(
                    "images",
                    "Images",
                    (
                        Column("profile", "Profile", "name"),
                        Column("target", "Target", "text", secondary=True),
                        Column("packages_digest", "Package list", "text", secondary=True),
                        Column("expected_requests", "Expected requests", "plain"),
                    ),
                    "Not enough requests with package lists.",
                ),
                List(
                    "backtest",
                    "At earlier releases",
                    (
                        Column("version", "Version", "name"),
                        Column("hit_rate", "Requests for listed images", "rate"),
                    ),
                    "No earlier release to compare with.",
                ),
            ),
        ),
    ),
    "insights/capacity": (
        Section(
            "capacity",
            "Capacity",
            "How busy the workers are, how many are needed, and what the next four weeks "
            "will bring.",
            (
                List(
                    "forecast",
                    "Forecast",
                    (
                        Column("date", "Day", "name"),
                        Column("requests", "Requests", "plain"),
                        Column("low", "At least", "plain", secondary=True),
                        Column("high", "At most", "plain", secondary=True),
                        Column("build_hours", "Build hours", "hours"),
                    ),
                    "A forecast needs more days of requests.",
                    most=forecasts.HORIZON,
                ),
            ),
            (
                Figure("Workers", ("workers",)),
                Figure("Utilisation", ("utilisation",), "rate"),
                Figure("Mean wait", ("wait", "mean_seconds"), "seconds"),
                Figure("p95 wait", ("wait", "p95_seconds"), "seconds"),
                Figure("Workers needed", ("workers_needed",)),
                Figure("Mean build time", ("service_seconds", "mean"), "seconds"),
            ),
            (insight_charts.forecast,),
            Hours("arrivals_by_hour_of_week", "requests", "Requests by hour of week", "requests"),
            (
                Choice(capacity.WORKERS, "Workers"),
                Choice(capacity.GROWTH, "More requests, %"),
                Choice(
                    capacity.TTL,
                    "Images are kept for",
                    tuple((seconds, duration_text(seconds)) for seconds in cache.TTLS),
                ),
                Choice(capacity.TARGET_WAIT, "Target for the p95 wait, s"),
            ),
        ),
    ),
    "insights/phases": (
        Section(
            "phases",
            "Phases of builds",
            "Where builds spend their time: a slow network shows in one phase, a slow disk in "
            "another.",
            (
                List(
                    "phases",
                    "Phases",
                    (
                        Column("phase", "Phase", "name"),
                        *_DURATIONS,
                    ),
                    "No build in this time range reported its phases.",
                ),
                List(
                    "phases",
                    "By worker",
                    (
                        Column("phase", "Phase", "name"),
                        Column("worker", "Worker", "text"),
                        *_DURATIONS,
                    ),
                    "No build in this time range reported its phases.",
                    "Of each phase, the workers with the most builds.",
                    within="by_worker",
                ),
                List(
                    "phases",
                    "By version",
                    (
                        Column("phase", "Phase", "name"),
                        Column("version", "Version", "text"),
                        *_DURATIONS,
                    ),
                    "No build in this time range reported its phases.",
                    "Of each phase, the versions with the most builds.",
                    within="by_version",
                ),
            ),
            charts=(insight_charts.phases,),
        ),
    ),
}
