"""Sessions of the dashboard: a cookie signed with a read token.

It contains the name of the token and an expiry, signed with the stored digest of the token. Every
process can check it without a key of its own, and it ends with the token.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import Engine

from asu_stats.api import tokens
from asu_stats.store.database.engine import read_snapshot
from asu_stats.text import is_storable

COOKIE: Final = "asu_stats_session"
LASTS: Final = timedelta(days=7)
_AHEAD_SECONDS: Final = 300  # tolerated difference between clocks of servers


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
        """Return the cookie for a valid read token, `None` for any other text."""
        with read_snapshot(self._engine) as connection:
            name = tokens.name_of(connection, token, "read", self._now())
        if name is None:
            return None
        until = int((self._now() + LASTS).timestamp())
        return _signed(name, until, tokens.digest(token))

    def holds(self, cookie: str) -> bool:
        """Return whether a cookie is not expired, and signed with a token that is still valid."""
        try:
            encoded, until, _ = cookie.split(".")
            name = urlsafe_b64decode(encoded).decode()
            # A later expiry was signed while a clock was ahead.
            left = int(until) - self._now().timestamp() if until.isascii() else 0
            is_current = 0 < left <= LASTS.total_seconds() + _AHEAD_SECONDS
            if not is_storable(name) or not is_current:
                return False
        except ValueError:
            return False
        if not is_storable(name):
            return False
        with read_snapshot(self._engine) as connection:
            digest = tokens.digest_of(connection, name, "read", self._now())
        if digest is None:
            return False
        expected = _signed(name, int(until), digest)
        if not hmac.compare_digest(cookie.encode("utf-8", "replace"), expected.encode()):
            return False
        self._used(name)
        return True


def _signed(name: str, until: int, digest: str) -> str:
    encoded = urlsafe_b64encode(name.encode()).decode()
    text = f"{encoded}.{until}"
    key = f"asu-stats session {digest}".encode()
    return f"{text}.{hmac.new(key, text.encode(), sha256).hexdigest()}"
