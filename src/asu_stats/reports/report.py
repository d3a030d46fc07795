"""What a report is: said as data next to its code, listed in `endpoints`, served by the API."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection

from asu_stats.reports import parameters
from asu_stats.reports.listing import ALL, Page
from asu_stats.reports.parameters import Parameter
from asu_stats.windows import Window


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks of a report; every value is checked.

    `filters` are the values of the report's own parameters by name: those that were given or have
    a default. `hours` asks for the time that ends now instead of the window. `now` is there only
    where `Report.uses_clock` says so: any other response is kept until the data or the day changes.
    """

    window: Window
    today: date
    filters: Mapping[str, Any] = field(default_factory=dict)
    page: Page = ALL
    hours: int | None = None
    now: datetime | None = None
    full_hashes: bool = False


def _never(_: Query) -> bool:
    return False


def _anything(_: Query) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An endpoint of the statistics API, all of it.

    `response` is the type of its JSON. `row` is the type of the rows that CSV has; a report without
    one has no CSV. They are the response itself or its member `member`.
    """

    name: str  # the end of its path; with `subject`, without the last part
    summary: str
    read: Callable[[Connection, Query], Any]
    response: Any
    description: str = "Days are UTC days; every figure is exact and live."
    parameters: tuple[Parameter, ...] = ()  # its own, next to time range, pages and format
    subject: Parameter | None = None  # a name at the end of the path; unknown names get a 404
    default_days: int = 30
    row: type | None = None
    member: str = ""
    paged: bool = False  # `read` returns a `Listing`, of which the API takes a page
    nested: bool = False  # lists in the response have pages, which `read` takes from `query.page`
    hours: bool = False  # takes `hours`; then it uses the clock
    by_hour: bool = False  # always reads hourly rollups; others do for `interval=hour`
    shows_hashes: bool = False  # full request hashes if `query.full_hashes`
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

    def rows(self, response: Any) -> Sequence[Mapping[str, Any]]:
        """Return the rows that CSV has of a response."""
        found: Sequence[Mapping[str, Any]] = response[self.member] if self.member else response
        return found
