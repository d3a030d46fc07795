"""Lets all applications of this process share what FastAPI finds out about their routes.

That is the Pydantic schemas, whether functions are generators or coroutines, and what a route is
whose function has the same code. It takes most of the time that an application takes to start, and
each test starts one. Settings are read in half of the time as well.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from operator import attrgetter
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

from fastapi import routing
from fastapi._body_limit import wrap_app_with_body_limit
from fastapi._compat import v2
from fastapi.dependencies import models
from fastapi.exceptions import EndpointContext
from pydantic import TypeAdapter
from pydantic_settings import EnvSettingsSource
from starlette.types import ASGIApp, Receive, Scope, Send

_known: Final[dict[tuple[Any, ...], TypeAdapter[Any]]] = {}


def _shared(annotated: Any, *, config: Any = None) -> TypeAdapter[Any]:
    """Return the adapter of a type, the one made before if there is one."""
    key = (annotated.__origin__, repr(annotated.__metadata__), repr(config))
    try:
        return _known[key]
    except KeyError:
        return _known.setdefault(key, TypeAdapter(annotated, config=config))
    except TypeError:  # a type that has no hash
        return TypeAdapter(annotated, config=config)


class _Code:
    """Identifies a function by its code: each application makes the same functions again."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        plain = isinstance(call, FunctionType) and not hasattr(call, "__wrapped__")
        self._key: Any = call.__code__ if plain else call

    def __hash__(self) -> int:
        return id(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Code) and self._key is other._key


class _Lazy:
    """The ASGI application of a route, made at its first request: a test sends few of them."""

    def __init__(self, route: routing.APIRoute) -> None:
        self._route = route
        self._made: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._made is None:
            handler = routing.request_response(self._route.get_route_handler())
            self._made = wrap_app_with_body_limit(handler, self._route.max_body_size)
        await self._made(scope, receive, send)


class _Route(NamedTuple):
    """What FastAPI was given for a route, and what it found out."""

    signature: tuple[Any, ...]
    of_router: tuple[Any, ...]
    given: dict[str, Any]
    state: dict[str, Any]


_OF_ROUTER: Final = attrgetter(
    *("route_class", "tags", "responses", "dependencies", "callbacks", "deprecated"),
    *("include_in_schema", "default_response_class", "generate_unique_id_function"),
    *("strict_content_type", "max_body_size"),
)
_routes: Final[dict[tuple[Any, ...], _Route]] = {}
_add: Final[Callable[..., None]] = routing.APIRouter.add_api_route


def _added(router: routing.APIRouter, path: str, endpoint: Any, **given: Any) -> None:
    """Do what `add_api_route` does, with the results of an equal route before."""
    if not isinstance(endpoint, FunctionType) or hasattr(endpoint, "__wrapped__"):
        _add(router, path, endpoint, **given)
        return
    key = router.prefix + path, endpoint.__code__, *(given.get("methods") or ())
    signature: tuple[Any, ...] = endpoint.__annotations__, endpoint.__defaults__
    signature += endpoint.__kwdefaults__, endpoint.__name__, endpoint.__doc__
    of_router = _OF_ROUTER(router)
    known = _routes.get(key)
    if (
        known is None
        or known.signature != signature
        or known.of_router != of_router
        or known.given != given
    ):
        _add(router, path, endpoint, **given)
        made: Any = router.routes[-1]
        if type(made) is not routing.APIRoute:
            return
        # Without what belongs to this application, which would stay in memory.
        own: dict[str, Any] = {"app": None, "endpoint": None, "dependency_overrides_provider": None}
        own["dependant"] = replace(made.dependant, call=None)
        kept = tuple(copy(each) if isinstance(each, list | dict) else each for each in of_router)
        _routes[key] = _Route(signature, kept, given, vars(made) | own)
        return
    route = routing.APIRoute.__new__(routing.APIRoute)
    own = vars(route)
    own.update(known.state)
    for name in ("tags", "responses", "dependencies", "methods"):
        own[name] = own[name].copy()
    own["app"] = _Lazy(route)
    own["endpoint"] = endpoint
    own["dependency_overrides_provider"] = router.dependency_overrides_provider
    own["dependant"] = dependant = copy(own["dependant"])
    dependant.call = endpoint
    router.routes.append(route)
    router._mark_routes_changed()


def _context(endpoint: Any) -> EndpointContext:
    """Return where an endpoint is in the source, which takes longer to find than a response."""
    code = getattr(endpoint, "__code__", None)
    if code is None:
        return _find_context(endpoint)
    if code not in _contexts:
        _contexts[code] = _find_context(endpoint)
    return _contexts[code]


_contexts: Final[dict[CodeType, EndpointContext]] = {}
_find_context: Final = routing._extract_endpoint_context


def _variables(source: EnvSettingsSource) -> dict[str, Any]:
    """Read no variable where none has the prefix: looking for each setting takes 1 ms."""
    prefix = source.env_prefix.lower()
    found = any(name.lower().startswith(prefix) for name in source.env_vars)
    return _read_variables(source) if found else {}


_read_variables: Final = EnvSettingsSource.__call__


def share() -> None:
    EnvSettingsSource.__call__ = _variables  # type: ignore[assignment, method-assign]
    routing._extract_endpoint_context = _context  # type: ignore[assignment]
    routing.APIRouter.add_api_route = _added  # type: ignore[assignment, method-assign]
    models._CallIdentity = _Code  # type: ignore[assignment, misc]
    v2.TypeAdapter = _shared  # type: ignore[attr-defined, assignment]
