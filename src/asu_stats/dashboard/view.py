"""The state of a page, from its URL: time range, filters, search and order. Links keep it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request

from asu_stats.events import client_name
from asu_stats.exceptions import InvalidParameterError
from asu_stats.text import NAME_LENGTH, clean_text, stored_name, stored_profile
from asu_stats.windows import MAX_DAYS, Interval, Window, parse_number

DEFAULT_DAYS: Final = 7
INSIGHT_DAYS: Final = 30  # default of their reports, and enough for most of them
PRESETS: Final = ((1, "Today"), (7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "1 year"))
_STORED: Final = {"client": client_name, "profile": stored_profile}
WINDOW: Final = ("days", "start", "end")
FILTERS: Final = ("version", "target", "profile", "client", "category", "type", "fingerprint")
PAGES: Final = (
    ("overview", "Overview", "/"),
    ("versions", "Versions", "/versions"),
    ("targets", "Targets", "/targets"),
    ("profiles", "Profiles", "/profiles"),
    ("clients", "Clients", "/clients"),
    ("packages", "Packages", "/packages"),
    ("requests", "Requests", "/requests"),
    ("errors", "Errors", "/errors"),
    ("insights", "Insights", "/insights"),
    ("performance", "Performance", "/performance"),
    ("alerts", "Alerts", "/alerts"),
    ("jobs", "Jobs", "/jobs"),
)
# Pages that do not depend on the time range.
TIMELESS: Final = frozenset({"alerts", "jobs"})
# The pages under "Insights"; the first one is the page itself.
TOPICS: Final = (
    ("insights", "Failures"),
    ("insights/regressions", "Regressions"),
    ("insights/queue", "Queue"),
    ("insights/cache", "Cache"),
    ("insights/adoption", "Adoption"),
    ("insights/capacity", "Capacity"),
    ("insights/phases", "Phases"),
)
PATHS: Final = {name: f"/{name}" for name, _ in TOPICS} | {name: path for name, _, path in PAGES}
# The filters that each page accepts. Pages of insights accept the parameters of their reports.
PAGE_FILTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "targets": ("version",),
    "profiles": ("version", "target", "profile"),
    "clients": ("client",),
    "packages": ("version", "target"),
    "requests": ("version", "client"),
    "errors": ("version", "category", "type", "fingerprint"),
    "performance": ("version",),
}
# Other parameters that readers of a page can set; pages of insights declare theirs.
PAGE_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {"errors": ("new_since",)}
_API: Final = "/api/v1/stats"
_MAX_PAGES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class View:
    """State of a page, parsed from its URL."""

    page: str
    root: str
    window: Window
    range_parameters: Mapping[str, str]  # the time range as API parameters
    now: datetime
    hours_since: date  # first day with hourly figures
    filters: Mapping[str, str]  # without those that the page does not accept
    ignored_filters: Sequence[str] = ()  # names of filters that the page does not accept
    search: str = ""
    sort: str = ""
    number: int = 1
    choices: Mapping[str, str] = field(default_factory=dict)  # parameters of the page's reports
    all_packages: bool = False  # also those that images contain by default
    since: date | None = None  # first day with data
    has_default_range: bool = False

    @classmethod
    def of(
        cls,
        request: Request,
        page: str,
        *,
        now: datetime,
        hourly_days: int,
        accepted: Sequence[str] = FILTERS,
        choices: Sequence[str] = (),
    ) -> "View":
        """Parse the URL of a request. Raises `InvalidParameterError`.

        `accepted` are the filters of the page, and `choices` other parameters that it passes on.
        """
        query = request.scope["query_string"].decode("ascii", "backslashreplace")
        given = dict(parse_qsl(query, errors="surrogateescape"))  # an empty field counts as missing
        range_parameters = {name: given[name] for name in WINDOW if name in given}
        default_days = INSIGHT_DAYS if page.startswith("insights/") else DEFAULT_DAYS
        window = Window.parse(
            days=range_parameters.get("days"),
            start=range_parameters.get("start"),
            end=range_parameters.get("end"),
            default_days=default_days,
            today=now.date(),
        )
        if window.days > MAX_DAYS:  # otherwise charts could have megabytes of zeros
            name = "start" if "start" in range_parameters else "end"
            expected = f"a time range of at most {MAX_DAYS} days"
            raise InvalidParameterError(name, got=range_parameters[name], expected=expected)
        filters = {name: _name(name, given[name]) for name in FILTERS if name in given}
        has_fingerprint = "fingerprint" in accepted and "fingerprint" in filters
        applied = ("fingerprint",) if has_fingerprint else accepted  # it has a page of its own
        return cls(
            page,
            request.scope.get("root_path", ""),
            window,
            range_parameters or {"days": str(default_days)},
            now,
            now.date() - timedelta(days=hourly_days - 1),
            {name: value for name, value in filters.items() if name in applied},
            [name for name in filters if name not in applied],
            clean_text(_text("q", given.get("q", ""))),
            given.get("sort", ""),
            parse_number("page", given.get("page", "1"), minimum=1, maximum=_MAX_PAGES),
            {name: given[name] for name in choices if name in given},
            given.get("packages") == "all",
            has_default_range=not range_parameters,
        )

    @property
    def today(self) -> date:
        """The current UTC day."""
        return self.now.date()

    def has_begun(self, timestamp: str) -> bool:
        """Return whether a bucket has started. The zeros of later buckets are not figures."""
        return timestamp <= self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def lacks_days(self) -> bool:
        """Whether the time range starts before the data."""
        return self.since is not None and self.since > self.window.start

    def counted(self, timestamps: Sequence[str]) -> list[bool]:
        """Return for each bucket whether it has started and is not before the first data.

        The zeros of other buckets are not figures.
        """
        following = [*timestamps[1:], "~"]
        since = self.since.isoformat() if self.since else ""
        return [
            self.has_begun(timestamp) and end > since
            for timestamp, end in zip(timestamps, following, strict=True)
        ]

    @property
    def days(self) -> int | None:
        """Number of days, if the time range is given as `days`."""
        return int(self.range_parameters["days"]) if "days" in self.range_parameters else None

    @property
    def range_text(self) -> str:
        """The time range as text."""
        if self.days == 1:
            return "today"
        if self.days:
            return f"last {self.days} days"
        if self.window.days == 1:
            return self.window.start.isoformat()
        return f"{self.window.start} to {self.window.end}"

    @property
    def live(self) -> bool:
        """Whether the time range includes the present."""
        return self.window.end >= self.today

    @property
    def interval(self) -> Interval:
        """Interval of the buckets of charts, for as many buckets as a reader can distinguish."""
        if self.window.days <= 2 and self.window.start >= self.hours_since:
            return "hour"
        return self.day_interval

    @property
    def day_interval(self) -> Literal["day", "week", "month"]:
        """The same for charts without hourly figures."""
        days = self.window.days
        return "day" if days <= 92 else "week" if days <= 731 else "month"

    def link(self, page: str = "", **changes: str | None) -> str:
        """Return a link to a page with the same time range and only these filters."""
        return self._url(PATHS[page or self.page], {**self.range_parameters, **_given(changes)})

    def menu(self, page: str) -> str:
        """Return a link to a page with the time range that the reader has chosen, if any."""
        return self._url(PATHS[page], {} if self.has_default_range else self.range_parameters)

    def same(self, **changes: str | int | None) -> str:
        """Return a link to this view with changed parameters; `None` removes one.

        The link leads to the first page of a table.
        """
        query: dict[str, str | int | None] = {
            **self.range_parameters,
            **self.filters,
            **self.choices,
            "q": self.search or None,
            "sort": self.sort or None,
            "packages": "all" if self.all_packages else None,
        }
        if {"days", "start", "end"} & changes.keys():
            query = {k: v for k, v in query.items() if k not in {"days", "start", "end"}}
        return self._url(PATHS[self.page], _given({**query, **changes}))

    @property
    def canonical(self) -> str:
        """Path of the page without `root_path`, time range, order and search."""
        return replace(self, root="")._url(PATHS[self.page], self.filters)

    def api(self, endpoint: str, **parameters: str | None) -> str:
        """Return a link to an API query with the same time range."""
        return self._url(f"{_API}/{endpoint}", {**self.range_parameters, **_given(parameters)})

    def csv(self, endpoint: str, **parameters: str | None) -> str:
        """Return a link to the same query as CSV."""
        return self.api(endpoint, **parameters, format="csv")

    def only(self, *names: str) -> dict[str, str]:
        """Return the filters that a report accepts."""
        return {name: self.filters[name] for name in names if name in self.filters}

    def on(self, page: str) -> "View":
        """Return the same view for another page."""
        return replace(self, page=page)

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        text = urlencode(query, quote_via=quote, errors="surrogateescape")
        return f"{self.root}{path}?{text}" if text else f"{self.root}{path}"


def _given(parameters: Mapping[str, str | int | None]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items() if value is not None}


def _name(parameter: str, value: str) -> str:
    """Return a filter as the store spells names."""
    value = _text(parameter, value)
    return _STORED.get(parameter, stored_name)(value)


def _text(parameter: str, value: str) -> str:
    if len(value) > NAME_LENGTH:
        expected = f"at most {NAME_LENGTH} characters"
        raise InvalidParameterError(parameter, got=value, expected=expected)
    return value
