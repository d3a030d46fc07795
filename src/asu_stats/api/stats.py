"""The statistics API: one route per entry of the list of endpoints (docs/reference/api.md)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Final, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from sqlalchemy import Connection
from starlette.convertors import Convertor, register_url_convertor

from asu_stats.api import params, problems
from asu_stats.api.accept import wants_csv
from asu_stats.api.answering import (
    Answer,
    Answering,
    Lists,
    page_headers,
    to_csv,
    to_json,
)
from asu_stats.api.further import FURTHER
from asu_stats.api.params import Given
from asu_stats.api.questions import PREFIX, Filters, Question
from asu_stats.api.stats_examples import EXAMPLES
from asu_stats.api.tokens import TOKEN_SCHEME, Access
from asu_stats.exceptions import InvalidParameterError
from asu_stats.reports import (
    answers,
    clients,
    comparison,
    diff_packages,
    errors,
    overview,
    packages,
    performance,
    profiles,
    rolling,
    sums,
    targets,
    timeseries,
    versions,
)
from asu_stats.reports.listing import ALL, Page
from asu_stats.text import NAME_LENGTH
from asu_stats.windows import MAX_BUCKETS, MAX_HOURS, Interval, Window, parse_number

SHOWN_HASH: Final = 12

QUESTIONS: Final[tuple[Question, ...]] = (
    Question(
        "overview",
        "The whole window at a glance",
        lambda db, window, *_: overview.read(db, window),
        answers.Overview,
        default_days=7,
        hours=True,
    ),
    Question(
        "versions",
        "Requests and builds per version",
        lambda db, window, filters, *_: versions.read(db, window, **filters),
        list[answers.VersionRow],
        filters=(params.TARGET, params.PROFILE),
        row=answers.VersionRow,
        paged=True,
    ),
    Question(
        "targets",
        "Requests and builds per target",
        lambda db, window, filters, *_: targets.read(db, window, **filters),
        list[answers.TargetRow],
        filters=(params.VERSION,),
        row=answers.TargetRow,
        paged=True,
    ),
    Question(
        "profiles",
        "Requests and builds per profile",
        lambda db, window, filters, *_: profiles.read(db, window, **filters),
        list[answers.ProfileRow],
        filters=(params.VERSION, params.TARGET),
        row=answers.ProfileRow,
        paged=True,
    ),
    Question(
        "clients",
        "Requests per client, and how they ended",
        lambda db, window, *_: clients.read(db, window),
        list[answers.ClientRow],
        row=answers.ClientRow,
        paged=True,
    ),
    Question(
        "diff-packages",
        "Requests by diff_packages",
        lambda db, window, _, page: diff_packages.read(db, window, page),
        answers.DiffPackagesReport,
        row=answers.DiffPackagesDay,
        member="trend",
        nested=True,
    ),
    Question(
        "packages",
        "Packages that are asked for",
        lambda db, window, filters, *_: packages.read(db, window, **filters),
        list[answers.PackageRow],
        filters=(params.VERSION, params.TARGET),
        row=answers.PackageRow,
        paged=True,
    ),
    Question(
        "errors",
        "Failed builds and rejected requests",
        lambda db, window, _, page: errors.read(db, window, page),
        answers.Errors,
        default_days=7,
        row=answers.ErrorCategory,
        member="by_category",
        nested=True,
    ),
    Question(
        "performance",
        "How long successful builds take",
        lambda db, window, _, page: performance.read(db, window, page),
        answers.Performance,
        row=answers.VersionPerformance,
        member="by_version",
        nested=True,
    ),
    Question(
        "timeseries",
        "Requests and builds over time",
        lambda db, window, given, *_: timeseries.read(db, window, **_series(given)),
        list[answers.Bucket],
        filters=(params.VERSION, params.TARGET, params.PROFILE, params.CLIENT),
        row=answers.Bucket,
        interval=params.INTERVAL,
    ),
    *FURTHER,
)
_CLIENT: Final = Question(
    "clients/{client}",
    "All that is known of one client",
    lambda db, window, filters, page: clients.read_one(db, window, filters["client"], page),
    answers.ClientReport,
    nested=True,
)


class _AnyText(Convertor[str]):
    """A parameter at the end of a path: anything, line breaks too, at which `path` stops."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


