"""Access tokens: for sending events, reading statistics with full request hashes, and operating.

A token is 256 random bits, so a fast hash is safe; only its SHA-256 is stored. The
database is read at each use: a revoked token is rejected at once by every process.
"""

import hmac
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Literal

from fastapi.security import HTTPBearer
from sqlalchemy import ColumnElement, Connection, Engine, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from asu_stats.event_times import format_time
from asu_stats.exceptions import AsuStatsError
from asu_stats.settings import Settings
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import api_tokens
from asu_stats.times import aware, naive, utc_now

log = logging.getLogger(__name__)

Scope = Literal["ingest", "read", "operator"]
# The scopes that each scope includes.
_INCLUDED: Final[Mapping[str, frozenset[str]]] = {
    "ingest": frozenset({"ingest"}),
    "read": frozenset({"read"}),
    "operator": frozenset({"operator", "read"}),
}
REALM: Final = 'Bearer realm="asu-stats"'

# Only for OpenAPI: as a dependency it adds the scheme to the document and rejects nothing.
TOKEN_SCHEME: Final = HTTPBearer(
    scheme_name="token", description="Created by `asu-stats token create`.", auto_error=False
)


@dataclass(frozen=True, slots=True)
class Token:
    """A stored token, without the secret."""

    name: str
    scope: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class Access:
    """Checks the `Authorization` header of requests.

    `used` gets the name of each valid token; `now` is the clock.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
        used: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._now = now
        self._used = used
        configured = settings.ingest_token
        self._ingest_digest = digest(configured.get_secret_value()) if configured else None

    def require(self, request: HTTPConnection, scope: Scope) -> str:
        """Return the name of the token of a request.

        Raises 401 without a valid token, 403 for a token with another scope. The token of the
        settings has no name.
        """
        found = self._found(request)
        if found is None:
            raise HTTPException(401, "expected a Bearer token", {"WWW-Authenticate": REALM})
        name, given = found
        if not includes(given, scope):
            challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
            raise HTTPException(
                403, f"the token lacks the scope {scope}", {"WWW-Authenticate": challenge}
            )
        return name

    def may_read_hashes(self, request: HTTPConnection) -> bool:
        """Return whether full hashes may be shown (docs/reference/figures.md, Request hashes)."""
        found = self.scope_of(request)
        return found is not None and includes(found, "read")

    def scope_of(self, request: HTTPConnection) -> str | None:
        """Return the scope of the token of a request, `None` without one.

        Raises 401 if it is invalid or expired.
        """
        found = self._found(request)
        return found and found[1]

    def _found(self, request: HTTPConnection) -> tuple[str, str] | None:
        """Return name and scope of the token of a request, `None` without one. Raises 401."""
        header = request.headers.get("authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        found = digest(token.strip())
        if scheme.lower() == "bearer":
            if self._ingest_digest and hmac.compare_digest(found, self._ingest_digest):
                return "", "ingest"
            with read_snapshot(self._engine) as connection:
                row = _unrevoked(connection, found)
            if row is not None:
                self._check_expiry(row)
                self._used(row.name)
                return str(row.name), str(row.scope)
        raise _invalid("the token is not valid")

    def _check_expiry(self, row: Any) -> None:
        if row.expires_at is not None and row.expires_at <= naive(self._now()):
            log.warning("access: token expired name=%s", row.name)
            moment = format_time(aware(row.expires_at))
            raise _invalid(f"the token expired at {moment}: create a new one")


def _invalid(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": f'{REALM}, error="invalid_token"'})


def create(engine: Engine, name: str, scope: Scope, *, expires_at: datetime | None = None) -> str:
    """Store a new token and return it. It cannot be shown again. Without an end it never expires.

    Raises `AsuStatsError` if the name is taken.
    """
    token = f"asu_{secrets.token_urlsafe(32)}"
    row = {
        "name": name,
        "scope": scope,
        "token_hash": digest(token),
        "prefix": token[:8],
        "created_at": naive(utc_now()),
        "expires_at": expires_at and naive(expires_at),
    }
    try:
        with write_transaction(engine) as connection:
            connection.execute(insert(api_tokens), row)
    except IntegrityError:
        raise AsuStatsError(f"token {name!r} exists already") from None
    return token


def all_tokens(engine: Engine) -> list[Token]:
    """Return all tokens by name, including revoked ones."""
    t = api_tokens
    query = select(*(t.c[each.name] for each in fields(Token)))
    with read_snapshot(engine) as connection:
        return [Token(*row) for row in connection.execute(query.order_by(t.c.name))]


def revoke(engine: Engine, name: str) -> None:
    """Revoke a token at once, for every process. Raises `AsuStatsError` if it does not exist."""
    t = api_tokens
    now = naive(utc_now())
    with write_transaction(engine) as connection:
        valid = update(t).where(t.c.name == name, t.c.revoked_at.is_(None))
        if connection.execute(valid.values(revoked_at=now)).rowcount == 0:
            raise AsuStatsError(f"no valid token has the name {name!r}")


def includes(scope: str, needed: Scope) -> bool:
    """Return whether a token of `scope` may do what needs the scope `needed`."""
    return needed in _INCLUDED.get(scope, ())


def digest(token: str) -> str:
    """Return the stored digest of a token."""
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def named(connection: Connection, name: str, now: datetime) -> Any:
    """Return scope and stored digest of a valid token, `None` if there is none of that name."""
    t = api_tokens
    valid = select(t.c.scope, t.c.token_hash).where(t.c.name == name, _is_valid(now))
    return connection.execute(valid).one_or_none()


def known(connection: Connection, token: str, now: datetime) -> Any:
    """Return name and scope of a valid token, `None` for any other text."""
    t = api_tokens
    valid = select(t.c.name, t.c.scope).where(t.c.token_hash == digest(token), _is_valid(now))
    return connection.execute(valid).one_or_none()


def _is_valid(now: datetime) -> ColumnElement[bool]:
    t = api_tokens.c
    return t.revoked_at.is_(None) & or_(t.expires_at.is_(None), t.expires_at > naive(now))


def _unrevoked(connection: Connection, token_hash: str) -> Any:
    """Return name, scope and expiry of a token that was not revoked, `None` for another text."""
    t = api_tokens
    query = select(t.c.name, t.c.scope, t.c.expires_at)
    known = query.where(t.c.token_hash == token_hash, t.c.revoked_at.is_(None))
    return connection.execute(known).one_or_none()
