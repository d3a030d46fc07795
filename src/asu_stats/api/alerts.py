"""`GET /api/v1/stats/alerts`: rules with their values and states, and notified incidents."""

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from sqlalchemy import Connection, Engine

from asu_stats.alert_rules import Rule
from asu_stats.api import params, problems
from asu_stats.api.answering import NOT_MODIFIED, by_content, to_json
from asu_stats.api.tokens import TOKEN_SCHEME, Access
from asu_stats.monitor import reporting, state
from asu_stats.policies import declare
from asu_stats.reports import floor
from asu_stats.reports.parameters import ONLY_JSON
from asu_stats.store.database.engine import read_snapshot

_HISTORY: Final = 100


def router(engine: Engine, rules: Sequence[Rule], access: Access) -> APIRouter:
    routes = APIRouter(tags=["statistics"])

    @routes.get(
        "/api/v1/stats/alerts",
        summary="Alert rules and incidents",
        response_model=reporting.Alerts,
        responses={304: NOT_MODIFIED, **problems.documented(401, 422, 503)},
        dependencies=[Depends(params.only_json), Depends(TOKEN_SCHEME)],
        openapi_extra={
            "parameters": [ONLY_JSON.documented()],
            "security": [{}],  # the token is optional: without one, its names are left out
        },
    )
    @declare("read", "read")
    def alerts(request: Request) -> Response:
        """Return each rule as the last evaluation saw it, and the latest incidents.

        An incident groups alerts that fired together, with their most likely cause.
        """
        shows_tokens = access.may_read_hashes(request)
        with read_snapshot(engine) as connection:
            shown = read(connection, rules, shows_tokens=shows_tokens)
        return by_content(request, to_json(shown), vary="Authorization")

    return routes


def send(connection: Connection) -> None:
    """Ask for what `read` needs, and do not wait for it."""
    state.send(connection, _HISTORY)


def read(connection: Connection, rules: Sequence[Rule], *, shows_tokens: bool) -> reporting.Alerts:
    """Return the response, with or without names of tokens."""
    known = state.read(connection)
    shown = reporting.overview(rules, known, state.history(connection, _HISTORY))
    if not shows_tokens:
        for silence in shown["silences"]:
            silence["created_by"] = None
    if floor.min_requests():
        names = floor.Visible(connection, floor.recent(connection))
        return reporting.public(shown, names)
    return shown
