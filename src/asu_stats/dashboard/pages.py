"""The pages. They are rendered on the server; scripts only draw charts and update figures."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.responses import Response

from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.connections import route_path, wants_page
from asu_stats.dashboard import assets, badges, embeds, manual
from asu_stats.dashboard.contents import alerts as alert_rules
from asu_stats.dashboard.contents import (
    clients,
    errors,
    insights,
    names,
    overview,
    packages,
    performance,
    requests,
)
from asu_stats.dashboard.contents.columns import Content
from asu_stats.dashboard.rendering import render
from asu_stats.dashboard.silencing import Session
from asu_stats.dashboard.view import (
    FILTERS,
    PAGE_CHOICES,
    PAGE_FILTERS,
    PAGES,
    PATHS,
    TIMELESS,
    TOPICS,
    View,
)
from asu_stats.exceptions import (
    AsuStatsError,
    InvalidParameterError,
    StoreUnavailableError,
    UnknownClientError,
    UnknownFingerprintError,
)
from asu_stats.policies import declare
from asu_stats.reports import annotations, floor, sums
from asu_stats.reports import now as now_report
from asu_stats.store.database.reading import Reading

_STATUSES: Final[Mapping[type[AsuStatsError], int]] = {
    InvalidParameterError: 422,
    UnknownClientError: 404,
    UnknownFingerprintError: 404,
    StoreUnavailableError: 503,
}
_DATA: Final = ("/api/", "/json/", "/store/", "/static/")  # paths for programs
_A_DAY: Final = {"Cache-Control": "max-age=86400"}
# Crawlers may read each page, but not its variants by query string, and not the API.
_ROBOTS: Final = "User-agent: *\nDisallow: /api/\nDisallow: /*?\n"
Read = Callable[[Connection, View], Content]
_CONTENTS: Final[Mapping[str, tuple[str, Read]]] = {
    "overview": ("overview.html", overview.read),
    "versions": ("list.html", names.read_versions),
    "targets": ("list.html", names.read_targets),
    "profiles": ("list.html", names.read_profiles),
    "clients": ("list.html", clients.read),
    "packages": ("packages.html", packages.read),
    "requests": ("requests.html", requests.read),
    "errors": ("errors.html", errors.read),
    "performance": ("performance.html", performance.read),
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Data sources of the pages; `now` is the clock.

    `jobs` returns the periodic jobs. `alerts` returns the rules and incidents, with names of tokens
    if its last argument is true; `send_alerts` asks the database for them. `session_of` returns who
    is signed in.
    """

    reading: Reading
    now: Callable[[], datetime]
    queues: CombinedQueue
    hourly_days: int
    jobs: Callable[[], Sequence[Mapping[str, Any]]]
    alerts: Callable[[Connection, bool], Mapping[str, Any]]
    send_alerts: Callable[[Connection], None]
    session_of: Callable[[Request], Session | None]
    embed_origins: Sequence[str] = ()

    def view(
        self,
        request: Request,
        page: str = "overview",
        accepted: Sequence[str] = FILTERS,
        choices: Sequence[str] = (),
    ) -> View:
        """Return the view of a request. Raises `InvalidParameterError`."""
        return View.of(
            request,
            page,
            now=self.now(),
            hourly_days=self.hourly_days,
            accepted=accepted,
            choices=choices,
        )

    def read(self, report: Callable[[Connection, View], Any], view: View) -> Any:
        """Return the result of `report` in a snapshot of the database."""
        return self.reading.run(lambda db: report(db, of_database(db, view)))


def of_database(db: Connection, view: View) -> View:
    """Return the view with the first day with data, and with names below the floor replaced."""
    filters = floor.masked(db, view.window, view.filters)
    return replace(view, filters=filters, since=sums.first_day(db))


