"""Lets all applications of this process share what FastAPI finds out about their routes.

That is the Pydantic schemas, and whether functions are generators or coroutines. It takes most of
the time that an application takes to start, and each test starts one.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

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


def share() -> None:
    models._CallIdentity = _Code  # type: ignore[assignment, misc]
    v2.TypeAdapter = _shared  # type: ignore[attr-defined, assignment]
