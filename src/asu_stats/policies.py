"""Access and budget of routes, declared next to each route.

Access control, rate limits, metrics and error responses read the same table, `Policies`. A route
without a declaration keeps the server from starting. A path without a route counts as `UNKNOWN`:
it needs a token and is limited.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar

from asu_stats.exceptions import UndeclaredRouteError

# With `read_access = "token"`, `read` needs a token. `public` is for everybody. So is `build`, for
# the clients of the build service. `ingest` routes check a token, `operate` routes a session
# themselves.
Access: TypeAlias = Literal["public", "read", "ingest", "operate", "build"]
# `none` is never limited. Requests for a long time range or for CSV draw from `expensive` instead
# of `read`.
Budget: TypeAlias = Literal["none", "read", "expensive", "ingest"]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_DECLARED: Final = "declared_policy"
_NAMED_GROUP: Final = re.compile(r"\?P<\w+>")


@dataclass(frozen=True, slots=True)
class Policy:
    """Access and budget of a route.

    They also apply to all paths that begin with one of `under` and have no route of their own.
    """

    access: Access
    budget: Budget
    under: tuple[str, ...] = ()


UNKNOWN: Final = Policy("read", "read")


@dataclass(frozen=True, slots=True)
class DeclaredRoute:
    """A route and its policy. `template` is its path with names in braces, without converters."""

    template: str
    methods: tuple[str, ...]
    policy: Policy
    documented: bool  # in the OpenAPI document


def declare(access: Access, budget: Budget, *under: str) -> Callable[[Endpoint], Endpoint]:
    """Declare the policy of a route: a decorator for its endpoint, next to the path."""

    def declared(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _DECLARED, Policy(access, budget, under))
        return endpoint

    return declared


class Policies:
    """The policy of every route of an application, by path."""

    def __init__(self, routes: Iterable[Any]) -> None:
        """Take all routes, also those of included routers.

        Raises `UndeclaredRouteError` for a route without a policy, and for two routes of one path
        with different policies.
        """
        self.routes: list[DeclaredRoute] = []
        by_path: dict[str, Policy] = {}
        patterns: list[str] = []
        for route in _each(routes):
            policy = getattr(getattr(route, "endpoint", None), _DECLARED, None)
            if policy is None:
                raise UndeclaredRouteError(f"{route.path}: no access and budget declared")
            if by_path.setdefault(route.path, policy) != policy:
                raise UndeclaredRouteError(f"{route.path}: two policies for one path")
            methods = tuple(sorted(getattr(route, "methods", None) or ()))
            documented = getattr(route, "include_in_schema", False)
            self.routes.append(DeclaredRoute(route.path_format, methods, policy, documented))
            patterns.append(_NAMED_GROUP.sub("?:", route.path_regex.pattern))
        under = {path: policy for policy in by_path.values() for path in policy.under}
        patterns += [f"{re.escape(path)}(?s:.*)" for path in under]
        # The first pattern that matches decides, as it does for the router.
        self._policies = [*(route.policy for route in self.routes), *under.values()]
        self._pattern = re.compile("|".join(f"({pattern})" for pattern in patterns))

    def of(self, path: str) -> Policy:
        """Return the policy of a path as a request sends it, without the root path."""
        place = self._place(path)
        return UNKNOWN if place is None else self._policies[place]

    def template(self, path: str) -> str | None:
        """Return the path template of the route that has a path, `None` if no route has it."""
        place = self._place(path)
        if place is None or place >= len(self.routes):
            return None
        return self.routes[place].template

    def methods(self, path: str) -> set[str]:
        """Return the methods of all routes that have a path."""
        template = self.template(path)
        return {
            name for route in self.routes if route.template == template for name in route.methods
        }

    def _place(self, path: str) -> int | None:
        found = self._pattern.fullmatch(path)
        return found.lastindex - 1 if found and found.lastindex else None


def _each(routes: Iterable[Any]) -> Iterator[Any]:
    """Yield every route. Raises `UndeclaredRouteError` for an unknown kind of route."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            if route.include_context.prefix:
                raise UndeclaredRouteError(
                    f"{route.include_context.prefix}: a router with a prefix"
                )
            yield from _each(included.routes)
        elif hasattr(route, "path_regex") and hasattr(route, "endpoint"):
            yield route
        else:
            raise UndeclaredRouteError(f"{getattr(route, 'path', route)}: not a route of its own")
