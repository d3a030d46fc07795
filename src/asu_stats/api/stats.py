"""The statistics API: serves all reports of `reports.endpoints` in the same way."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from sqlalchemy import Connection
from starlette.convertors import Convertor, register_url_convertor

from asu_stats.api import as_of, problems
from asu_stats.api.accept import wants_csv
from asu_stats.api.answering import (
    NOT_MODIFIED,
    Answer,
    Answering,
    Lists,
    page_headers,
    to_csv,
    to_json,
)
from asu_stats.api.examples import EXAMPLES
from asu_stats.api.params import given_by
from asu_stats.api.tokens import TOKEN_SCHEME, Access
from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.policies import declare
from asu_stats.reports import floor, query_parsing
from asu_stats.reports.endpoints import REPORTS
from asu_stats.reports.parameters import FORMAT
from asu_stats.reports.query_parsing import ParameterValues
from asu_stats.reports.report import Query, Report
from asu_stats.text import NAME_LENGTH

PREFIX: Final = "/api/v1/stats"


class _AnyText(Convertor[str]):
    """A path parameter of any text. `path` stops at a line break."""

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
        queues: CombinedQueue,
    ) -> None:
        self._queues = queues
        self._answering = answering
        self._access = access
        self._now = now
        self._hourly_days = hourly_days
        self._lists = Lists()

    def router(self) -> APIRouter:
        routes = APIRouter(tags=["statistics"])
        for report in REPORTS:
            _add(routes, report, partial(self._respond, report))
        return routes

    def _respond(self, report: Report, request: Request) -> Response:
        """Serve a report. Raises `InvalidParameterError`."""
        given = given_by(request, report.all_parameters)
        as_csv = report.row is not None and _as_csv(request, given)
        query = query_parsing.query_of(
            report,
            given,
            now=self._now(),
            subject=request.path_params[report.subject.name] if report.subject else None,
            complete=as_csv,
        )
        if report.shows_hashes:
            query = replace(query, full_hashes=self._access.may_read_hashes(request))
        query_parsing.check(report, query, given, self._hourly_days)
        vary = (*(("Accept",) if report.row else ()), *_AUTHORIZED[report.shows_hashes])
        if query.hours is not None or report.uses_clock(query):
            query = replace(query, now=self._now(), queues=self._queues)
            return self._answering.answer_now(
                request,
                lambda connection: _written(
                    report, query, report.answer_now(connection, query), as_csv=as_csv
                ),
                vary=", ".join(vary),
            )

        def make(connection: Connection, changes: int) -> Answer:
            query_parsing.check_hours(report, query, given, connection)
            result, headers = self._read(report, query, connection, changes), {}
            if report.paged:
                headers = page_headers(request, given, query.page, len(result))
                result = query.page.of(result)
            response = _written(report, query, result, as_csv=as_csv)
            return replace(response, headers={**response.headers, **headers})

        cache_key = (
            request.scope["path"],
            ascii(list(given.items())),  # unquoted, two different queries could look the same
            *_identity(query),
            "csv" if as_csv else "json",
            "full hashes" if query.full_hashes else "",
        )
        return self._answering.answer(
            request,
            cache_key,
            make,
            send_first=lambda connection, known: report.send_first(connection, query, known),
            today=query.today,
            vary=", ".join(vary),
        )

    def _read(self, report: Report, query: Query, connection: Connection, changes: int) -> Any:
        """Return the result of a report. A long list is computed once for all its pages."""
        if not report.paged:
            return report.answer(connection, query)
        key = (report.name, *_identity(query), str(floor.min_requests()))
        found: Any = self._lists.get(key, changes)
        if found is None:
            found = report.answer(connection, query)
            self._lists.put(key, changes, found)
        return found


_AUTHORIZED: Final = {True: ("Authorization",), False: ()}


def _add(routes: APIRouter, report: Report, respond: Callable[[Request], Response]) -> None:
    """Add the documented route of a report."""

    @declare("read", "read")
    def endpoint(request: Request) -> Response:
        return respond(request)

    parameters = [parameter.documented() for parameter in report.all_parameters]
    if report.subject:
        schema = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}
        subject = {"name": report.subject.name, "in": "path", "required": True, "schema": schema}
        parameters.insert(0, subject)
    example = {"example": EXAMPLES[report.name]} if report.name in EXAMPLES else {}
    ok: dict[str, Any] = {"content": {"application/json": example}, "headers": as_of.DOCUMENTED}
    if report.row:
        of = f" of `{report.member}`" if report.member else ""
        rows = {"type": "string", "description": f"The rows{of}, without nested lists and objects."}
        ok["content"]["text/csv"] = {"schema": rows}
    failures = (
        *((404,) if report.subject else ()),
        *((401,) if report.shows_hashes else ()),
        422,
        429,
        503,
    )
    extra: dict[str, Any] = {"parameters": parameters}
    if report.shows_hashes:
        extra["security"] = [{}]  # the token is optional: without one, hashes are shortened
    routes.add_api_route(
        f"{PREFIX}/{report.name.replace('}', ':text}')}",
        endpoint,
        methods=["GET"],
        name=report.name,
        summary=report.summary,
        description=report.description,
        response_model=report.response,
        responses={
            200: ok,
            304: {**NOT_MODIFIED, "headers": as_of.DOCUMENTED},
            **problems.documented(*failures),
        },
        dependencies=[Depends(TOKEN_SCHEME)] if report.shows_hashes else [],
        openapi_extra=extra,
    )


def _identity(query: Query) -> tuple[str, ...]:
    """Return the parts that identify a query of a report, without its page."""
    filters = (f"{name}={value}" for name, value in query.filters.items())
    return (f"{query.window.start}..{query.window.end}", *filters)


def _written(report: Report, query: Query, result: Any, *, as_csv: bool) -> Answer:
    """Return the result of a report as CSV or JSON."""
    if not as_csv or report.row is None:
        return to_json(result)
    name = report.name.replace("/", "-")
    file = f"asu-stats-{name}-{query.window.start}_{query.window.end}.csv"
    return to_csv(report.row, report.rows(result), file)


def _as_csv(request: Request, given: ParameterValues) -> bool:
    preferred = "csv" if wants_csv(request.headers.get("accept", "")) else "json"
    return bool((given.value_of(FORMAT) or preferred) == "csv")
