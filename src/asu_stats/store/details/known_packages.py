"""Packages that the process remembers, so that a report needs no round trip for them.

Which lists and names a report needs is in its rows, so a look-up must wait for the rows. On
PostgreSQL they are therefore remembered, and newer names are read together with the rows: numbers
ascend in the order of commits. SQLite has no round trips: there, and outside of snapshots, nothing
is remembered.

A number has one name only within one history of a database: a standby that takes over may lack the
last names, and give their numbers to others. So the last remembered name is read again each time,
with the transaction that wrote it. If either is different, everything is forgotten.
"""

import threading
from collections.abc import Callable, Iterable
from sys import getsizeof
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    FromClause,
    Select,
    Text,
    bindparam,
    cast,
    literal_column,
    select,
)

from asu_stats.caches import LruCache
from asu_stats.store.database import statements
from asu_stats.store.database.schema import package_names

# Names come from strangers. Beyond these limits they are looked up.
_MOST: Final = 1 << 15
_BYTES: Final = 8 << 20
_ENTRY_BYTES: Final = 100  # in memory besides the name
_LIST_BYTES: Final = 16 << 20
_LIST_ENTRY_BYTES: Final = 350
_DAYS: Final = 1 << 13

_t: Final = package_names.c
_NEWER: Final = (
    select(_t.number, _t.name, cast(literal_column("package_names.xmin"), Text))
    .where(_t.number >= bindparam("last", type_=BigInteger))
    .order_by(_t.number)
    .limit(bindparam("most", type_=BigInteger))
)
_NUMBER: Final = (("number", _t.number.type),)


class _Last(NamedTuple):
    """The last remembered name, and the transaction that wrote it."""

    number: int
    name: str
    written_by: str


class Known:
    """Names and lists by number, of one history of a database.

    `days` has the last change of each day whose lists are likely to be remembered, by the kind of
    its rows and its ordinal.
    """

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.lists: LruCache[int, Any] = LruCache(
            size_bytes=_LIST_BYTES, size=lambda _, packages: _LIST_ENTRY_BYTES + packages.nbytes
        )
        self.days: LruCache[tuple[object, int], int] = LruCache(entries=_DAYS)
        self.last: _Last | None = None
        self._bytes = 0
        self._guard = threading.Lock()

    @property
    def room(self) -> int:
        """How many more names may be remembered."""
        return max(0, _MOST - len(self.names)) if self._bytes < _BYTES else 0

    def add(self, rows: Iterable[_Last]) -> bool:
        """Remember names while there is room. Return whether no number has another name here."""
        with self._guard:
            for row in rows:
                if self.names.get(row.number, row.name) != row.name:
                    return False
                if self.room and (self.last is None or row.number > self.last.number):
                    self.names[row.number] = row.name
                    self._bytes += _ENTRY_BYTES + getsizeof(row.name)
                    self.last = row
        return True


_known: Final[WeakKeyDictionary[Engine, Known]] = WeakKeyDictionary()
_known_guard: Final = threading.Lock()
# By snapshot, after `send`: waits for newer names, and returns what holds in it.
_asked: Final[WeakKeyDictionary[Connection, Callable[[], Known]]] = WeakKeyDictionary()


def forget(engine: Engine) -> None:
    """Drop what the process remembers of a database."""
    with _known_guard:
        _known.pop(engine, None)


def send(connection: Connection) -> None:
    """Ask for the names that are not remembered yet, and do not wait for them."""
    is_snapshot = connection.get_execution_options().get("snapshot")
    if not is_snapshot or connection.dialect.name == "sqlite" or connection in _asked:
        return
    engine = connection.engine
    with _known_guard:
        known = _known.get(engine) or _known.setdefault(engine, Known())
    last, room = known.last, known.room
    given = {"last": last.number, "most": room + 1} if last else {"last": 0, "most": room}
    sent = statements.send(connection, _NEWER, **given)
    found: list[Known] = []

    def verified() -> Known:  # with a reference to the connection, it would keep it forever
        if not found:
            rows = [_Last(*row) for row in sent()]
            is_same = last is None or rows[:1] == [last]
            if is_same and known.add(rows):
                found.append(known)
            else:
                _drop(engine, known)
                found.append(Known())
        return found[0]

    _asked[connection] = verified


def likely(connection: Connection) -> Known | None:
    """Return what is remembered, before it is known whether it holds in a snapshot."""
    return _known.get(connection.engine) if connection in _asked else None


def known(connection: Connection) -> Known | None:
    """Return what is remembered and holds in a snapshot that asked by `send`. Wait for that."""
    return _asked[connection]() if connection in _asked else None


def _drop(engine: Engine, known: Known) -> None:
    with _known_guard:
        if _known.get(engine) is known:
            del _known[engine]


def names(connection: Connection, numbers: Iterable[int]) -> dict[int, str]:
    """Return the names of numbers, and maybe more. Those that `send` did not bring are looked up.

    The result must not be changed.
    """
    remembered = known(connection)
    found = {} if remembered is None else remembered.names
    rows = [(number,) for number in numbers if number not in found]
    if not rows:
        return found
    return {**found, **dict(statements.fetch_for(connection, _of_numbers, _NUMBER, rows))}


def _of_numbers(given: FromClause) -> Select[Any]:
    """Select the names with given numbers."""
    return select(_t.number, _t.name).join_from(given, package_names, _t.number == given.c.number)
