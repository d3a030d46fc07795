"""`GET /api/v1/stats/alerts`: rules with their values and states, and notified incidents."""

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy import Engine

from asu_stats.alert_rules import Rule
from asu_stats.api import params, problems
from asu_stats.monitor import reporting, state
from asu_stats.policies import declare
from asu_stats.reports import floor
from asu_stats.reports.parameters import ONLY_JSON
from asu_stats.store.database.engine import read_snapshot

_HISTORY: Final = 100


def router(engine: Engine, rules: Sequence[Rule]) -> APIRouter:
    routes = APIRouter(tags=["statistics"])

    @routes.get(
        "/api/v1/stats/alerts",
        summary="Alert rules and incidents",
        response_model=reporting.Alerts,
        responses=problems.documented(422, 503),
        dependencies=[Depends(params.only_json)],
        openapi_extra={"parameters": [ONLY_JSON.documented()]},
    )
    @declare("read", "read")
    def alerts() -> JSONResponse:
        """Return each rule as the last evaluation saw it, and the latest incidents.

        An incident groups alerts that fired together, with their most likely cause.
        """
        return JSONResponse(read(engine, rules), headers={"Cache-Control": "no-cache"})

    return routes


def read(engine: Engine, rules: Sequence[Rule]) -> reporting.Alerts:
    """Return the response. Raises `StoreUnavailableError`."""
    with read_snapshot(engine) as connection:
        known = state.read(connection)
        shown = reporting.overview(rules, known, state.history(connection, _HISTORY))
        if floor.min_requests():
            names = floor.Visible(connection, floor.recent(connection))
            return reporting.public(shown, names)
    return shown
