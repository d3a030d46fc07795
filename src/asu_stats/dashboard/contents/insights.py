"""The pages of insights: the reports under `insights/`, with explanations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.dashboard.contents import heat
from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.contents.sections import SECTIONS, Choice, Figure, Hours, List, Section
from asu_stats.dashboard.tables import Column
from asu_stats.dashboard.view import FILTERS, TOPICS, View
from asu_stats.exceptions import TooManyNamesError
from asu_stats.reports import decimals
from asu_stats.reports.endpoints import REPORTS
from asu_stats.reports.listing import Page
from asu_stats.reports.report import Query, Report

ROWS: Final = 20
_LEAST_WITHIN: Final = 3  # rows of each inner list
_REPORTS: Final = {report.name.removeprefix("insights/"): report for report in REPORTS}


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
        return {"name": section.report, "title": section.title, "missing": "filters"}
    chosen = {
        name: choice.parameter.read(view.choices[name])
        for choice in section.choices
        if (name := choice.parameter.name) in view.choices
    }
    query = Query(
        window=view.window,
        today=view.today,
        filters={
            parameter.name: parameter.schema["default"]
            for parameter in report.parameters
            if "default" in parameter.schema
        }
        | filters
        | chosen,
        page=Page(ROWS),
        now=view.now,
        queues=queues,
    )
    try:
        found = report.answer(db, query)
    except TooManyNamesError as error:
        return {"name": section.report, "title": section.title, "missing": "names", "why": error}
    basis = found["basis"]
    filters |= view.choices if chosen else {}
    return {
        "name": section.report,
        "title": section.title,
        "missing": None,
        "description": section.description,
        "basis": basis,
        "filters": filters,
        "figures": [
            (figure.label, figure.kind, _value_at(found, figure.path), _sample(found, figure))
            for figure in section.figures
        ],
        "choices": [_choice(view, choice) for choice in section.choices],
        "charts": [make(found, filters) for make in section.charts],
        "heat": section.hours and _heat(view, section, section.hours, found, filters),
        "lists": [_list(view, shown, found[shown.member]) for shown in section.lists],
    }


def filters_of(page: str) -> tuple[str, ...]:
    """Return the filters that any section of a page accepts."""
    reports = [_REPORTS[section.report] for section in SECTIONS.get(page, ())]
    accepted = {parameter.name for report in reports for parameter in report.parameters}
    return tuple(name for name in FILTERS if name in accepted)


def choices_of(page: str) -> tuple[str, ...]:
    """Return the names of the parameters that readers of a page can choose."""
    sections = SECTIONS.get(page, ())
    return tuple(choice.parameter.name for section in sections for choice in section.choices)


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


def _choice(view: View, choice: Choice) -> Content:
    schema = choice.parameter.schema
    name = choice.parameter.name
    return {
        "name": name,
        "label": choice.label,
        "values": choice.values,
        "value": view.choices.get(name, schema.get("default", "")),
        "least": schema["minimum"],
        "most": schema["maximum"],
    }


def _heat(
    view: View,
    section: Section,
    hours: Hours,
    found: Mapping[str, Any],
    filters: Mapping[str, str],
) -> heat.Heat:
    values = [row[hours.field] for row in found[hours.member]]
    return heat.Heat(
        f"{section.report}-hours",
        hours.title,
        heat.days(values, lambda hour: _said(values[hour], hours.unit)) if any(values) else (),
        _said(max((value or 0 for value in values), default=0), hours.unit),
        view.api(f"insights/{section.report}", **filters),
    )


def _said(value: float | None, unit: str) -> str:
    return "not known" if value is None else f"{value:,.10g} {unit}"


def _rows_within(rows: Sequence[Mapping[str, Any]], within: str) -> Iterator[Mapping[str, Any]]:
    """Yield the first rows of a list in each row, with the fields of both."""
    most = max(_LEAST_WITHIN, ROWS // len(rows)) if rows else 0
    for row in rows:
        for inner in row[within][:most]:
            yield {**row, **inner}


def _list(view: View, shown: List, rows: Sequence[Mapping[str, Any]]) -> Content:
    listed = rows[: shown.most or ROWS]
    rows = [_row(row) for row in (_rows_within(rows, shown.within) if shown.within else listed)]
    first, *rest = shown.columns
    if shown.member == "over_represented":
        first = Column(first.field, first.label, first.kind, lambda row: _filter_link(view, row))
    if shown.member == "groups":
        first = Column(first.field, first.label, first.kind, lambda row: _text_link(view, row))
    return {
        "name": shown.within or shown.member,
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
