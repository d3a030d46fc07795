"""What a question of the statistics API is: said as data, walked by `stats`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from asu_stats.api import params
from asu_stats.api.params import Parameter
from asu_stats.reports.listing import Page
from asu_stats.windows import Window

PREFIX: Final = "/api/v1/stats"

Filters = Mapping[str, str]
Read = Callable[[Connection, Window, Filters, Page], Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A question of the API: where it is asked, what it takes, and the report that answers it."""

    name: str
    summary: str
    read: Read
    answer: Any
    filters: tuple[Parameter, ...] = ()
    default_days: int = 30
    row: type | None = None  # of a list: what CSV is made from
    member: str = ""  # the member of the answer that is this list; none where the answer is it
    paged: bool = False  # the answer is a list with pages
    nested: bool = False  # lists in the answer have pages: `read` cuts them
    hours: bool = False  # may be asked for the last hours instead of days
    interval: Parameter | None = None  # how long its buckets may be; `read` gets it as a filter

    @property
    def path(self) -> str:
        """Path of the endpoint."""
        return f"{PREFIX}/{self.name}"

    def rows(self, answer: Any) -> Sequence[Mapping[str, Any]]:
        """Return the rows that CSV has of an answer."""
        found: Sequence[Mapping[str, Any]] = answer[self.member] if self.member else answer
        return found

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters that it takes."""
        return (
            *params.window_parameters(self.default_days),
            *((params.HOURS,) if self.hours else ()),
            *self.filters,
            *((self.interval,) if self.interval else ()),
            *((params.LIMIT, params.OFFSET) if self.paged or self.nested else ()),
            params.FORMAT if self.row else params.ONLY_JSON,
        )
