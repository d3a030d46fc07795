"""Silences from the Alerts page, for a visitor who signed in with an operator token."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from starlette.responses import Response

from asu_stats.dashboard import forms
from asu_stats.dashboard.forms import IsOwnOrigin
from asu_stats.dashboard.rendering import render
from asu_stats.exceptions import InvalidSilenceError, StoreUnavailableError
from asu_stats.monitor import state
from asu_stats.monitor.silencing import MOST_NUMBER, Silences
from asu_stats.policies import declare

log = logging.getLogger(__name__)


class Session(Protocol):
    """Who is signed in."""

    @property
    def name(self) -> str: ...
    @property
    def is_operator(self) -> bool: ...


def _created(silences: Silences, fields: Mapping[str, str], operator: str) -> str:
    """Create a silence from the fields of a form. Returns a problem, else nothing."""
    subject = {name: fields[name] for name in state.DIMENSIONS if fields.get(name)}
    try:
        hours = float(fields.get("hours", ""))
    except ValueError:
        hours = 0.0
    try:
        silences.create(
            rule=fields.get("rule") or None,
            subject=subject,
            hours=hours,
            comment=fields.get("comment", ""),
            operator=operator,
        )
    except InvalidSilenceError as error:
        return str(error) if error.field == "hours" else error.problem
    return ""


def _ended(silences: Silences, fields: Mapping[str, str], operator: str) -> str:
    """End a silence. Returns a problem with the fields, else nothing."""
    text = fields.get("number", "")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
    if not 0 < number <= MOST_NUMBER:
        return "number: expected the number of a silence."
    silences.end(number, operator)  # if another operator was faster, it is gone
    return ""


def router(
    silences: Silences,
    *,
    session_of: Callable[[Request], Session | None],
    is_own_origin: IsOwnOrigin,
) -> APIRouter:
    """Return the routes. `session_of` checks the token of a session, for each request."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/alerts/silence")
    @declare("operate", "read")
    async def silence(request: Request) -> Response:
        return await _handled(request, partial(_created, silences))

    @routes.post("/alerts/unsilence")
    @declare("operate", "read")
    async def unsilence(request: Request) -> Response:
        return await _handled(request, partial(_ended, silences))

    async def _handled(
        request: Request, change: Callable[[Mapping[str, str], str], str]
    ) -> Response:
        """Make a change for an operator, and show the silences."""
        fields = await forms.fields_of(request)
        if fields is None or not forms.is_same_origin(request, is_own_origin):
            return _refused(request, forms.ELSEWHERE, 400)
        return await run_sync(_changed, request, fields, change)

    def _changed(
        request: Request, fields: Mapping[str, str], change: Callable[[Mapping[str, str], str], str]
    ) -> Response:
        try:
            session = session_of(request)
            if session is None:
                log.warning("alerts: silence refused reason=no valid session")
                detail = "You are not signed in, or your token was revoked or has expired."
                return _refused(request, detail, 401)
            if not session.is_operator:
                log.warning("alerts: silence refused reason=scope token=%s", session.name)
                return _refused(request, "Your token lacks the scope operator.", 403)
            if problem := change(fields, session.name):
                return _refused(request, problem, 422)
        except StoreUnavailableError as error:
            return _refused(request, f"{error.public}.", 503)
        return forms.redirect(request, "/alerts#silences")

    return routes


def _refused(request: Request, message: str, status: int) -> Response:
    values: dict[str, Any] = {"message": message, "status": status, "back": "/alerts"}
    response = render(request, "error.html", values, status=status)
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response
