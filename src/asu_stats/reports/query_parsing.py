"""Parses parameters into the query of a report, for the API and the command line alike."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from asu_stats import queries
from asu_stats.exceptions import InvalidParameterError
from asu_stats.reports import sums
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import FORMAT, HOURS, LIMIT, OFFSET, Parameter
from asu_stats.reports.report import Query, Report
from asu_stats.windows import MAX_BUCKETS, Interval, Window

_WINDOW: Final = ("days", "start", "end")


class ParameterValues(dict[str, str]):
    """The parameters that are given, each at most once."""

    @classmethod
    def of(cls, query: bytes, parameters: Iterable[Parameter]) -> "ParameterValues":
        """Read the query string of an endpoint that takes `parameters`.

        Raises `InvalidParameterError` for an unknown parameter, a repeated one, and a format that
        the endpoint does not have.
        """
        known = {parameter.name: parameter for parameter in parameters}
        given = cls(queries.read(query, known))
        given.value_of(known[FORMAT.name])
        return given

    def value_of(self, parameter: Parameter) -> Any:
        """Return the value of a parameter, or its default.

        Raises `InvalidParameterError`.
        """
        text = self.get(parameter.name)
        return parameter.schema.get("default") if text is None else parameter.read(text)


def query_of(
    report: Report,
    given: ParameterValues,
    *,
    now: datetime,
    subject: str | None = None,
    complete: bool,
) -> Query:
    """Return the query of a report.

    `subject` is the name that a report with `Report.subject` is about. A `complete` list is cut
    to a page only if a limit is given. Raises `InvalidParameterError`.
    """
    filters = {each.name: given.value_of(each) for each in report.parameters}
    if report.subject and subject is not None:
        filters[report.subject.name] = report.subject.read(subject)
    hours = _hours(given) if report.hours else None
    today = now.date()
    query = Query(
        window=_window(report, given, today) if hours is None else _of_hours(hours, now),
        today=today,
        filters={name: value for name, value in filters.items() if value is not None},
        page=_page(given, complete=complete) if report.paged or report.nested else ALL,
        hours=hours,
    )
    report.check(query)
    return query


def check(report: Report, query: Query, given: ParameterValues, hourly_days: int) -> None:
    """Raise `InvalidParameterError` for too many buckets, or for hours past their retention.

    `hourly_days` is the number of days for which hourly figures are kept.
    """
    interval = _interval(report, query)
    if interval == "hour":
        _check_hours(query, given, query.today - timedelta(days=hourly_days - 1))
    if interval and query.window.buckets(interval) > MAX_BUCKETS:
        raise _invalid_window(given, f"a time range of at most {MAX_BUCKETS} buckets")


def check_hours(
    report: Report, query: Query, given: ParameterValues, connection: Connection
) -> None:
    """Raise `InvalidParameterError` if hours of the time range are deleted already."""
    if _interval(report, query) == "hour" and (oldest := sums.hourly_since(connection)):
        _check_hours(query, given, oldest)


def _check_hours(query: Query, given: ParameterValues, oldest: date) -> None:
    if query.window.start < oldest:
        raise _invalid_window(given, f"a later start: hours are kept from {oldest.isoformat()} on")


def _interval(report: Report, query: Query) -> Interval | None:
    """Return the interval of the buckets of a response, `None` if it has no buckets."""
    if report.by_hour:
        return "hour"
    found: Interval | None = query.filters.get("interval")
    return found


def _window(report: Report, given: ParameterValues, today: date) -> Window:
    return Window.parse(
        days=given.get("days"),
        start=given.get("start"),
        end=given.get("end"),
        default_days=report.default_days,
        today=today,
    )


def _hours(given: ParameterValues) -> int | None:
    """Return the parameter `hours`. Raises `InvalidParameterError`."""
    if HOURS.name in given and given.keys() & set(_WINDOW):
        expected = "either days, or start and end, or hours"
        raise InvalidParameterError(HOURS.name, got=given[HOURS.name], expected=expected)
    hours: int | None = given.value_of(HOURS)
    return hours


def _of_hours(hours: int, now: datetime) -> Window:
    """Return the days that the last hours fall into."""
    return Window((now - timedelta(hours=hours)).date(), now.date())


def _invalid_window(given: ParameterValues, expected: str) -> InvalidParameterError:
    """Return an error about the parameter that selected the time range."""
    name = next((name for name in _WINDOW if name in given), "interval")
    return InvalidParameterError(name, got=given.get(name, "hour"), expected=expected)


def _page(given: ParameterValues, *, complete: bool) -> Page:
    everything = complete and LIMIT.name not in given
    return Page(None if everything else given.value_of(LIMIT), given.value_of(OFFSET))