class StatsApi:
    """The endpoints of the statistics API."""

    def __init__(
        self,
        answering: Answering,
        access: Access,
        *,
        now: Callable[[], datetime],
        hourly_days: int,
    ) -> None:
        self._answering = answering
        self._access = access
        self._now = now
        self._hourly_days = hourly_days
        self._lists = Lists()

    def _today(self) -> date:
        return self._now().date()

    def router(self) -> APIRouter:
        """Return the routes."""
        routes = APIRouter(tags=["statistics"])
        for question in QUESTIONS:
            endpoint = self._performance if question.name == "performance" else self._plain
            self._add(routes, question, partial(endpoint, question))
        self._add(routes, _CLIENT, self._client)
        return routes

    def _add(
        self, routes: APIRouter, question: Question, endpoint: Callable[[Request], Response]
    ) -> None:
        def ask(request: Request) -> Response:
            return endpoint(request)

        ask.__doc__ = "Days are UTC days; every figure is exact and live."
        parameters = [parameter.documented() for parameter in question.parameters]
        path = question.path
        if question is _CLIENT:
            path = f"{PREFIX}/clients/{{client:text}}"
            schema = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}
            parameters.insert(
                0, {"name": "client", "in": "path", "required": True, "schema": schema}
            )
        ok: dict[str, Any] = {"content": {"application/json": {"example": EXAMPLES[question.name]}}}
        if question.row:
            of = f" of `{question.member}`" if question.member else ""
            rows = {"type": "string", "description": f"The rows{of}, without what is nested."}
            ok["content"]["text/csv"] = {"schema": rows}
        special: dict[str, tuple[int, ...]] = {_CLIENT.name: (404,), "performance": (401,)}
        failures = (*special.get(question.name, ()), 422, 429, 503)
        extra: dict[str, Any] = {"parameters": parameters}
        if question.name == "performance":
            extra["security"] = [{}]  # beside the token: without one the hashes are cut
        routes.add_api_route(
            path,
            ask,
            methods=["GET"],
            name=question.name,
            summary=question.summary,
            response_model=question.answer,
            responses={
                200: ok,
                304: {"description": "Nothing changed since the ETag of If-None-Match."},
                **problems.documented(*failures),
            },
            dependencies=[Depends(TOKEN_SCHEME)] if "security" in extra else [],
            openapi_extra=extra,
        )

    def _plain(self, question: Question, request: Request) -> Response:
        given = Given.of(request, question.parameters)
        if question.hours and "hours" in given:
            return self._rolling(given)
        filters = _filters(question, given)
        if question.name == "timeseries" and len(filters) > 1:
            name = list(filters)[1]
            expected = f"one filter at a time, not {' and '.join(filters)}"
            raise InvalidParameterError(name, got=filters[name], expected=expected)
        if question.interval:
            interval = cast(Interval, given.one_of(question.interval, "day"))
            self._check_buckets(self._window(question, given), interval, given)
            filters["interval"] = interval
        if question.name == "comparison":
            return self._comparison(question, request, given)
        if question.name == "timeseries/week":
            self._check_buckets(self._window(question, given), "hour", given)
        return self._ask(question, request, given, filters)

    def _comparison(self, question: Question, request: Request, given: Given) -> Response:
        """Compare up to this time of day where today is in the window: the next second differs."""
        window, now = self._window(question, given), self._now()
        if comparison.compared_until(window, now) is None:
            return self._ask(question, request, given, {})
        as_csv = _as_csv(request, given)

        def make(connection: Connection) -> Answer:
            rows = comparison.read(connection, window, now)
            return _written(question, window, rows, as_csv=as_csv)

        return self._answering.answer_now(make, vary="Accept")

    def _rolling(self, given: Given) -> Response:
        """Answer with the overview of the last hours, which is another one the next second."""
        if {"days", "start", "end"} & given.keys():
            expected = "either days, or start and end, or hours"
            raise InvalidParameterError("hours", got=given["hours"], expected=expected)
        hours = parse_number("hours", given["hours"], least=1, most=MAX_HOURS)
        now = self._now()

        def make(connection: Connection) -> Answer:
            return to_json(rolling.read(connection, now - timedelta(hours=hours), now, hours=hours))

        return self._answering.answer_now(make)

    def _client(self, request: Request) -> Response:
        name = params.CLIENT.name_in(request.path_params["client"])
        given = Given.of(request, _CLIENT.parameters)
        return self._ask(_CLIENT, request, given, {"client": name})

    def _performance(self, question: Question, request: Request) -> Response:
        """Show full request hashes only to a token with the scope `read`."""
        given, vary = Given.of(request, question.parameters), ("Authorization",)
        if self._access.may_read_hashes(request):
            return self._ask(question, request, given, {}, vary=vary, key="whole hashes")

        def read(db: Connection, window: Window, _: Filters, page: Page) -> answers.Performance:
            answer = performance.read(db, window, page)
            for build in answer["slowest_builds"]:
                shown = build["request_hash"]
                build["request_hash"] = shown[:SHOWN_HASH] if shown else None
            return answer

        return self._ask(replace(question, read=read), request, given, {}, vary=vary)

    def _check_buckets(self, window: Window, interval: Interval, given: Given) -> None:
        """Raise `InvalidParameterError` for more buckets than an answer has."""
        if interval == "hour":
            self._check_hours(window, None, given)
        if window.buckets(interval) > MAX_BUCKETS:
            raise _refused_window(given, f"a window of at most {MAX_BUCKETS} buckets")

    def _check_hours(self, window: Window, kept_since: date | None, given: Given) -> None:
        """Raise `InvalidParameterError` where the hours of a window are gone, or are to go."""
        oldest = self._today() - timedelta(days=self._hourly_days - 1)
        oldest = max(oldest, kept_since or oldest)
        if window.start < oldest:
            raise _refused_window(
                given, f"a later start: hours are kept from {oldest.isoformat()} on"
            )

    def _window(self, question: Question, given: Given) -> Window:
        return Window.parse(
            days=given.get("days"),
            start=given.get("start"),
            end=given.get("end"),
            default_days=question.default_days,
            today=self._today(),
        )

    def _ask(
        self,
        question: Question,
        request: Request,
        given: Given,
        filters: Filters,
        *,
        vary: tuple[str, ...] = (),
        key: str = "",
    ) -> Response:
        """Answer a question; `key` is what the answer depends on besides the obvious."""
        today = self._today()
        window = self._window(question, given)
        as_csv = question.row is not None and _as_csv(request, given)
        page = _page(given, complete=as_csv) if question.paged or question.nested else ALL
        vary = ("Accept", *vary) if question.row else vary
        listed = (question.name, f"{window.start}..{window.end}", *map("=".join, filters.items()))

        def make(connection: Connection, changes: int) -> Answer:
            if filters.get("interval") == "hour" or question.name == "timeseries/week":
                self._check_hours(window, sums.hourly_since(connection), given)
            result: Any = self._lists.get(listed, changes) if question.paged else None
            if result is None:
                result = question.read(connection, window, filters, page)
            headers: dict[str, str] = {}
            if question.paged:
                self._lists.put(listed, changes, result)
                headers = page_headers(request, given, page, len(result))
                result = page.of(result)
            answer = _written(question, window, result, as_csv=as_csv)
            return replace(answer, headers={**answer.headers, **headers})

        asked = (
            request.scope["path"],
            ascii(list(given.items())),  # joined as they are, two queries could look alike
            f"{window.start}..{window.end}",
            "csv" if as_csv else "json",
            key,
            *(f"{name}={value}" for name, value in filters.items()),
        )
        return self._answering.answer(request, asked, make, today=today, vary=", ".join(vary))