def install(app: FastAPI, sources: Sources) -> Callable[[], None]:
    """Add the pages and their files to `app`.

    Return a function that computes the overview of its default time range and of a year. Later
    pages and reports of this process then find statements, templates and blocks in memory.
    """
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    contents: Mapping[str, tuple[str, Read]] = {
        **_CONTENTS,
        **{name: ("insights.html", insights.reader(sources.queues)) for name, _ in TOPICS},
        "alerts": ("alerts.html", lambda _db, _view: {}),
        "jobs": ("jobs.html", lambda _db, _view: {}),
    }
    labels = {name: f"Insights: {label}" for name, label in TOPICS}
    labels |= {name: label for name, label, _ in PAGES}
    for name, path in PATHS.items():
        page = _page(sources, name, labels[name], *contents[name])
        declare("read", "read")(page)
        routes.add_api_route(path, page, methods=["GET"], name=name)

    @routes.get("/docs")
    @declare("public", "none", "/docs/")
    def docs(request: Request) -> Response:
        return render(request, "docs.html", {})

    @routes.get("/static/{name:path}")
    @declare("public", "none", "/static/")
    def static(request: Request) -> Response:
        return assets.package_assets().respond(request)

    @routes.get("/favicon.ico")
    @declare("public", "none")
    def favicon() -> Response:
        icon = assets.package_assets().content("icon.svg")
        return Response(icon, media_type="image/svg+xml", headers=_A_DAY)

    @routes.get("/robots.txt")
    @declare("public", "none")
    def robots() -> Response:
        return PlainTextResponse(_ROBOTS, headers=_A_DAY)

    _show_missing_pages(app)
    manual.install(routes)
    badges.install(routes, sources.view, sources.read)
    embeds.install(routes, sources.view, sources.read, sources.embed_origins)
    app.router.routes.extend(routes.routes)
    overview_page = _page(sources, "overview", labels["overview"], *contents["overview"])

    def warm() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "app": app}
        with suppress(AsuStatsError):  # without a database, the first page is as slow as before
            for query in (b"", b"days=365"):
                overview_page(Request({**scope, "query_string": query}))

    return warm


def _show_missing_pages(app: FastAPI) -> None:
    """Respond to a browser with a page if the path does not exist."""
    respond = app.exception_handlers[HTTPException]

    def missing(request: Request, error: HTTPException) -> Any:
        is_data = route_path(request).startswith(_DATA)
        if error.status_code != 404 or is_data or not wants_page(request):
            return respond(request, error)
        detail = "There is no page at this address" if error.detail == "Not Found" else error.detail
        return render(request, "error.html", {"message": f"{detail}.", "status": 404}, status=404)

    app.add_exception_handler(HTTPException, cast(Any, missing))


def _page(
    sources: Sources, name: str, label: str, template: str, read: Read
) -> Callable[[Request], Response]:
    accepted = PAGE_FILTERS.get(name, insights.filters_of(name))
    choices = PAGE_CHOICES.get(name, insights.choices_of(name))

    has_state = name in {"overview", "alerts"}

    def content_of(view: View, is_member: bool, db: Connection) -> tuple[View, Content]:
        # All that needs no answer first goes to the database together.
        sums.send_days_of_data(db)
        read_now = now_report.send(db, sources.queues)
        if has_state:
            sources.send_alerts(db)
        if name not in TIMELESS:
            annotations.send(db, view.window)
        if name == "overview":
            overview.send(db, view)
        view = of_database(db, view)
        alerts = sources.alerts(db, is_member) if has_state else {}
        content = read(db, view)
        now = read_now()
        notes = () if name in TIMELESS else annotations.read(db, view.window)
        return view, {"now": now, "annotations": notes, "alerts": alerts, **content}

    def show(request: Request) -> Response:
        try:
            view = sources.view(request, name, accepted, choices)
            is_member = sources.session_of(request) is not None
            jobs = {"jobs": sources.jobs()} if name == "jobs" else {}
            view, content = sources.reading.run(partial(content_of, view, is_member))
        except tuple(_STATUSES) as error:
            if not wants_page(request):
                raise
            return _error_page(request, error)
        values: Content = {"view": view, "title": label, **content, **jobs}
        if name == "alerts":
            values |= {"alerts": alert_rules.explained(values["alerts"], view.now)}
        return render(request, content.get("template", template), values)

    return show


def _error_page(request: Request, error: AsuStatsError) -> Response:
    status = next(code for kind, code in _STATUSES.items() if isinstance(error, kind))
    message = error.public if isinstance(error, StoreUnavailableError) else str(error)
    response = render(request, "error.html", {"message": message, "status": status}, status=status)
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response
