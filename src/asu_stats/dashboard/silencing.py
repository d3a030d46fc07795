"""Silences from the Alerts page, for a visitor who signed in with an operator token."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from sqlalchemy import Engine
from starlette.responses import Response

from asu_stats.alert_rules import Rule
from asu_stats.dashboard import forms
from asu_stats.dashboard.forms import IsOwnOrigin
from asu_stats.dashboard.rendering import render
from asu_stats.event_times import format_time
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.monitor import state
from asu_stats.policies import declare
from asu_stats.store.database.engine import write_transaction
from asu_stats.text import NAME_LENGTH, is_storable

log = logging.getLogger(__name__)

MOST_HOURS: Final = 8760
_MOST_NUMBER: Final = 2**63 - 1


class Session(Protocol):
    """Who is signed in."""

    @property
    def name(self) -> str: ...
    @property
    def is_operator(self) -> bool: ...


class Silences:
    """Creates and ends silences from the fields of forms."""

    def __init__(self, engine: Engine, rules: Sequence[Rule], now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._rules = {rule.name for rule in rules}
        self._now = now

    def silence(self, fields: Mapping[str, str], operator: str) -> str:
        """Create a silence. Returns a problem with the fields, else nothing."""
        rule = fields.get("rule") or None
        subject = tuple(
            (dimension, fields[dimension])
            for dimension in state.DIMENSIONS
            if fields.get(dimension)
        )
        comment = fields.get("comment", "").strip()
        hours = _hours(fields.get("hours", ""))
        if rule is None and not subject:
            return "A silence needs a rule or a subject."
        if rule is not None and rule not in self._rules:
            return "There is no such rule."
        texts = (*(value for _, value in subject), comment)
        if any(len(text) > NAME_LENGTH or not is_storable(text) for text in texts):
            return f"Names and reasons have at most {NAME_LENGTH} characters."
        if hours is None:
            return f"hours: expected a number up to {MOST_HOURS}."
        moment = self._now()
        until = moment + timedelta(hours=hours)
        with write_transaction(self._engine) as connection:
            number = state.silence(
                connection,
                rule=rule,
                subject=subject,
                until=until,
                comment=comment,
                now=moment,
                created_by=operator,
            )
        log.info(
            "alerts: silenced number=%s rule=%s until=%s token=%s",
            number,
            rule or "all",
            format_time(until.replace(microsecond=0)),
            operator,
        )
        return ""

    def unsilence(self, fields: Mapping[str, str], operator: str) -> str:
        """End a silence. Returns a problem with the fields, else nothing."""
        text = fields.get("number", "")
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
        if not 0 < number <= _MOST_NUMBER:
            return "number: expected the number of a silence."
        with write_transaction(self._engine) as connection:
            found = state.unsilence(connection, number)
        if found:
            log.info("alerts: silence ended number=%s token=%s", number, operator)
        return ""  # else another operator was faster


def router(
    engine: Engine,
    rules: Sequence[Rule],
    *,
    now: Callable[[], datetime],
    session_of: Callable[[Request], Session | None],
    is_own_origin: IsOwnOrigin,
) -> APIRouter:
    """Return the routes. `session_of` checks the token of a session, for each request."""
    routes = APIRouter(include_in_schema=False)
    silences = Silences(engine, rules, now)

    @routes.post("/alerts/silence")
    @declare("operate", "read")
    async def silence(request: Request) -> Response:
        return await _handled(request, silences.silence)

    @routes.post("/alerts/unsilence")
    @declare("operate", "read")
    async def unsilence(request: Request) -> Response:
        return await _handled(request, silences.unsilence)

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


def _hours(text: str) -> float | None:
    try:
        hours = float(text)
    except ValueError:
        return None
    return hours if math.isfinite(hours) and 0 < hours <= MOST_HOURS else None


def _refused(request: Request, message: str, status: int) -> Response:
    values: dict[str, Any] = {"message": message, "status": status, "back": "/alerts"}
    response = render(request, "error.html", values, status=status)
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response
