"""Single charts, for a frame on other websites."""

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

_FILTERS: Final = ("version", "target", "profile", "client")


def _requests(db: Connection, view: View) -> Chart:
    filters = view.only(*_FILTERS)
    timeseries.check(filters, view.interval)
    rows = timeseries.read(db, view.window, interval=view.interval, filters=filters)
    title = f"Requests for {', '.join(filters.values())}" if filters else "Firmware requests"
    return charts.over_time(rows, view.interval, title=title, **filters)


# Each chart with the filters that it accepts.
EMBEDS: Final[Mapping[str, tuple[Callable[[Connection, View], Chart], tuple[str, ...]]]] = {
    "requests": (_requests, _FILTERS),
    "versions": (names.adoption_chart, ()),
    "errors": (errors.chart, ("version", "target", "category", "type")),
    "durations": (performance.distribution_chart, ("version",)),
}


def install(
    routes: APIRouter,
    view_of: Callable[[Request], View],
    read: Callable[..., Any],
    origins: Sequence[str],
) -> None:
    """Add the route. Only pages of `origins` can show a chart in a frame."""
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

        def content(db: Connection, view: View) -> dict[str, Any]:
            notes = annotations.read(db, view.window)
            return {"view": view, "chart": chart_of(db, view), "annotations": notes}

        response = render(request, "embed.html", {"scheme": scheme, **read(content, view)})
        response.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
            "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
            f"frame-ancestors {ancestors}"
        )
        return response
