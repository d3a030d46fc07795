"""Lets all engines of this process share the statements that SQLAlchemy has compiled.

Each engine has a cache of its own, and each test an engine: compiling took 7% of all tests.
"""

from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.util import LRUCache

# What of a dialect makes a difference to compiled statements, beside its class.
_KIND: Final = (
    *("paramstyle", "server_version_info", "default_schema_name", "_backslash_escapes"),
    *("_json_serializer", "_json_deserializer", "label_length", "max_identifier_length"),
)


class _Shared(LRUCache[Any, Any]):
    """A cache that takes dialects of one kind for one."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_of_kind(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(_of_kind(key), compiled)


def _of_kind(key: Any) -> Any:
    dialect, *others = key
    return type(dialect), *(getattr(dialect, name, None) for name in _KIND), *others


class _Cache:
    """The attribute of an engine."""

    def __get__(self, engine: Engine, _: type) -> Any:
        return vars(engine)["_compiled_cache"]

    def __set__(self, engine: Engine, cache: Any) -> None:
        vars(engine)["_compiled_cache"] = _SHARED if isinstance(cache, LRUCache) else cache


_SHARED: Final = _Shared(2_000)


def share() -> None:
    Engine._compiled_cache = _Cache()  # type: ignore[assignment]
