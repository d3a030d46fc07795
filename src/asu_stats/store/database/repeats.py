"""Statements that are sent ahead because the same query needed them last time.

Some statements of a report follow from rows that it read before: the texts of the errors that it
lists, or the slowest builds with the durations that it found. Sent after these rows, they cost
another round trip. Most changes of the data do not change such statements. So the process remembers
them by query and sends them together with the first ones. If the query needs exactly these,
their rows are there; else it sends what it needs. Rows are not remembered: all are of the snapshot.

SQLite has no round trips, so nothing is sent ahead there.
"""

import contextlib
import threading
from collections.abc import Hashable, Iterator
from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from asu_stats.caches import LruCache
from asu_stats.store.database import statements
from asu_stats.store.database.statements import Call

_QUERIES: Final = 512
_BYTES: Final = 4 << 20
_CALL_BYTES: Final = 600  # in memory besides texts
_Remembered: TypeAlias = LruCache[Hashable, tuple[Call, ...]]

_engines: Final[WeakKeyDictionary[Engine, _Remembered]] = WeakKeyDictionary()
_guard: Final = threading.Lock()


def _size(query: Hashable, calls: tuple[Call, ...]) -> int:
    texts = (value for call in calls for value in call.parameters.values())
    return len(repr(query)) + sum(
        _CALL_BYTES + len(text) for text in texts if isinstance(text, str)
    )


def _remembered(engine: Engine) -> _Remembered:
    with _guard:
        if engine not in _engines:
            _engines[engine] = LruCache(entries=_QUERIES, size_bytes=_BYTES, size=_size)
        return _engines[engine]


def forget(engine: Engine) -> None:
    """Drop what the process remembers of the queries of a database."""
    with _guard:
        _engines.pop(engine, None)


@contextlib.contextmanager
def sent_ahead(connection: Connection, query: Hashable) -> Iterator[None]:
    """Send what the block sent by `send_once` for the same query, and do not wait for it.

    What it sends now is remembered for the next time, without what was sent before the block.
    """
    is_snapshot = connection.get_execution_options().get("snapshot")
    if not is_snapshot or connection.dialect.name == "sqlite":
        yield
        return
    remembered = _remembered(connection.engine)
    ahead = remembered.get(query) or ()
    with statements.noted(connection, ahead) as needed:
        yield
    if needed or ahead:
        remembered.put(query, tuple(needed))