def _written(question: Question, window: Window, result: Any, *, as_csv: bool) -> Answer:
    """Return what a report found as CSV or JSON."""
    if not as_csv or question.row is None:
        return to_json(result)
    name = question.name.replace("/", "-")
    file = f"asu-stats-{name}-{window.start}_{window.end}.csv"
    return to_csv(question.row, question.rows(result), file)


def _refused_window(given: Given, expected: str) -> InvalidParameterError:
    """Return the error that names the parameter which chose a window."""
    name = next((name for name in ("days", "start", "end") if name in given), "interval")
    return InvalidParameterError(name, got=given.get(name, "hour"), expected=expected)


def _filters(question: Question, given: Given) -> dict[str, str]:
    found = ((parameter.name, given.name_of(parameter)) for parameter in question.filters)
    return {name: value for name, value in found if value is not None}


def _series(given: Filters) -> dict[str, Any]:
    """Return what a time series takes: its interval, and the filters."""
    filters = {name: value for name, value in given.items() if name != "interval"}
    return {"interval": given["interval"], "filters": filters}


def _page(given: Given, *, complete: bool) -> Page:
    """Return the page that is asked for; of a `complete` list, only a limit makes one."""
    limit = given.get("limit", None if complete else str(params.DEFAULT_LIMIT))
    return Page(
        None if limit is None else parse_number("limit", limit, least=1, most=params.MAX_LIMIT),
        parse_number("offset", given.get("offset", "0"), least=0, most=params.MAX_OFFSET),
    )


def _as_csv(request: Request, given: Given) -> bool:
    preferred = "csv" if wants_csv(request.headers.get("accept", "")) else "json"
    return given.one_of(params.FORMAT, preferred) == "csv"
