"""Access tokens: for sending events, and for reading statistics and full request hashes.

A token is 256 random bits, so a fast hash is safe; only its SHA-256 is stored. The
database is read at each use: a revoked token is rejected at once by every process.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, Literal

from fastapi.security import HTTPBearer
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from asu_stats.exceptions import AsuStatsError
from asu_stats.settings import Settings
from asu_stats.store.database.engine import read_snapshot, write_transaction
from asu_stats.store.database.schema import api_tokens
from asu_stats.times import naive, utc_now

Scope = Literal["ingest", "read"]
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
    revoked_at: datetime | None


class Access:
    """Checks the `Authorization` header of requests."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        configured = settings.ingest_token
        self._ingest_digest = digest(configured.get_secret_value()) if configured else None

    def require(self, request: HTTPConnection, scope: Scope) -> None:
        """Raise 401 without a valid token, 403 for a token with another scope."""
        found = self.scope_of(request)
        if found is None:
            raise HTTPException(401, "expected a Bearer token", {"WWW-Authenticate": REALM})
        if found != scope:
            challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
            raise HTTPException(
                403, f"the token lacks the scope {scope}", {"WWW-Authenticate": challenge}
            )

    def may_read_hashes(self, request: HTTPConnection) -> bool:
        """Tell whether full hashes may be shown (docs/reference/figures.md, Request hashes)."""
        return self.scope_of(request) == "read"

    def scope_of(self, request: HTTPConnection) -> str | None:
        """Return the scope of the token of a request, `None` without one; 401 if it is invalid."""
        header = request.headers.get("authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        found = digest(token.strip())
        if scheme.lower() == "bearer":
            if self._ingest_digest and hmac.compare_digest(found, self._ingest_digest):
                return "ingest"
            with read_snapshot(self._engine) as connection:
                scope = _scope_of(connection, found)
            if scope is not None:
                return scope
        challenge = f'{REALM}, error="invalid_token"'
        raise HTTPException(401, "the token is not valid", {"WWW-Authenticate": challenge})


def create(engine: Engine, name: str, scope: Scope) -> str:
    """Store a new token and return it. It cannot be shown again.

    Raises `AsuStatsError` if the name is taken.
    """
    token = f"asu_{secrets.token_urlsafe(32)}"
    row = {
        "name": name,
        "scope": scope,
        "token_hash": digest(token),
        "prefix": token[:8],
        "created_at": naive(utc_now()),
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
    query = select(t.c.name, t.c.scope, t.c.prefix, t.c.created_at, t.c.revoked_at)
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


def digest(token: str) -> str:
    """Return the stored digest of a token."""
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def name_of(connection: Connection, token: str, scope: Scope) -> str | None:
    """Return the name of a valid token of a scope, `None` for any other text."""
    t = api_tokens
    valid = select(t.c.name).where(
        t.c.token_hash == digest(token), t.c.scope == scope, t.c.revoked_at.is_(None)
    )
    return connection.execute(valid).scalar_one_or_none()


def digest_of(connection: Connection, name: str, scope: Scope) -> str | None:
    """Return the stored digest of a valid token, by name and scope."""
    t = api_tokens
    valid = select(t.c.token_hash).where(
        t.c.name == name, t.c.scope == scope, t.c.revoked_at.is_(None)
    )
    return connection.execute(valid).scalar_one_or_none()


def _scope_of(connection: Connection, token_hash: str) -> str | None:
    t = api_tokens
    valid = select(t.c.scope).where(t.c.token_hash == token_hash, t.c.revoked_at.is_(None))
    return connection.execute(valid).scalar_one_or_none()
