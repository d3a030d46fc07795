"""Reports as data: declared next to their code, listed in `endpoints`, served by the API."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection

from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.reports import cover, floor, parameters, sums
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import Parameter
from asu_stats.store.database import changes, repeats
from asu_stats.windows import Window


@dataclass(frozen=True, slots=True)
class Query:
    """The checked query of a request to a report.

    `filters` holds the values of the report's own parameters that were given or have a default.
    With `hours`, the time range is the last hours instead of `window`. `now` and `queues` are set
    only if `Report.uses_clock`; all other responses are cached until the data or the day changes.
    """

    window: Window
    today: date
    filters: Mapping[str, Any] = field(default_factory=dict)
    page: Page = ALL
    hours: int | None = None
    now: datetime | None = None
    queues: CombinedQueue | None = None
    full_hashes: bool = False


def _never(_: Query) -> bool:
    return False


def _anything(_: Query) -> None:
    return None


def _of_query(query: Query) -> Window | None:
    return query.window


def _nothing(_: Connection, __: Query) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An endpoint of the statistics API.

    `response` is the type of its JSON. `row` is the type of a CSV row; without one there is no CSV.
    The CSV rows are the response itself, or its member `member`.
    """

    name: str  # last part of the path, or the last but one with `subject`
    summary: str
    read: Callable[[Connection, Query], Any]
    response: Any
    description: str = "Days are UTC days; every figure is exact and live."
    parameters: tuple[Parameter, ...] = ()  # besides time range, pages and format
    subject: Parameter | None = None  # dimension of a name at the end of the path; 404 if unknown
    default_days: int = 30
    row: type | None = None
    member: str = ""
    paged: bool = False  # `read` returns a `Listing`; the API cuts it to the page
    nested: bool = False  # `read` cuts lists in the response to `query.page`
    hours: bool = False  # accepts the parameter `hours`
    by_hour: bool = False  # always reads hourly rollups, not only with `interval=hour`
    # The days whose changes its cubes depend on, if it reads any. They are asked for first.
    days: Callable[[Query], Window | None] = _of_query
    # Asks for what `read` needs, and does not wait: all of it costs one round trip.
    send: Callable[[Connection, Query], object] = _nothing
    shows_hashes: bool = False  # shows full request hashes if `query.full_hashes`
    uses_clock: Callable[[Query], bool] = _never
    check: Callable[[Query], None] = _anything  # raises `InvalidParameterError`
    example: Mapping[str, str] = field(default_factory=dict)  # parameters of the OpenAPI example

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        """All query parameters, in the order of the documentation."""
        return (
            *parameters.window_parameters(self.default_days),
            *((parameters.HOURS,) if self.hours else ()),
            *self.parameters,
            *((parameters.LIMIT, parameters.OFFSET) if self.paged or self.nested else ()),
            parameters.FORMAT if self.row else parameters.ONLY_JSON,
        )

    def send_first(self, connection: Connection, query: Query, unless: int | None = None) -> None:
        """Ask for what `answer` needs first, and do not wait. For `unless`, see `sums`."""
        changes.send_figures(connection)
        if days := self.days(query):
            sums.send_changes(connection, days, unless)

    def answer(self, connection: Connection, query: Query) -> Any:
        """Return the response, in which the public floor holds."""
        names = {each.name for each in self.parameters if each.selects}
        selected = {name: value for name, value in query.filters.items() if name in names}
        filters = {**query.filters, **floor.masked(connection, query.window, selected)}
        query = replace(query, filters=filters)
        self.send(connection, query)
        with self._sent_ahead(connection, query):
            found = self.read(connection, query)
        return cover.cover(self.response, found, connection, query.window)

    def _sent_ahead(
        self, connection: Connection, query: Query
    ) -> contextlib.AbstractContextManager[None]:
        """Send what the same query needed last time, unless it depends on the clock."""
        if query.now is not None:
            return contextlib.nullcontext()
        asked = query.window, query.page, floor.min_requests()
        return repeats.sent_ahead(connection, (self.name, *asked, repr(query.filters)))

    def answer_now(self, connection: Connection, query: Query) -> Any:
        """Return the response in a snapshot that nothing else was read in."""
        self.send_first(connection, query)
        return self.answer(connection, query)

    def rows(self, response: Any) -> Sequence[Mapping[str, Any]]:
        """Return the rows that CSV has of a response."""
        found: Sequence[Mapping[str, Any]] = response[self.member] if self.member else response
        return found
