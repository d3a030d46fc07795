"""Numbers for tuples of names: parts of keys of rollups.

A key with a device, a client with its version and a worker would need much space, and be too long
for an index of PostgreSQL. The number is a digest of the names, so counting and recounting need no
lookup. `name_numbers` has the names of each number.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from sqlalchemy import JSON, BigInteger, Column, Connection, FromClause, Select, Table, select

from asu_stats.store.database import statements
from asu_stats.store.database.metadata import metadata

Names = tuple[str, ...]

name_numbers = Table(
    "name_numbers",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="digest of names"),
    Column("names", JSON, nullable=False),
    comment="Names that parts of keys stand for. Outlives the details.",
    sqlite_with_rowid=False,
)


@lru_cache(maxsize=1 << 14)
def number_of(names: Names) -> int:
    """Return the number of names."""
    text = "\0".join((str(len(names)), *names)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), signed=True)


_NUMBER: Final = (("number", name_numbers.c.number.type),)


def _known(given: FromClause) -> Select[tuple[int, list[str]]]:
    t = name_numbers
    return select(t.c.number, t.c.names).join_from(given, t, t.c.number == given.c.number)


def of(connection: Connection, numbers: Iterable[int]) -> dict[int, Names]:
    """Return the names of numbers."""
    rows = [(number,) for number in sorted(set(numbers))]
    found = statements.fetch_for(connection, _known, _NUMBER, rows)
    return {number: tuple(names) for number, names in found}


_MAX_CACHED: Final = 1 << 16
_read: dict[int, Names] = {}


def read(connection: Connection, numbers: Iterable[int]) -> dict[int, Names]:
    """Return the names that numbers stand for. The process remembers them: they never change."""
    return send(connection, numbers)()


def send(connection: Connection, numbers: Iterable[int]) -> Callable[[], dict[int, Names]]:
    """Ask for what `read` returns. Return a function that waits for it."""
    wanted = set(numbers)
    found = {number: _read[number] for number in wanted & _read.keys()}
    missing = [(number,) for number in sorted(wanted - found.keys())]
    sent = statements.send_for(connection, _known, _NUMBER, missing)

    def names() -> dict[int, Names]:
        new = {number: tuple(given) for number, given in sent()}
        if len(_read) > _MAX_CACHED:  # names come from strangers
            _read.clear()
        _read.update(new)
        return found | new

    return names


def forget() -> None:
    """Drop all names that the process remembers."""
    _read.clear()


def keep(connection: Connection, names: Mapping[int, Names]) -> None:
    """Store the names of new numbers."""
    rows = [(number, list(names[number])) for number in sorted(names)]
    statements.insert_missing(connection, name_numbers, ("number", "names"), rows)
