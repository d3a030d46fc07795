"""The pages of insights: the reports under `insights/`, with explanations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.tables import Column
from asu_stats.dashboard.view import FILTERS, TOPICS, View
from asu_stats.reports import decimals
from asu_stats.reports.endpoints import REPORTS
from asu_stats.reports.listing import Page
from asu_stats.reports.report import Query, Report

ROWS: Final = 20
_REPORTS: Final = {report.name.removeprefix("insights/"): report for report in REPORTS}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a response: label, and path through the members of the response."""

    label: str
    path: tuple[str, ...]
    kind: str = "count"


@dataclass(frozen=True, slots=True)
class List:
    """A list of a response as a table. `hint` explains how to read it."""

    member: str
    title: str
    columns: tuple[Column, ...]
    empty: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One report: description, figures and lists."""

    report: str
    title: str
    description: str
    lists: tuple[List, ...]
    figures: tuple[Figure, ...] = ()


_FAILURES: Final = Column("failures", "Failures", secondary=True)
_FIRST_SEEN: Final = Column("first_seen", "First seen", "text", secondary=True)
_LAST_SEEN: Final = Column("last_seen", "Last seen", "text", secondary=True)
_HIT: Final = Column("requests_hit", "Requests hit", hint="Distinct request hashes", secondary=True)
_DEVICES: Final = Column("devices", "Devices", secondary=True)

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
                        Column("p_value", "Chance", "text", secondary=True),
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
                    "Changes",
                    (
                        Column("value", "Builds of", "name"),
                        Column("dimension", "Dimension", "words", secondary=True),
                        Column("measure", "Measure", "words"),
                        Column("since", "Since", "text", secondary=True),
                        Column("before", "Before", "measured"),
                        Column("after", "After", "measured"),
                        Column("recovered_on", "Recovered", "text"),
                        Column("fingerprint", "New error", "text", secondary=True),
                        Column("p_value", "Chance", "text", secondary=True),
                    ),
                    "Nothing changed significantly.",
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
                        Column("build_hours_saved", "Build hours saved", "plain"),
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
                        Column("build_hours", "Build hours", "plain"),
                    ),
                    "A forecast needs more days of requests.",
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
                        Column("builds", "Builds", "share"),
                        Column("p50_seconds", "Median", "seconds"),
                        Column("p95_seconds", "p95", "seconds"),
                    ),
                    "No build in this time range reported its phases.",
                ),
            ),
        ),
    ),
}


def reader(queues: CombinedQueue) -> Callable[[Connection, View], Content]:
    """Return a function that reads the sections of a page."""

    def read(db: Connection, view: View) -> Content:
        sections = [_read(db, view, queues, section) for section in SECTIONS[view.page]]
        return {"topics": TOPICS, "sections": sections}

    return read


def _read(db: Connection, view: View, queues: CombinedQueue, section: Section) -> Content:
    report = _REPORTS[section.report]
    filters = _filters(view, report)
    if len(filters) < len(view.filters):
        return {"name": section.report, "title": section.title, "unfiltered": True}
    query = Query(
        window=view.window,
        today=view.today,
        filters={
            parameter.name: parameter.schema["default"]
            for parameter in report.parameters
            if "default" in parameter.schema
        }
        | filters,
        page=Page(ROWS),
        now=view.now,
        queues=queues,
    )
    found = report.answer(db, query)
    basis = found["basis"]
    return {
        "name": section.report,
        "title": section.title,
        "unfiltered": False,
        "description": section.description,
        "basis": basis,
        "filters": filters,
        "figures": [
            (figure.label, figure.kind, _value_at(found, figure.path), _sample(found, figure))
            for figure in section.figures
        ],
        "lists": [_list(view, shown, found[shown.member]) for shown in section.lists],
    }


def filters_of(page: str) -> tuple[str, ...]:
    """Return the filters that any section of a page accepts."""
    reports = [_REPORTS[section.report] for section in SECTIONS.get(page, ())]
    accepted = {parameter.name for report in reports for parameter in report.parameters}
    return tuple(name for name in FILTERS if name in accepted)


def _filters(view: View, report: Report) -> dict[str, str]:
    """Return the filters of the view that a report accepts."""
    accepted = {parameter.name for parameter in report.parameters}
    return view.only(*(name for name in FILTERS if name in accepted))


def _sample(found: Mapping[str, Any], figure: Figure) -> int:
    """Return the sample of a rate; 0 for other figures."""
    *path, field = figure.path
    if figure.kind != "rate":
        return 0
    return decimals.sample_of(_value_at(found, path) or {}, field, found["basis"])


def _value_at(found: Any, path: Sequence[str]) -> Any:
    for name in path:
        found = None if found is None else found[name]
    return ("yes" if found else "no") if isinstance(found, bool) else found


def _list(view: View, shown: List, rows: Sequence[Mapping[str, Any]]) -> Content:
    rows = [_row(row) for row in rows[:ROWS]]
    first, *rest = shown.columns
    if shown.member == "over_represented":
        first = Column(first.field, first.label, first.kind, lambda row: _filter_link(view, row))
    if shown.member == "groups":
        first = Column(first.field, first.label, first.kind, lambda row: _text_link(view, row))
    return {
        "member": shown.member,
        "title": shown.title,
        "hint": shown.hint,
        "empty": shown.empty,
        "columns": (first, *rest),
        "rows": rows,
        "most": {
            column.field: max((row[column.field] or 0 for row in rows), default=0)
            for column in shown.columns
            if column.kind == "share"
        },
    }


def _filter_link(view: View, row: Mapping[str, Any]) -> str:
    """Return a link to this page filtered by the value of a row, if there is such a filter."""
    dimension = row["dimension"]
    return view.same(**{dimension: row["value"]}) if dimension in FILTERS else view.same()


def _text_link(view: View, row: Mapping[str, Any]) -> str:
    """Return a link to the errors with the text of a group."""
    if row["fingerprint"]:
        return view.link("errors", fingerprint=row["fingerprint"])
    return view.link("errors", category=row["category"], type=row["type"])


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as it is displayed: p-values as text, booleans as yes or no."""
    shown = {
        name: ("yes" if value else "no") if isinstance(value, bool) else value
        for name, value in row.items()
    }
    if isinstance(p_value := row.get("p_value"), float):
        shown["p_value"] = "less than 1 in 10,000" if p_value < 1e-4 else f"{p_value:.4f}"
    return shown
