"""Single charts, for a frame on another website."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.responses import Response

from asu_stats import queries
from asu_stats.dashboard import charts
from asu_stats.dashboard.charts import Chart
from asu_stats.dashboard.contents import errors, names, performance
from asu_stats.dashboard.rendering import render
from asu_stats.dashboard.view import WINDOW, View
from asu_stats.exceptions import InvalidParameterError
from asu_stats.policies import declare
from asu_stats.reports import annotations, timeseries

_SERIES: Final = ("version", "target", "profile", "client")


def _requests(db: Connection, view: View) -> Chart:
    asked = view.only(*_SERIES)
    timeseries.check(asked, view.interval)
    rows = timeseries.read(db, view.window, interval=view.interval, filters=asked)
    title = f"Requests for {', '.join(asked.values())}" if asked else "Firmware requests"
    return charts.over_time(rows, view.interval, title=title, **asked)


# Each chart with its filters.
EMBEDS: Final[Mapping[str, tuple[Callable[[Connection, View], Chart], tuple[str, ...]]]] = {
    "requests": (_requests, _SERIES),
    "versions": (names.adoption_chart, ()),
    "errors": (errors.chart, ("version", "target", "category", "type")),
    "durations": (performance.spread_chart, ("version",)),
}


def install(
    routes: APIRouter,
    view_of: Callable[[Request], View],
    read: Callable[..., Any],
    origins: Sequence[str],
) -> None:
    """Add the charts to `routes`. Only pages of `origins` may show them in a frame."""
    ancestors = " ".join(origins) or "'none'"

    @routes.get("/embed/{name}", name="embed")
    @declare("read", "read")
    def embed(request: Request) -> Response:
        if request.path_params["name"] not in EMBEDS:
            raise HTTPException(404, f"unknown chart: expected one of {', '.join(EMBEDS)}")
        scheme = request.query_params.get("theme", "")
        if scheme not in {"", "light", "dark"}:
            raise InvalidParameterError("theme", got=scheme, expected="light or dark")
        chart_of, filters = EMBEDS[request.path_params["name"]]
        queries.read(request.scope["query_string"], (*WINDOW, *filters, "theme"))
        view = view_of(request)

        def drawn(db: Connection, view: View) -> dict[str, Any]:
            noted = annotations.read(db, view.window)
            return {"view": view, "chart": chart_of(db, view), "annotations": noted}

        shown = {"scheme": scheme, **read(drawn, view)}
        answer = render(request, "embed.html", shown)
        answer.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
            "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
            f"frame-ancestors {ancestors}"
        )
        return answer
