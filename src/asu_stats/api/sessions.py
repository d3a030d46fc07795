"""Sessions of the dashboard: a cookie signed with a token of the scope read or operator.

It contains the name of the token and an expiry, signed with the stored digest of the token. Every
process can check it without a key of its own, and it ends with the token.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import Engine
from starlette.requests import HTTPConnection

from asu_stats.api import tokens
from asu_stats.store.database.engine import read_snapshot
from asu_stats.text import is_storable

COOKIE: Final = "asu_stats_session"
LASTS: Final = timedelta(days=7)
_AHEAD_SECONDS: Final = 300  # tolerated difference between clocks of servers


@dataclass(frozen=True, slots=True)
class Session:
    """A valid session: the name of its token, and whether that has the scope `operator`."""

    name: str
    is_operator: bool


class Sessions:
    """Creates and checks the cookies of sessions.

    `used` gets the name of the token of each valid session; `now` is the clock.
    """

    def __init__(
        self,
        engine: Engine,
        now: Callable[[], datetime],
        used: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._now = now
        self._used = used

    def begin(self, token: str) -> str | None:
        """Return the cookie for a valid token that may read, `None` for any other text."""
        with read_snapshot(self._engine) as connection:
            row = tokens.known(connection, token, self._now())
        if row is None or not tokens.includes(row.scope, "read"):
            return None
        until = int((self._now() + LASTS).timestamp())
        return _signed(row.name, until, tokens.digest(token))

    def of_request(self, connection: HTTPConnection) -> Session | None:
        """Return the session of a request, which is then also in its state.

        Raises `StoreUnavailableError`.
        """
        if not hasattr(connection.state, "session"):
            cookie = connection.cookies.get(COOKIE)
            connection.state.session = None if cookie is None else self.of(cookie)
        session: Session | None = connection.state.session
        return session

    def of(self, cookie: str) -> Session | None:
        """Return the session of a cookie.

        `None` if it is expired, or not signed with a token that is still valid.
        """
        try:
            encoded, until, _ = cookie.split(".")
            name = urlsafe_b64decode(encoded).decode()
            # A later expiry was signed while a clock was ahead.
            left = int(until) - self._now().timestamp() if until.isascii() else 0
            is_current = 0 < left <= LASTS.total_seconds() + _AHEAD_SECONDS
        except ValueError:
            return None
        if not is_storable(name) or not is_current:
            return None
        with read_snapshot(self._engine) as connection:
            row = tokens.named(connection, name, self._now())
        if row is None or not tokens.includes(row.scope, "read"):
            return None
        expected = _signed(name, int(until), row.token_hash)
        if not hmac.compare_digest(cookie.encode("utf-8", "replace"), expected.encode()):
            return None
        self._used(name)
        return Session(name, tokens.includes(row.scope, "operator"))


def _signed(name: str, until: int, digest: str) -> str:
    encoded = urlsafe_b64encode(name.encode()).decode()
    text = f"{encoded}.{until}"
    key = f"asu-stats session {digest}".encode()
    return f"{text}.{hmac.new(key, text.encode(), sha256).hexdigest()}"
