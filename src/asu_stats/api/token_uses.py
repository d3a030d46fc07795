"""When tokens were last used, written in the background.

Requests only note their token in memory. A loop writes a use at most once in five minutes per
token, so that sending events costs no further transaction.
"""

import contextlib
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine, or_, update

from asu_stats.exceptions import StoreUnavailableError
from asu_stats.loops import Loop
from asu_stats.store.database.engine import write_transaction
from asu_stats.store.database.schema import api_tokens
from asu_stats.times import naive

PRECISION: Final = timedelta(minutes=5)
_CHECK_SECONDS: Final = 60.0
t = api_tokens.c


class TokenUses:
    """Collects uses of tokens by name, and writes them. Safe to use from any thread."""

    def __init__(self, engine: Engine, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now
        self._guard = threading.Lock()
        self._pending: dict[str, datetime] = {}
        self._written: dict[str, datetime] = {}
        self._loop: Loop | None = None

    def note(self, name: str) -> None:
        """Remember that a token is used now."""
        now = self._now()
        with self._guard:
            written = self._written.get(name)
            if written is None or abs(now - written) >= PRECISION:
                self._pending[name] = now

    def write(self) -> None:
        """Write the uses so far. Raises `StoreUnavailableError`; they are written later then."""
        with self._guard:
            pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            with write_transaction(self._engine) as connection:
                for name, used in pending.items():
                    older = or_(t.last_used_at.is_(None), t.last_used_at <= naive(used - PRECISION))
                    values = {"last_used_at": naive(used)}
                    connection.execute(
                        update(api_tokens).where(t.name == name, older).values(values)
                    )
        except StoreUnavailableError:
            with self._guard:
                self._pending = pending | self._pending
            raise
        with self._guard:
            self._written |= pending

    def start(self) -> None:
        self._loop = Loop("token uses", self.write, seconds=_CHECK_SECONDS)
        self._loop.start()

    def close(self) -> None:
        """Write the rest, and stop."""
        if self._loop:
            self._loop.join()
        with contextlib.suppress(StoreUnavailableError):  # not worth waiting for
            self.write()
