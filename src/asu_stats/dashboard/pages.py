"""The index page and the API documentation, rendered on the server, without scripts."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy import Engine
from starlette.staticfiles import StaticFiles

from asu_stats import __version__
from asu_stats.reports import errors, overview, versions
from asu_stats.store.engine import read_snapshot
from asu_stats.windows import Window

STATIC: Final = Path(__file__).parent / "static"
_METHODS: Final = ("get", "post")


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


_templates = Environment(
    loader=PackageLoader("asu_stats.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["json"] = _json
_templates.filters["number"] = lambda value: "–" if value is None else f"{value:,}"  # noqa: RUF001


def install(
    app: FastAPI,
    engine: Engine,
    *,
    today: Callable[[], date],
    queue_length: Callable[[], int],
    old_endpoints: Sequence[Mapping[str, str | None]],
    sunset: date | None,
) -> None:
    """Put the pages and their style sheet on `app`."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    def page(request: Request, template: str, **values: Any) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        text = _templates.get_template(template).render(root=root, version=__version__, **values)
        return HTMLResponse(text, headers={"Cache-Control": "no-cache"})

    @routes.get("/")
    def index(request: Request) -> HTMLResponse:
        window = Window.last(7, today=today())
        with read_snapshot(engine) as connection:
            figures = overview.read(connection, window)
            top = versions.read(connection, window)[:8]
            failures = errors.read(connection, window)["by_category"]
        return page(
            request,
            "index.html",
            figures=figures,
            versions=top,
            failures=failures,
            queue_length=queue_length(),
        )

    @routes.get("/docs")
    def docs(request: Request) -> HTMLResponse:
        return page(request, "docs.html", tags=_operations(app.openapi()))

    @routes.get("/docs/migration")
    def migration(request: Request) -> HTMLResponse:
        return page(request, "migration.html", endpoints=old_endpoints, sunset=sunset)

    app.include_router(routes)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _operations(schema: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the operations of an OpenAPI document by tag, in its order."""
    tags: dict[str, list[dict[str, Any]]] = {}
    for path, methods in schema["paths"].items():
        for method in _METHODS:
            if method in methods:
                operation = {**methods[method], "path": path, "method": method.upper()}
                tags.setdefault(operation.get("tags", ["other"])[0], []).append(operation)
    return tags
