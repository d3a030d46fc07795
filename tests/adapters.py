"""Lets all applications of this process share the Pydantic schemas of their routes.

They take most of the time that an application takes to start, and each test starts one.
"""

from typing import Any, Final

from fastapi._compat import v2
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


def share() -> None:
    v2.TypeAdapter = _shared  # type: ignore[attr-defined, assignment]
