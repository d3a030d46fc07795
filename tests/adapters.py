"""Lets all applications of this process share what FastAPI finds out about their routes.

That is the Pydantic schemas, whether functions are generators or coroutines, and what a route is
whose function has the same code. It takes most of the time that an application takes to start, and
each test starts one.
"""

from collections.abc import Callable
from dataclasses import replace
from types import FunctionType
from typing import Any, Final, NamedTuple

from fastapi import routing
from fastapi._compat import v2
from fastapi.dependencies import models
from pydantic import TypeAdapter

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


class _Route(NamedTuple):
    """What FastAPI was given for a route, and what it found out."""

    signature: tuple[Any, ...]
    given: dict[str, Any]
    state: dict[str, Any]


_routes: Final[dict[tuple[Any, ...], _Route]] = {}
_populate: Final[Callable[..., None]] = routing._populate_api_route_state


def _populated(route: Any, path: str, endpoint: Any, **given: Any) -> None:
    """Do what `_populate_api_route_state` does, with the results of an equal route before."""
    plain = isinstance(endpoint, FunctionType) and not hasattr(endpoint, "__wrapped__")
    if type(route) is not routing.APIRoute or not plain:
        _populate(route, path, endpoint, **given)
        return
    provider = given.pop("dependency_overrides_provider", None)
    signature: tuple[Any, ...] = (endpoint.__annotations__, endpoint.__defaults__)
    signature += (endpoint.__kwdefaults__, endpoint.__name__, endpoint.__doc__)
    key = path, endpoint.__code__
    known = _routes.get(key)
    if known is None or known.signature != signature or known.given != given:
        before = set(vars(route))
        _populate(route, path, endpoint, **given)
        state = {name: value for name, value in vars(route).items() if name not in before}
        # Without what belongs to this application, which would stay in memory.
        state |= {"endpoint": None, "dependant": replace(route.dependant, call=None)}
        _routes[key] = _Route(signature, given, state)
    own = _routes[key].state
    copies = {name: own[name].copy() for name in ("tags", "responses", "dependencies", "methods")}
    vars(route).update(own | copies)
    route.endpoint = endpoint
    route.dependency_overrides_provider = provider
    route.dependant = replace(own["dependant"], call=endpoint)


def share() -> None:
    routing._populate_api_route_state = _populated
    models._CallIdentity = _Code  # type: ignore[assignment, misc]
    v2.TypeAdapter = _shared  # type: ignore[attr-defined, assignment]
