"""Rate limits: requests per minute and address (docs/operations.md, Rate limits).

This middleware runs before the cache, so that cached responses count too. The build service, the
images and the health checks are not limited: their clients give up on any status that they do not
expect. Clients on this machine are not limited either: they are the operator, or a proxy that the
settings do not mention, and then all clients would share one limit.

Addresses are neither stored nor logged. Only a keyed digest of each is kept, for a minute.
"""

import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl

from limits import RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asu_stats.api import problems
from asu_stats.api.accept import wants_csv
from asu_stats.connections import route_path
from asu_stats.exceptions import InvalidSettingError, reason
from asu_stats.logs import Condition
from asu_stats.policies import Budget, Policies
from asu_stats.settings import Settings
from asu_stats.text import counted

if TYPE_CHECKING:  # it needs redis
    from redis.asyncio import ConnectionPool

log = logging.getLogger(__name__)

Address: TypeAlias = IPv4Address | IPv6Address

_WINDOW: Final = 60
_QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
_DAYS: Final = 92  # of a time range with the usual cost
_HOURS: Final = 7  # days of an hourly time range with the usual cost
_PAUSE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """State of a budget after a request: whether it is allowed, and what is left."""

    budget: Budget
    allowed: bool
    quota: int
    left: int
    seconds: int  # until the budget is renewed

    @property
    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Policy": f'"{self.budget}";q={self.quota};w={_WINDOW}',
            "RateLimit": f'"{self.budget}";r={self.left};t={self.seconds}',
        }


def budget_of(scope: Scope, policies: Policies) -> Budget:
    """Return the budget that an HTTP request draws from."""
    budget = policies.of(route_path(HTTPConnection(scope))).budget
    return "expensive" if budget == "read" and _is_expensive(scope) else budget


def _is_expensive(scope: Scope) -> bool:
    """Return whether a request is for a long time range or for CSV."""
    query = scope["query_string"].decode("ascii", "replace")
    given = dict(parse_qsl(query, max_num_fields=50)) if query.count("&") < 50 else {}
    accept = Headers(scope=scope).get("accept", "")
    if given.get("format") == "csv" or wants_csv(accept):
        return True
    most = _HOURS if given.get("interval") == "hour" else _DAYS
    try:
        if "days" in given:
            return int(given["days"]) > most
        if "start" in given:
            last = date.fromisoformat(given["end"]) if "end" in given else None
            first = date.fromisoformat(given["start"])
            return ((last or _today()) - first).days >= most
    except ValueError:
        return False  # it will be rejected, which costs nothing
    return False


def _today() -> date:
    return date.fromtimestamp(time.time())  # noqa: DTZ012 - a day more or less is all the same


def client_of(scope: Scope, proxies: int) -> Address | None:
    """Return the address of a client behind so many proxies.

    `None` for a client on this machine or an unreadable address. Each proxy appends the address of
    its caller to `X-Forwarded-For`. Entries before those of trusted proxies can be forged by
    anyone.
    """
    peer = scope.get("client")
    hops = [peer[0]] if peer else []
    if proxies:
        forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for"))
        hops = [hop for hop in forwarded.split(",") if hop.strip()][-proxies:] or hops
    try:
        address = ip_address(_bare(hops[0].strip()))
    except (IndexError, ValueError):
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return None if address.is_loopback else address


def _is_forwarded(scope: Scope) -> bool:
    return any(name in {b"x-forwarded-for", b"forwarded"} for name, _ in scope["headers"])


def _bare(hop: str) -> str:
    """Return an address without port and brackets, which some proxies add."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


class RateLimits:
    """Counts requests per address and budget, in this process or in Redis."""

    def __init__(self, settings: Settings, policies: Policies) -> None:
        self._policies = policies
        self.proxies = settings.proxies
        per_minute: Mapping[Budget, int] = {
            "read": settings.rate_limit_read,
            "expensive": settings.rate_limit_expensive,
            "ingest": settings.rate_limit_ingest,
        }
        self._items = {
            budget: RateLimitItemPerMinute(quota, namespace="asu-stats")
            for budget, quota in per_minute.items()
            if quota
        }
        url = settings.rate_limit_storage
        # Processes that share a storage must use the same digest for an address.
        self._key = blake2b(url.encode()).digest() if url else secrets.token_bytes(32)
        self._pool = _redis_pool(url) if url else None
        self._limiter = FixedWindowRateLimiter(_storage(url, self._pool))
        self._not_before = 0.0
        self._storage = Condition(log, "rate limits")
        self._warned = False

    async def take(self, scope: Scope) -> Verdict | None:
        """Count a request; return `None` if it is not limited, or Redis is unreachable."""
        if not (self.proxies or self._warned) and _is_forwarded(scope):
            self._warned = True
            log.warning(
                "rate limits: a request has X-Forwarded-For but proxies=0, so clients behind a "
                "reverse proxy share one limit; set proxies to the number of reverse proxies"
            )
        address = client_of(scope, self.proxies)
        budget = budget_of(scope, self._policies) if address else None
        item = self._items.get(budget) if budget else None
        if address is None or budget is None or item is None:
            return None
        if time.monotonic() < self._not_before:
            return None
        key = self._digest(address)
        try:
            allowed = await self._limiter.hit(item, budget, key)
            stats = await self._limiter.get_window_stats(item, budget, key)
            if (
                stats.reset_time - time.time() > 2 * _WINDOW
            ):  # the window began while a clock was ahead
                await self._limiter.clear(item, budget, key)
                allowed = await self._limiter.hit(item, budget, key)
                stats = await self._limiter.get_window_stats(item, budget, key)
        except Exception as error:  # of any storage: clients must not suffer from it
            words = str(error).partition("\n")[0].rstrip(".") or reason(error)
            self._storage.failed(f"{words}; limits are off for a minute")
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            return None
        self._storage.works()
        seconds = min(_WINDOW, max(1, ceil(stats.reset_time - time.time())))
        return Verdict(budget, allowed, item.amount, stats.remaining, seconds)

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._pool:
            await self._pool.aclose()

    def _digest(self, address: Address) -> str:
        """Return a digest of an address; for IPv6, of the network of a subscriber."""
        if isinstance(address, IPv6Address):
            network = ip_network((address, 64), strict=False)
            packed = network.network_address.packed[:8]
        else:
            packed = address.packed
        return blake2b(packed, key=self._key[:64], digest_size=12).hexdigest()


def _redis_pool(url: str) -> "ConnectionPool":
    try:
        from redis.asyncio import ConnectionPool

        return ConnectionPool.from_url(url, socket_timeout=1.0)
    except (ImportError, ValueError) as error:
        raise InvalidSettingError(
            "rate_limit_storage: expected a URL such as redis://localhost:6379/0, and the package "
            "redis: install asu-stats[redis]"
        ) from error


def _storage(url: str, pool: "ConnectionPool | None") -> Storage:
    if pool is None:
        storage = storage_from_string("async+memory://")
    else:
        options: Any = {"implementation": "redispy", "connection_pool": pool}
        storage = storage_from_string(f"async+{url}", **options)
    assert isinstance(storage, Storage)  # noqa: S101 - as the scheme says
    return storage


class Limited:
    """Rejects requests over the limit, and adds the remaining budget to all others."""

    def __init__(self, app: ASGIApp, limits: RateLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        verdict = await self._limits.take(scope) if scope["type"] == "http" else None
        if verdict is None:
            await self._app(scope, receive, send)
            return
        if not verdict.allowed:
            await _refusal(verdict)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in verdict.headers.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _refusal(verdict: Verdict) -> Response:
    return problems.problem(
        429,
        f"more than {counted(verdict.quota, 'request')} per minute; "
        f"try again in {counted(verdict.seconds, 'second')}",
        members={"type": _QUOTA_EXCEEDED, "violated-policies": [verdict.budget]},
        headers={**verdict.headers, "Retry-After": str(verdict.seconds)},
    )
